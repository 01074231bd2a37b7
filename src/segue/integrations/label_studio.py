"""Label Studio: an ML backend over a model of Segue, which fills in masks or rectangles for an annotator to mend.

In the backend's `model.py`:

    from segue.integrations.label_studio import make_backend
    NewModel = make_backend("photos-encoder")

The names are the labels of the project: masks for its `BrushLabels`, boxes for its `RectangleLabels`. A model of notes
reads the note of each task, where its data have one.
The interface is that of label-studio-ml 2 (`LabelStudioMLBase`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.integrations.answering import LabelledMask, find_masks, load_annotator
from segue.types import InputError, NotInstalled

LENGTH_BITS = (3, 4, 8, 16)  # of a run's length, in the four sizes that a run of Label Studio's may have
Result = dict[str, Any]


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """A mask (H, W) as the bytes of Label Studio's brush: the run lengths of its RGBA values, 0 or 255, row by row.

    The bits are: 32 for the number of values, 5 for the bits of a value less 1, 4 for each of LENGTH_BITS less 1; then
    for each run a 1, 2 for which of LENGTH_BITS it has, its length less 1, its value; at the end 0 to the full byte.
    """
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    bits = [f"{4 * len(flat):032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    start = 0
    for end in ends.tolist():
        value, left = 255 * int(flat[start]), 4 * (end - start)
        while left:
            length = min(left, 1 << LENGTH_BITS[-1])
            size = next(i for i, n in enumerate(LENGTH_BITS) if length <= 1 << n)
            bits.append(f"1{size:02b}{length - 1:0{LENGTH_BITS[size]}b}{value:08b}")
            left -= length
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _brush(found: LabelledMask) -> Result:
    return {"format": "rle", "rle": encode_brush(found.mask)}


def _rectangle(found: LabelledMask) -> Result:
    """Edges in percent of the picture."""
    height, width = found.mask.shape
    x, y, w, h = rle.box(rle.encode(found.mask))
    return {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height,
            "rotation": 0}  # fmt: skip


CONTROLS: dict[str, tuple[str, Callable[[LabelledMask], Result]]] = {  # tag -> type of its results, and what is in them
    "BrushLabels": ("brushlabels", _brush),
    "RectangleLabels": ("rectanglelabels", _rectangle),
}


def make_results(found: Sequence[LabelledMask], control: str, from_name: str, to_name: str) -> list[Result]:
    """Masks as the results of a prediction. control: "BrushLabels" or "RectangleLabels", which `from_name` is of."""
    kind, value = CONTROLS[control]
    results = []
    for i, one in enumerate(found):
        height, width = one.mask.shape
        key = hashlib.blake2b(f"{i} {one.label}".encode() + np.packbits(one.mask).tobytes(), digest_size=5).hexdigest()
        results.append(
            {
                "id": key, "type": kind, "from_name": from_name, "to_name": to_name, "original_width": width,
                "original_height": height, "image_rotation": 0, "score": one.score,
                "value": {**value(one), kind: [one.label]},
            }
        )  # fmt: skip
    return results


def make_backend(model: str, *, device: str = "auto", note: str = "note", **options: Any) -> type[Any]:
    """A subclass of `LabelStudioMLBase`, for the name `NewModel` in a backend's model.py.

    model: of names or of notes (`load_annotator`), loaded now. note: the field of a task's data that has its note.
    options: fields of LabelOptions, such as background.
    Raises NotInstalled where the package label-studio-ml is missing, and InputError for a model that can't be had.
    """
    try:
        from label_studio_ml.model import LabelStudioMLBase
    except ImportError as error:
        raise NotInstalled(
            "label_studio: label-studio-ml 2 is missing; install it from its repository, "
            "HumanSignal/label-studio-ml-backend, as its README says"
        ) from error
    annotator = load_annotator(model, device)

    class Backend(LabelStudioMLBase):  # type: ignore[misc]
        """Fills in the masks or rectangles of a project's labels."""

        def setup(self) -> None:
            """Name the model."""
            self.set("model_version", model)

        def predict(
            self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **more: Any
        ) -> list[dict[str, Any]]:
            """A prediction for each task. Raises InputError for a project without labels of brushes or rectangles."""
            from_name, control = find_control(self.parsed_label_config)
            field, predictions = control["inputs"][0]["value"], []
            for task in tasks:
                path = self.get_local_path(task["data"][field], task_id=task.get("id"))
                found = find_masks(annotator, path, control["labels"], task["data"].get(note), **options)
                results = make_results(found, control["type"], from_name, control["to_name"][0])
                score = float(np.mean([one.score for one in found])) if found else 0.0
                predictions.append({"result": results, "score": score, "model_version": model})
            return predictions

    return Backend


def find_control(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The first control of brushes or rectangles in a parsed labelling configuration, with its name.

    Raises InputError when there is none.
    """
    for name, control in config.items():
        if control["type"] in CONTROLS:
            return name, control
    raise InputError(f"label_studio: the project has no {' or '.join(CONTROLS)} of a picture; add it to its labelling")
