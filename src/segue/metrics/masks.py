"""Overlap of masks: counts of pixels first, scores from the counts second.

An image whose truth and prediction are both empty has no overlap to measure. What it scores is a policy that
changes a table, so every function that meets it asks for `empty` by name: "zero", "one", or "skip" (NaN,
and left out of means).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segue.types import InputError, check_mask

Empty = Literal["zero", "one", "skip"]
_EMPTY_SCORES: dict[str, float] = {"zero": 0.0, "one": 1.0, "skip": np.nan}


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels of N images, each field an (N,) int64 array: true and false positives, false and true negatives.

    `a + b` holds the images of a, then those of b.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        pred: Sequence[NDArray[np.bool_] | None] | NDArray[np.bool_],
        truth: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
        names: Sequence[str] | None = None,
    ) -> Counts:
        """Count each prediction against its truth.

        pred, truth: (N, H, W) bool, or N arrays (H, W) bool of any sizes.
        names: what errors call the images; their numbers unless given.
        Raises InputError for a missing (None) prediction, another number or size, or a type other than bool.
        """
        names = [f"image {i}" for i in range(len(truth))] if names is None else names
        if not len(pred) == len(truth) == len(names):
            raise InputError(
                f"got {len(pred)} predictions, {len(truth)} truths and {len(names)} names; expected one "
                "of each per image: predict every image, an empty mask is np.zeros((H, W), bool)"
            )
        rows = [_count(*each) for each in zip(pred, truth, names, strict=True)]
        return cls(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)

    @classmethod
    def joined(cls, parts: Iterable[Counts]) -> Counts:
        """The images of all parts, in order."""
        parts = list(parts)
        none = np.zeros(0, dtype=np.int64)
        return cls(*(np.concatenate([none, *(getattr(p, f.name) for p in parts)]) for f in fields(cls)))

    def __add__(self, other: Counts) -> Counts:
        return Counts.joined([self, other])

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(N,) True where truth and prediction are both empty."""
        result: NDArray[np.bool_] = self.tp + self.fp + self.fn == 0
        return result


def dice(counts: Counts, *, empty: Empty) -> NDArray[np.float64]:
    """Dice of the foreground of each image, (N,) in [0, 1]; NaN where an empty image is skipped.

    Raises InputError for an unknown policy.
    """
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, empty)


def iou(counts: Counts, *, empty: Empty) -> NDArray[np.float64]:
    """IoU of the foreground of each image, (N,) in [0, 1]; NaN where an empty image is skipped.

    Raises InputError for an unknown policy.
    """
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, empty)


def class_miou(counts: Counts) -> float:
    """IoU of the background and of the foreground, each over the pixels of all images, averaged.

    A class that occurs in no truth and in no prediction is left out.
    Raises InputError without images.
    """
    _require_images(counts)
    tp, fp, fn, tn = (int(getattr(counts, name).sum()) for name in ("tp", "fp", "fn", "tn"))
    classes = [(tp, tp + fp + fn), (tn, tn + fp + fn)]
    return float(np.mean([overlap / union for overlap, union in classes if union]))


def scores(counts: Counts, *, empty: Empty) -> dict[str, float | int | str]:
    """The table of a data set.

    dice, iou: means over images under the policy `empty`.
    miou: what LViT and RecLMIS call mIoU: the foreground IoU averaged over images, an empty image scoring 0
    whatever the policy. class_miou: see `class_miou`.
    n: images. n_empty: those with neither truth nor prediction. empty_policy: `empty`.
    Raises InputError when no image is left to average.
    """
    _require_images(counts)
    if empty == "skip" and counts.empty.all():
        raise InputError(
            f"empty='skip' leaves out all {len(counts)} images, for truth and prediction are empty in each; "
            "choose 'zero' or 'one'"
        )
    return {
        "dice": float(np.nanmean(dice(counts, empty=empty))),
        "iou": float(np.nanmean(iou(counts, empty=empty))),
        "miou": float(iou(counts, empty="zero").mean()),
        "class_miou": class_miou(counts),
        "n": len(counts),
        "n_empty": int(counts.empty.sum()),
        "empty_policy": empty,
    }


def _count(pred: NDArray[np.bool_] | None, truth: NDArray[np.bool_], name: str) -> tuple[int, int, int, int]:
    if pred is None:
        raise InputError(f"{name}: no prediction; predict every image, an empty mask is np.zeros((H, W), bool)")
    check_mask(pred, f"{name}: prediction")
    check_mask(truth, f"{name}: truth")
    if pred.shape != truth.shape:
        raise InputError(
            f"{name}: the prediction is {pred.shape} and the truth {truth.shape} (rows, columns); "
            "put the prediction on the truth's grid before scoring"
        )
    tp = int(np.count_nonzero(pred & truth))
    fp, fn = int(np.count_nonzero(pred)) - tp, int(np.count_nonzero(truth)) - tp
    return tp, fp, fn, pred.size - tp - fp - fn


def _ratio(overlap: ArrayLike, size: NDArray[np.int64], empty: Empty) -> NDArray[np.float64]:
    if empty not in get_args(Empty):
        raise InputError(f"empty: got {empty!r}, expected one of {', '.join(map(repr, get_args(Empty)))}")
    score = np.full(size.shape, _EMPTY_SCORES[empty])
    result: NDArray[np.float64] = np.divide(overlap, size, out=score, where=size > 0)
    return result


def _require_images(counts: Counts) -> None:
    if not len(counts):
        raise InputError("got no images to score, expected at least one; is the split empty?")
