"""Scores of zero-shot segmentation by names against label maps, under a named protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api import Labeller, NamedMap
from segue.api.labeller import changed_card, find_protocol
from segue.data import rle
from segue.data.formats import check_pictures, read_pictures
from segue.methods.cocu.inference import EvalProtocol, vocabulary_overlap
from segue.metrics.panoptic import IGNORE, Confusion
from segue.types import InputError, Picture, PictureSet

BACKGROUND = "background"
LEFT_OUT = "left out of miou: this card has no threshold, below which a pixel would be background"
Truth = Callable[[Picture], NDArray[np.uint8]]


def evaluate_label_maps(
    labeller: Labeller,
    data: Path,
    split: str,
    protocol: str | None = None,
    *,
    concepts: Collection[str] | None = None,
    on_bad: str = "stop",
    limit: int = 0,
    **changes: Any,
) -> dict[str, Any]:
    """mIoU and pixel accuracy on a split of a data set in any format, with the card and the overlap of vocabularies.

    protocol: one of PROTOCOLS; the model's own card unless given. concepts: the vocabulary that the training drew from;
    unless given, what the checkpoint tells of it. limit: so many pictures, spread evenly; 0 for all.
    changes: of the card, for `changed_card`.
    """
    named = labeller.card if protocol is None else find_protocol(protocol)
    card = changed_card(named, **changes)
    found = check_pictures(read_pictures(data, split, on_bad), on_bad)
    pictures, classes, truth = with_truth(found, card)
    if limit:
        chosen = np.unique(np.linspace(0, len(pictures) - 1, min(limit, len(pictures))).astype(int))
        pictures = [pictures[i] for i in chosen]
    known = labeller.about.get("concept_vocabulary") if concepts is None else concepts
    ious, accuracy = score_maps(labeller, pictures, classes, truth, card)
    return {
        "data": str(data),
        "split": split,
        "protocol": (protocol or "the model's own") + (", changed" if card != named else ""),
        "card": asdict(card) | ({"background": LEFT_OUT} if _left_out(classes, card) else {}),
        "pictures": len(pictures),
        "classes": len(classes),
        "miou": float(np.nanmean(ious)),
        "pixel_accuracy": accuracy,
        "class_iou": {c: None if np.isnan(v) else float(v) for c, v in zip(classes, ious, strict=True)},
        "vocabulary_overlap": overlap(classes, known),
        "resolution": "native",
        "empty_policy": "skip",
    }


def overlap(classes: Sequence[str], concepts: Collection[str] | None) -> dict[str, Any] | str:
    """How many of the classes (background left out) the concept vocabulary holds, and which it lacks."""
    if concepts is None:
        return "not known: this checkpoint doesn't tell its concept vocabulary; pass --vocabulary FILE"
    things = [name for name in classes if name != BACKGROUND]
    held, missing = vocabulary_overlap(things, concepts)
    return {"held": held, "of": len(things), "missing": missing}


def with_truth(found: PictureSet, card: EvalProtocol) -> tuple[list[Picture], tuple[str, ...], Truth]:
    """The pictures that have a truth, its classes, and how a picture's is read.

    The label maps where the set has any. Otherwise the masks of its regions, the larger below. What neither names is
    background, a class of its own where the card has a threshold (Context's 60 classes) and ignored where it has none.
    """
    if mapped := [picture for picture in found.pictures if picture.label_map is not None]:
        if card.threshold is None or BACKGROUND in found.classes or len(found.classes) >= IGNORE:
            return mapped, found.classes, _label_map
        return mapped, (*found.classes, BACKGROUND), partial(_label_map, rest=len(found.classes))
    masked = [p for p in found.pictures if any(region.mask for region in p.regions)]
    if not masked:
        raise InputError("no picture of this split has a label map or a mask; naming pixels can't be scored without")
    classes = found.classes or tuple(sorted({region.label for p in masked for region in p.regions}))
    if len(classes) > IGNORE:
        raise InputError(f"got {len(classes)} classes of masks, expected at most {IGNORE}; keep those to be scored")
    if card.threshold is not None and BACKGROUND not in classes:
        classes = (*classes, BACKGROUND)
    return masked, classes, partial(_painted, classes=classes)


def _label_map(picture: Picture, rest: int = IGNORE) -> NDArray[np.uint8]:
    """rest: what stands for pixels without a label."""
    assert picture.label_map is not None
    labels = picture.label_map()
    return labels if rest == IGNORE else np.where(labels == IGNORE, np.uint8(rest), labels)


def _painted(picture: Picture, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Regions onto an empty map, the largest first; crowds and unknown labels are ignored."""
    numbers = {name: i for i, name in enumerate(classes)}
    height, width = picture.size[::-1] if picture.size else picture.load().shape[:2]
    out = np.full((height, width), numbers.get(BACKGROUND, IGNORE), np.uint8)
    masks = [(region, region.mask) for region in picture.regions if region.mask is not None]
    for region, mask in sorted(masks, key=lambda pair: -rle.area(pair[1])):
        out[rle.decode(mask)] = IGNORE if region.crowd else numbers.get(region.label, IGNORE)
    return out


def score_maps(
    labeller: Labeller,
    pictures: Sequence[Picture],
    classes: Sequence[str],
    truth: Truth,
    card: EvalProtocol,
    *,
    given: bool = False,
) -> tuple[NDArray[np.float64], float]:
    """(IoU of each class, NaN where it does not occur, and pixel accuracy), over all pixels of all pictures.

    Background's IoU is NaN too where the card has no threshold, because then no pixel can be named so.
    given: of each picture only the names are asked for that it shows, as by someone who looks at it. Where the card has
    a threshold and the classes no background, what is predicted background is wrong.
    """
    numbers = np.array([i for i, name in enumerate(classes) if name != BACKGROUND])
    behind = classes.index(BACKGROUND) if BACKGROUND in classes else len(classes)
    counts = Confusion(np.zeros((len(classes) + 1,) * 2, np.int64))
    for picture in pictures:
        there = truth(picture)
        asked = numbers[np.isin(numbers, there)] if given else numbers
        if given and len(asked) < 2:  # nothing to choose from
            found = np.full(there.shape, asked[0] if len(asked) else behind)
        else:
            answer = labeller.segment(picture.load(), [classes[i] for i in asked], card=card)
            found = _numbered(answer, asked, behind)
        counts += Confusion.of(found, there, len(classes) + 1)
    ious = counts.class_iou(empty="skip")[: len(classes)]
    if _left_out(classes, card):
        ious[behind] = np.nan
    return ious, counts.scores(empty="skip")["pixel_accuracy"]


def _left_out(classes: Sequence[str], card: EvalProtocol) -> bool:
    return card.threshold is None and BACKGROUND in classes


def _numbered(answer: NamedMap, numbers: NDArray[np.int64], behind: int) -> NDArray[np.int64]:
    """The answer in the truth's numbers."""
    there = answer.index != answer.background
    return np.where(there, numbers[np.where(there, answer.index, 0)], behind)
