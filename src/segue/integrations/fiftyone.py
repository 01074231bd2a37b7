"""FiftyOne: a model over one of Segue's, for `dataset.apply_model`.

    from segue.integrations.fiftyone import make_model

    dataset.apply_model(make_model("photos-encoder", ["dog", "grass", "sky"]), label_field="segue")

Its interface is that of `fiftyone.core.models.Model` (`pip install fiftyone`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.integrations.answering import LabelledMask, find_masks, load_annotator
from segue.types import NotInstalled


def make_model(
    model: str, labels: Sequence[str], *, note: str | None = None, device: str = "auto", **options: Any
) -> Any:
    """A `fiftyone.core.models.Model` that gives a picture's masks as `fiftyone.Detections`.

    model: of names or of notes (`load_annotator`). labels: what to look for; one of them for a model of notes. note:
    for all pictures. options: fields of LabelOptions, such as background.
    Raises NotInstalled where the package fiftyone is missing, and InputError for a model that can't be had.
    """
    found, base = load_annotator(model, device), _fiftyone("models").Model

    class SegueModel(base):  # type: ignore[misc, valid-type]
        """Reads one picture after another, of any size, as it is."""

        media_type = "image"
        ragged_batches = True
        transforms = None
        preprocess = False

        def predict(self, arg: NDArray[np.uint8]) -> Any:
            """The masks of a picture, (H, W, 3) uint8."""
            return to_detections(find_masks(found, arg, labels, note, **options))

    return SegueModel()


def to_detections(found: Sequence[LabelledMask]) -> Any:
    """Masks as `fiftyone.Detections`: a box in shares of the picture, the mask inside it, the score as confidence."""
    kinds = _fiftyone("labels")
    return kinds.Detections(detections=[_detection(kinds, one) for one in found])


def _detection(kinds: Any, found: LabelledMask) -> Any:
    height, width = found.mask.shape
    x, y, w, h = (round(value) for value in rle.box(rle.encode(found.mask)))
    return kinds.Detection(
        label=found.label,
        bounding_box=[x / width, y / height, w / width, h / height],
        mask=found.mask[y : y + h, x : x + w],
        confidence=found.score,
    )


def _fiftyone(module: str) -> Any:
    try:
        return import_module(f"fiftyone.core.{module}")
    except ImportError as error:
        raise NotInstalled("fiftyone: the package is missing: pip install fiftyone") from error
