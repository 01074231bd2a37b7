"""What annotation tools ask a model for: the masks of a picture under the labels of a project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api.answers import mask_as_grounded_caption
from segue.api.label_segmenter import LabelSegmenter, load_label_segmenter
from segue.api.models import find, method_of
from segue.api.pictures import Picture
from segue.api.segmenter import Segmenter, load_segmenter
from segue.options import LabelOptions
from segue.types import InputError

OF_NOTES = ("reclmis", "unet")  # methods that segment by a note


class LabelledMask(NamedTuple):
    """A mask of a picture. label: one of the project's. score: in [0, 1]. mask: (H, W) bool, not empty."""

    label: str
    score: float
    mask: NDArray[np.bool_]


def load_annotator(name_or_path: str | Path, device: str = "auto") -> Segmenter | LabelSegmenter:
    """A model that segments by notes or by names: a bundled name, a folder, a hub id, or "clip:ID-OR-FOLDER".

    Raises InputError for a model of another job.
    """
    if not str(name_or_path).startswith("clip:") and method_of(find(name_or_path)) in OF_NOTES:
        return load_segmenter(name_or_path, device=device)
    return load_label_segmenter(name_or_path, device=device)


def find_masks(
    model: Segmenter | LabelSegmenter,
    image: Picture,
    labels: Sequence[str],
    note: str | None = None,
    **options: Any,
) -> list[LabelledMask]:
    """The masks in a picture. By names, one of each label that has pixels; by a note, one under the only label.

    options: fields of LabelOptions, such as background, for a model of names. Raises InputError for several labels with
    a model of notes, a note for a model of names, and as the models do.
    """
    if isinstance(model, Segmenter):
        if len(labels) != 1 or options:
            raise InputError(f"labels: got {', '.join(labels)}; a model of notes outlines one thing: give one label")
        found = mask_as_grounded_caption(model.segment(image, note)).groundings
        return [LabelledMask(labels[0], one.score, one.mask) for one in found]
    if note is not None:
        raise InputError(f"note: got {note!r:.60}, and this model reads none; take one such as reclmis-cxr")
    found = mask_as_grounded_caption(model.segment(image, labels, options=LabelOptions(**options))).groundings
    return [LabelledMask(one.label, one.score, one.mask) for one in found]
