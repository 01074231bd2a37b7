"""Segue: the road between words and masks, both ways.

>>> import segue
>>> model = segue.load("reclmis-chest")
>>> result = model.segment("image.png", note="one infected area, upper left lung")
>>> result.mask.shape, result.area
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from segue.api import (
        Captioner,
        Describer,
        DualEncoder,
        DualEncoderSegmenter,
        GroundedCaption,
        Illustrator,
        LabelMap,
        Layout,
        OpenVocabularySegmenter,
        Segmentation,
        Segmenter,
        load,
    )
    from segue.types import InputError

__all__ = [
    "Captioner",
    "Describer",
    "DualEncoder",
    "DualEncoderSegmenter",
    "GroundedCaption",
    "Illustrator",
    "InputError",
    "LabelMap",
    "Layout",
    "OpenVocabularySegmenter",
    "Segmentation",
    "Segmenter",
    "__version__",
    "load",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:  # torch is imported at the first use, not by `segue --help`
    if name in __all__:
        return getattr(import_module("segue.types" if name == "InputError" else "segue.api"), name)
    raise AttributeError(f"module 'segue' has no attribute {name!r}; it offers {', '.join(__all__)}")
