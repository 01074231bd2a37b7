"""Scores of many masks at once: panoptic quality, matching of masks, confusion of classes, mask AP.

Papers: Panoptic Segmentation (Kirillov 2019) by the rules of COCO's panopticapi; COCO's mask AP by pycocotools. Counts
first, scores second: counts of data sets add up with `+`. A class that no truth and no prediction has is no class of
the panoptic means; for mIoU it is a policy, and `empty` is asked for by name as in `segue.metrics.masks`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segue.metrics.masks import Empty
from segue.types import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
VOID_ID = 0  # id of the pixels of no segment in a panoptic map
IGNORE = 255  # of pixels whose class is unknown in a label map


@dataclass(frozen=True, eq=False)
class Confusion:
    """counts[t, p]: pixels of class t in truth and p in the prediction, (C, C) int64. `a + b` adds their pixels."""

    counts: Ints

    @classmethod
    def of(cls, pred: NDArray[np.integer], truth: NDArray[np.integer], classes: int, ignore: int = IGNORE) -> Confusion:
        """Count one picture: two maps (H, W) of class numbers 0..classes - 1; where truth is `ignore` nothing counts.

        Raises InputError for maps of two sizes and for other values.
        """
        if pred.shape != truth.shape or pred.ndim != 2:
            raise InputError(
                f"the prediction is {pred.shape} and the truth {truth.shape}, expected two (H, W) maps of one size; "
                "put the prediction on the truth's grid before scoring"
            )
        known = truth != ignore
        pairs = [each[known].astype(np.int64) for each in (truth, pred)]
        for values, name in zip(pairs, ("truth", "prediction"), strict=True):
            if ((values < 0) | (values >= classes)).any():
                raise InputError(
                    f"the {name} holds the value {values[(values < 0) | (values >= classes)][0]}, expected class "
                    f"numbers 0..{classes - 1}; {ignore} is ignored in the truth alone"
                )
        return cls(np.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    def class_iou(self, *, empty: Empty) -> Floats:
        """(C,) IoU of each class over all pixels; NaN where a class that does not occur is skipped.

        Raises InputError for an unknown policy.
        """
        if empty not in get_args(Empty):
            raise InputError(f"empty: got {empty!r}, expected one of {', '.join(map(repr, get_args(Empty)))}")
        both = np.diag(self.counts).astype(np.float64)
        either = self.counts.sum(0) + self.counts.sum(1) - both
        none = np.full(len(both), {"zero": 0.0, "one": 1.0, "skip": np.nan}[empty])
        result: Floats = np.divide(both, either, out=none, where=either > 0)
        return result

    def scores(self, *, empty: Empty) -> dict[str, Any]:
        """miou, pixel_accuracy, class_iou (a list, None where skipped), pixels, empty_policy.

        Raises InputError when no pixel was counted.
        """
        total = int(self.counts.sum())
        if not total:
            raise InputError("got no pixel to score, expected at least one that the truth does not ignore")
        ious = self.class_iou(empty=empty)
        return {
            "miou": float(np.nanmean(ious)),
            "pixel_accuracy": float(np.trace(self.counts) / total),
            "class_iou": [None if np.isnan(v) else float(v) for v in ious],
            "pixels": total,
            "empty_policy": empty,
        }


def match(ious: Floats, how: Literal["hungarian", "greedy"] = "hungarian") -> list[tuple[int, int]]:
    """Pairs (truth, prediction) of masks that overlap, each mask in one pair at most.

    ious: (G, P), rows truth. hungarian: the pairs with the highest sum. greedy: the best pair first, then the best of
    what is left.
    Raises InputError for another `how`.
    """
    if how == "hungarian":
        pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
        return [(int(g), int(p)) for g, p in pairs if ious[g, p] > 0]
    if how != "greedy":
        raise InputError(f"how: got {how!r}, expected 'hungarian' or 'greedy'")
    left, found = ious.copy(), []
    while left.size and left.max() > 0:
        g, p = divmod(int(left.argmax()), left.shape[1])
        found.append((g, p))
        left[g], left[:, p] = 0, 0
    return found


def matched_iou(ious: Floats, how: Literal["hungarian", "greedy"] = "hungarian") -> float:
    """Mean IoU over the true masks under `match`; a true mask that has no partner counts 0. In [0, 1].

    ious: (G, P), rows truth.
    Raises InputError without true masks.
    """
    if not len(ious):
        raise InputError("got no true mask, expected one or more; leave out pictures without any")
    return float(sum(ious[pair] for pair in match(ious, how)) / len(ious))


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its class, and whether it stands for a crowd (iscrowd)."""

    category: int
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class PanopticCounts:
    """By class: matched segments (tp), the sum of their IoU, predictions and truths without a match (fp, fn), (C,).

    `a + b` adds them.
    """

    tp: Ints
    iou: Floats
    fp: Ints
    fn: Ints

    @classmethod
    def of(
        cls,
        pred: NDArray[np.integer],
        pred_segments: Mapping[int, Segment],
        truth: NDArray[np.integer],
        true_segments: Mapping[int, Segment],
        categories: Sequence[int],
    ) -> PanopticCounts:
        """Count one picture.

        pred, truth: (H, W) ids of segments, 0 for void. pred_segments, true_segments: the segments of each by id.
        categories: the ids of the classes, in the order of the arrays. A pair of one class with IoU > 0.5, void left
        out, is a match. No match and no error either: a crowd, and a prediction that is more than half void or crowd
        of its class.
        Raises InputError when a map and its segments differ, or a class is not among `categories`.
        """
        _check(pred, pred_segments, truth, true_segments, categories)
        ids, areas = np.unique(pred, return_counts=True)
        sizes = dict(zip(ids.tolist(), areas.tolist(), strict=True))
        true_sizes = dict(zip(*(a.tolist() for a in np.unique(truth, return_counts=True)), strict=True))
        overlap = _overlaps(truth, pred)
        pairs = _matches(overlap, sizes, true_sizes, pred_segments, true_segments)
        excused = _excused(overlap, sizes, pred_segments, true_segments)
        counts = {name: np.zeros(len(categories)) for name in ("tp", "iou", "fp", "fn")}
        row = {category: i for i, category in enumerate(categories)}
        for (g, _), iou in pairs.items():
            counts["tp"][row[true_segments[g].category]] += 1
            counts["iou"][row[true_segments[g].category]] += iou
        found, hit = {g for g, _ in pairs}, {p for _, p in pairs}
        for g, segment in true_segments.items():
            counts["fn"][row[segment.category]] += g not in found and not segment.crowd
        for p, segment in pred_segments.items():
            counts["fp"][row[segment.category]] += p not in hit and p not in excused
        return cls(counts["tp"].astype(np.int64), counts["iou"], *(counts[n].astype(np.int64) for n in ("fp", "fn")))

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        return PanopticCounts(self.tp + other.tp, self.iou + other.iou, self.fp + other.fp, self.fn + other.fn)

    def class_quality(self) -> Floats:
        """(3, C): PQ, SQ and RQ of each class, eq. 1-2 of the paper, in [0, 1]; NaN for a class that never occurs."""
        size = self.tp + 0.5 * self.fp + 0.5 * self.fn
        pq, rq = (np.divide(part, size, out=np.full(len(size), np.nan), where=size > 0) for part in (self.iou, self.tp))
        sq = np.divide(self.iou, self.tp, out=np.where(size > 0, 0.0, np.nan), where=self.tp > 0)
        return np.stack([pq, sq, rq])

    def scores(self, things: Sequence[bool]) -> dict[str, dict[str, float | int | None]]:
        """PQ, SQ, RQ and the number of classes n that occur, for all, things and stuff; None when there are none.

        things: (C,) whether each class is of things, not of stuff.
        """
        quality, there = self.class_quality(), np.asarray(things, dtype=np.bool_)
        chosen = {"all": np.ones_like(there), "things": there, "stuff": ~there}
        return {name: _means(quality[:, which]) for name, which in chosen.items()}


def _means(quality: Floats) -> dict[str, float | int | None]:
    occurs = ~np.isnan(quality[0])
    n = int(occurs.sum())
    means = quality[:, occurs].mean(1).tolist() if n else [None] * 3
    return {**dict(zip(("pq", "sq", "rq"), means, strict=True)), "n": n}


def _overlaps(truth: NDArray[np.integer], pred: NDArray[np.integer]) -> dict[tuple[int, int], int]:
    """Pixels of each pair (segment of truth, segment of the prediction) that meet."""
    span = int(pred.max()) + 1
    keys, counts = np.unique(truth.astype(np.int64) * span + pred, return_counts=True)
    return {divmod(key, span): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}


def _matches(
    overlap: dict[tuple[int, int], int],
    sizes: dict[int, int],
    true_sizes: dict[int, int],
    pred_segments: Mapping[int, Segment],
    true_segments: Mapping[int, Segment],
) -> dict[tuple[int, int], float]:
    found = {}
    for (g, p), both in overlap.items():
        if (
            g == VOID_ID
            or p == VOID_ID
            or true_segments[g].crowd
            or true_segments[g].category != pred_segments[p].category
        ):
            continue
        iou = both / (true_sizes[g] + sizes[p] - both - overlap.get((VOID_ID, p), 0))
        if iou > 0.5:
            found[g, p] = iou
    return found


def _excused(
    overlap: dict[tuple[int, int], int],
    sizes: dict[int, int],
    pred_segments: Mapping[int, Segment],
    true_segments: Mapping[int, Segment],
) -> set[int]:
    """Predictions that are more than half void or crowd of their own class."""
    hidden = dict.fromkeys(pred_segments, 0)
    for (g, p), both in overlap.items():
        if p != VOID_ID and (
            g == VOID_ID or (true_segments[g].crowd and true_segments[g].category == pred_segments[p].category)
        ):
            hidden[p] += both
    return {p for p, pixels in hidden.items() if pixels > 0.5 * sizes[p]}


def _check(
    pred: NDArray[np.integer],
    pred_segments: Mapping[int, Segment],
    truth: NDArray[np.integer],
    true_segments: Mapping[int, Segment],
    categories: Sequence[int],
) -> None:
    if pred.shape != truth.shape or pred.ndim != 2 or not pred.size:
        raise InputError(
            f"the prediction is {pred.shape} and the truth {truth.shape}, expected two (H, W) maps of one size; "
            "put the prediction on the truth's grid before scoring"
        )
    for name, found, segments in (("prediction", pred, pred_segments), ("truth", truth, true_segments)):
        there = set(np.unique(found).tolist()) - {VOID_ID}
        if there != set(segments):
            odd = next(iter(there ^ set(segments)))
            raise InputError(
                f"{name}: segment {odd} is in the {'map' if odd in there else 'list of segments'} alone, expected the "
                "same segments in both; write both from one source"
            )
        if wrong := [s.category for s in segments.values() if s.category not in categories]:
            raise InputError(f"{name}: class {wrong[0]} is not among the {len(categories)} categories; mend its number")


def mask_ap(truth: dict[str, Any], predictions: list[dict[str, Any]]) -> dict[str, float]:
    """COCO's mask AP, AP50 and AP75 over all areas, in [0, 1] (-1 when there is no truth), by pycocotools.

    truth: COCO's instances json. predictions: COCO's results: {"image_id", "category_id", "segmentation", "score"}.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not predictions:
        return {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"info": {}, **truth}
        known.createIndex()
        judge = COCOeval(known, known.loadRes(predictions), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(("ap", "ap50", "ap75"), map(float, judge.stats[:3]), strict=True))
