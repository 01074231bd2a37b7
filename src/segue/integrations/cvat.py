"""CVAT: an auto-annotation function over a model of Segue.

    cvat-cli task auto-annotate 137 --function-module segue.integrations.cvat \\
        -p model=str:photos-encoder -p labels=str:"dog, grass, sky"

Its interface is that of `cvat_sdk.auto_annotation` (`pip install cvat-sdk cvat-cli`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segue.data import rle
from segue.integrations.answering import LabelledMask, find_masks, load_annotator
from segue.methods.cocu.inference import parse_labels
from segue.types import NotInstalled

if TYPE_CHECKING:
    from cvat_sdk.auto_annotation import DetectionFunctionContext, DetectionFunctionSpec
    from cvat_sdk.models import LabeledShapeRequest
    from PIL.Image import Image


def create(
    model: str, labels: str, *, note: str | None = None, shape: str = "mask", device: str = "auto", **options: Any
) -> AnnotationFunction:
    """The function that CVAT asks for: `cvat-cli` calls this with its `-p` parameters.

    model: of names or of notes (`load_annotator`). labels: names of the task's labels, with commas between them; one of
    them for a model of notes. note: for all pictures of the task. shape: "mask" or "rectangle". options: fields of
    LabelOptions, such as background.
    Raises NotInstalled where the package cvat-sdk is missing, ValueError for another shape, and InputError for a model
    that can't be had, or labels that can't be used.
    """
    if shape not in ("mask", "rectangle"):
        raise ValueError(f"shape: got {shape!r}, expected mask or rectangle")
    return AnnotationFunction(model, parse_labels(labels), note, shape, device, options)


class AnnotationFunction:
    """A detection function of CVAT: `spec` names its labels, `detect` finds their shapes in a picture."""

    def __init__(
        self, model: str, labels: Sequence[str], note: str | None, shape: str, device: str, options: dict[str, Any]
    ) -> None:
        self._cvat = _cvat()
        self.model, self.labels, self.note = load_annotator(model, device), list(labels), note
        self.shape, self.options = shape, options

    @property
    def spec(self) -> DetectionFunctionSpec:
        """The labels, numbered from 0; each takes masks (or their polygons) or rectangles."""
        names = [self._cvat.label_spec(name, i, type=self.shape) for i, name in enumerate(self.labels)]
        return self._cvat.DetectionFunctionSpec(labels=names)

    def detect(self, context: DetectionFunctionContext, image: Image) -> list[LabeledShapeRequest]:
        """The shapes of a picture whose score is at least the context's threshold, if it has one."""
        found = find_masks(self.model, image, self.labels, self.note, **self.options)
        kept = [one for one in found if one.score >= (context.conf_threshold or 0)]
        return [shape for one in kept for shape in self._shapes(one, polygons=context.conv_mask_to_poly)]

    def _shapes(self, found: LabelledMask, *, polygons: bool) -> list[LabeledShapeRequest]:
        from cvat_sdk.masks import encode_mask

        number, code = self.labels.index(found.label), rle.encode(found.mask)
        if self.shape == "rectangle":
            x, y, width, height = rle.box(code)
            return [self._cvat.rectangle(number, [x, y, x + width, y + height])]
        if polygons:
            return [self._cvat.polygon(number, outline) for outline in rle.to_polygons(code)]
        return [self._cvat.mask(number, encode_mask(found.mask))]


def _cvat() -> Any:
    try:
        import cvat_sdk.auto_annotation
    except ImportError as error:
        raise NotInstalled("cvat: the package cvat-sdk is missing: pip install cvat-sdk") from error
    return cvat_sdk.auto_annotation
