"""Scores of open-vocabulary segmentation against label maps or masks, under an evaluation protocol."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api.label_segmenter import DualEncoderSegmenter, LabelSegmenter
from segue.data import rle
from segue.data.formats import check_pictures, pascal_context, read_pictures
from segue.methods.cocu.inference import vocabulary_overlap
from segue.methods.cocu.protocols import BACKGROUND, PUBLISHED_CLASSES, EvalProtocol, find_protocol
from segue.methods.dual_encoder.dense import DenseProtocol
from segue.metrics.panoptic import IGNORE, Confusion
from segue.options import LabelOptions
from segue.types import InputError, LabelMap, Picture, PictureSet

LEFT_OUT = "left out of miou: this protocol has no threshold, below which a pixel would be background"
Labels = NDArray[np.unsignedinteger]
ReadTruth = Callable[[Picture], Labels]


@dataclass(frozen=True, eq=False)
class LabelCase:
    """One picture as it was scored.

    classes: the names that the numbers stand for. truth: (H, W), its type's highest value where nothing is known.
    answer: what was predicted. predicted: (H, W) int64, the same in the classes' numbers; of background where that is
    no class, their count. confusion: of these classes and that one more. scored: (C,) whether a class is scored.
    """

    picture: Picture
    classes: tuple[str, ...]
    truth: Labels
    answer: LabelMap
    predicted: NDArray[np.int64]
    confusion: Confusion
    scored: NDArray[np.bool_]

    @property
    def own_classes(self) -> NDArray[np.int64]:
        """The numbers of the scored classes that the truth has."""
        there: NDArray[np.int64] = np.flatnonzero(self.confusion.counts.sum(1)[: len(self.classes)] * self.scored)
        return there

    @property
    def miou(self) -> float:
        """Mean IoU of `own_classes`, in [0, 1]; NaN where there is none."""
        ious = self.confusion.class_iou(empty="skip")[self.own_classes]
        return float(ious.mean()) if len(ious) else float("nan")


def evaluate_label_maps(
    segmenter: LabelSegmenter,
    data: Path,
    split: str,
    *,
    options: LabelOptions = LabelOptions(),
    concepts: Collection[str] | None = None,
    on_bad: str = "stop",
    seen: Callable[[LabelCase], None] | None = None,
) -> dict[str, Any]:
    """mIoU and pixel accuracy on a split of a data set in any format, with the protocol and the vocabularies' overlap.

    A class whose name the model can't read is left out, its pixels are then without label, and "left_out" tells why.
    options: the protocol and what differs from it; the model's own unless given. concepts: the vocabulary of the
    training; what the checkpoint says of it unless given. on_bad: as in `read_pictures`. seen: is called with each
    picture.
    Raises InputError for data that can't be used, for an unknown protocol, and when fewer than two names can be read.
    """
    protocol = segmenter.chosen_protocol(options)
    named = segmenter.protocol if options.protocol is None else find_protocol(options.protocol)
    name = str(options.protocol or segmenter.about.get("protocol"))
    published = PUBLISHED_CLASSES.get(name, ())
    context = pascal_context()
    form = context if name.startswith("context") and context.splits(data) else None
    found = only_classes(check_pictures(read_pictures(data, split, on_bad, form=form), on_bad), published, protocol)
    pictures, classes, read_truth = with_truth(found, protocol)
    known = segmenter.about.get("concept_vocabulary") if concepts is None else concepts
    left_out = _unreadable(segmenter, classes, protocol)
    classes, read_truth = without_classes(classes, read_truth, left_out)
    ious, accuracy = score_pictures(segmenter, pictures, classes, read_truth, options=options, seen=seen)
    return {
        "data": str(data),
        "split": split,
        "protocol": (options.protocol or "the model's own") + (", changed" if protocol != named else ""),
        "protocol_settings": asdict(protocol) | ({"background": LEFT_OUT} if _no_background(classes, protocol) else {}),
        "as_published": _as_published(classes, published, protocol, named),
        "pictures": len(pictures),
        "classes": len(classes),
        "left_out": left_out,
        "miou": float(np.nanmean(ious)),
        "pixel_accuracy": accuracy,
        "class_iou": {c: None if np.isnan(v) else float(v) for c, v in zip(classes, ious, strict=True)},
        "vocabulary_overlap": _overlap(classes, known),
        "resolution": "native",
        "empty_policy": "skip",
    }


def only_classes(found: PictureSet, published: Sequence[str], protocol: EvalProtocol | DenseProtocol) -> PictureSet:
    """The set with the classes of a published protocol alone, where its label maps have these and others.

    Pixels of the others are then without label, which is background: so COCO-Object is COCO-Stuff's label maps of 171
    classes. Only for a protocol with background; any other set is returned as it is.
    """
    kept = [name for name in found.classes if name in published]
    mapped = any(picture.label_map is not None for picture in found.pictures)
    has_more = {*published} - {BACKGROUND} <= {*kept} and len(kept) < len(found.classes)
    if protocol.threshold is None or not published or not mapped or not has_more:
        return found
    table = np.full(256, IGNORE, np.uint8)
    table[[found.classes.index(name) for name in kept]] = np.arange(len(kept))
    pictures = [replace(p, label_map=p.label_map and partial(_renumbered, p.label_map, table)) for p in found.pictures]
    return replace(found, pictures=pictures, classes=tuple(kept))


def _renumbered(label_map: Callable[[], Labels], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = table[label_map()]
    return labels


def _as_published(
    classes: Sequence[str],
    published: Sequence[str],
    protocol: EvalProtocol | DenseProtocol,
    named: EvalProtocol | DenseProtocol,
) -> str:
    """Whether the figures are those of the published protocol, and if not why."""
    if isinstance(named, DenseProtocol) or named.rule != "published":
        return "no: this protocol is our own"
    if protocol != named:
        return "no: its settings were changed"
    if {*classes} != {*published}:
        return "no: these classes are not those of the published data set" if published else "yes, on its own classes"
    return "yes, on the published pictures"


def _overlap(classes: Sequence[str], concepts: Collection[str] | None) -> dict[str, Any] | str:
    """How many of the classes, without background, the concept vocabulary holds, and which it lacks."""
    if concepts is None:
        return "not known: this checkpoint doesn't say what its concept vocabulary is; pass --vocabulary FILE"
    things = [name for name in classes if name != BACKGROUND]
    held, missing = vocabulary_overlap(things, concepts)
    return {"held": held, "of": len(things), "missing": missing}


def with_truth(
    found: PictureSet, protocol: EvalProtocol | DenseProtocol
) -> tuple[list[Picture], tuple[str, ...], ReadTruth]:
    """The pictures that have a ground truth, its classes, and a function that reads it: a picture -> (H, W) uint8,
    or uint16 from 256 classes on.

    The ground truth is the label maps where the set has any, and otherwise the masks of the regions, smaller ones over
    larger ones. What neither labels is background where the protocol has a threshold, a class of its own (Context's 60
    classes), and ignored where it has none.
    Raises InputError when there is neither a label map nor a mask, and for more classes than uint8 can hold.
    """
    if mapped := [picture for picture in found.pictures if picture.label_map is not None]:
        if protocol.threshold is None or BACKGROUND in found.classes or len(found.classes) >= IGNORE:
            return mapped, found.classes, _read_label_map
        return mapped, (*found.classes, BACKGROUND), partial(_read_label_map, unlabelled=len(found.classes))
    masked = [p for p in found.pictures if any(region.mask for region in p.regions)]
    if not masked:
        raise InputError("no picture of this split has a label map or a mask; naming pixels can't be scored without")
    classes = found.classes or tuple(sorted({region.label for p in masked for region in p.regions}))
    if len(classes) > IGNORE:
        raise InputError(f"got {len(classes)} classes of masks, expected at most {IGNORE}; keep those to be scored")
    if protocol.threshold is not None and BACKGROUND not in classes:
        classes = (*classes, BACKGROUND)
    return masked, classes, partial(_paint_masks, classes=classes)


def _read_label_map(picture: Picture, unlabelled: int = IGNORE) -> Labels:
    """unlabelled: the class of pixels without a label."""
    assert picture.label_map is not None
    labels = picture.label_map()
    return labels if unlabelled == IGNORE else np.where(labels == IGNORE, np.uint8(unlabelled), labels)


def _paint_masks(picture: Picture, classes: Sequence[str]) -> NDArray[np.uint8]:
    """The regions' masks on an empty map, the largest first; crowds and regions of no class are ignored."""
    index = {name: i for i, name in enumerate(classes)}
    height, width = picture.size[::-1] if picture.size else picture.load().shape[:2]
    out = np.full((height, width), index.get(BACKGROUND, IGNORE), np.uint8)
    masks = [(region, region.mask) for region in picture.regions if region.mask is not None]
    for region, mask in sorted(masks, key=lambda one: -rle.area(one[1])):
        out[rle.decode(mask)] = IGNORE if region.crowd else index.get(region.label, IGNORE)
    return out


def _unreadable(
    segmenter: LabelSegmenter, classes: Sequence[str], protocol: EvalProtocol | DenseProtocol
) -> dict[str, str]:
    """The classes that a GroupViT can't read, with the reason; a dual encoder reads any. At least two must be left."""
    if isinstance(protocol, DenseProtocol) or isinstance(segmenter, DualEncoderSegmenter):
        return {}
    prompts = {protocol.renamed.get(name, name): name for name in classes if name != BACKGROUND}
    found = {prompts[prompt]: why for prompt, why in segmenter.unreadable(list(prompts), protocol).items()}
    if len(prompts) - len(found) < 2:
        reasons = "; ".join([*found.values()][:3])
        raise InputError(
            f"this model can read {len(prompts) - len(found)} of the {len(prompts)} names, expected two or more "
            f"({reasons}); score a model that was trained with their words"
        )
    if found:
        warnings.warn(f"left out, and their pixels not scored: {'; '.join(found.values())}", stacklevel=3)
    return found


def without_classes(
    classes: Sequence[str], read_truth: ReadTruth, left_out: Collection[str]
) -> tuple[tuple[str, ...], ReadTruth]:
    """The classes without some, and the ground truth in their positions; pixels of the others are without label."""
    kept = [i for i, name in enumerate(classes) if name not in left_out]
    if len(kept) == len(classes):
        return tuple(classes), read_truth

    def read(picture: Picture) -> Labels:
        labels = read_truth(picture)
        table = np.full(int(np.iinfo(labels.dtype).max) + 1, np.iinfo(labels.dtype).max, labels.dtype)
        table[kept] = np.arange(len(kept))
        renumbered: Labels = table[labels]
        return renumbered

    return tuple(classes[i] for i in kept), read


def score_pictures(
    segmenter: LabelSegmenter,
    pictures: Sequence[Picture],
    classes: Sequence[str],
    read_truth: ReadTruth,
    *,
    options: LabelOptions = LabelOptions(),
    oracle: bool = False,
    seen: Callable[[LabelCase], None] | None = None,
) -> tuple[NDArray[np.float64], float]:
    """(IoU of each class, NaN where it does not occur, and pixel accuracy), in [0, 1], over all pixels of all pictures.

    The IoU of background is NaN too where the protocol has no threshold, because then no pixel can be background.
    oracle: the labels are only the classes that the picture shows, as if someone had looked at it. Where the protocol
    has a threshold and the classes no background, what is predicted as background is wrong. seen: is called with each
    picture that the segmenter answered.
    """
    protocol = segmenter.chosen_protocol(options)
    named = np.array([i for i, name in enumerate(classes) if name != BACKGROUND])
    background = classes.index(BACKGROUND) if BACKGROUND in classes else len(classes)
    prompted = [name if (other := protocol.renamed.get(name, name)) in classes else other for name in classes]
    counts = Confusion(np.zeros((len(classes) + 1,) * 2, np.int64))
    scored = np.arange(len(classes)) != (background if _no_background(classes, protocol) else -1)
    for picture in pictures:
        truth, answer = read_truth(picture), None
        labels = named[np.isin(named, truth)] if oracle else named
        if oracle and len(labels) < 2:  # nothing to choose from
            predicted = np.full(truth.shape, labels[0] if len(labels) else background)
        else:
            answer = segmenter.segment(picture.load(), [prompted[i] for i in labels], options=options)
            predicted = _class_index(answer, labels, background)
        one = Confusion.of(predicted, truth, len(classes) + 1, int(np.iinfo(truth.dtype).max))
        if seen is not None and answer is not None:
            seen(LabelCase(picture, tuple(classes), truth, answer, predicted, one, scored))
        counts += one
    ious = counts.class_iou(empty="skip")[: len(classes)]
    ious[~scored] = np.nan
    return ious, counts.scores(empty="skip")["pixel_accuracy"]


def _no_background(classes: Sequence[str], protocol: EvalProtocol | DenseProtocol) -> bool:
    """Whether background is a class that the protocol can't predict."""
    return protocol.threshold is None and BACKGROUND in classes


def _class_index(answer: LabelMap, labels: NDArray[np.int64], background: int) -> NDArray[np.int64]:
    """The answer's map in positions of the ground truth's classes. labels: position of each name of the answer."""
    there = answer.index != answer.background
    return np.where(there, labels[np.where(there, answer.index, 0)], background)
