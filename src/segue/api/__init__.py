"""The one inference path: `segue.load(name_or_path)` gives a predictor.

>>> model = segue.load("reclmis-chest")
>>> answer = model.segment("chest.png", note="One infected area, upper left lung.")
>>> answer.mask, answer.area, answer.score

The checkpoint's method decides which predictor it is. Type checkers know the class of each bundled name; for any other
name `load_segmenter` and its like give a known one.
Names are imported when they are first used: one predictor doesn't load the others.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from segue.api.attribution import CaptionWord, NoteWord
    from segue.api.captioner import Caption, Captioner, load_captioner
    from segue.api.describer import Describer, load_describer
    from segue.api.hub import from_pretrained, push_to_hub, save_pretrained
    from segue.api.illustrator import Illustrator, load_illustrator
    from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
    from segue.api.open_vocabulary import OpenVocabularySegmenter, load_open_vocabulary
    from segue.api.segmenter import Attribution, Member, Segmenter, export, load_segmenter
    from segue.data.medical.note_tables import read_notes
    from segue.encoders.dual_encoder import DualEncoder
    from segue.methods.dual_encoder.checkpoint import load_dual_encoder
    from segue.options import Dtype
    from segue.types import GroundedCaption, LabelMap, Layout, LayoutBox, Segmentation
    from segue.weights import bundled

__all__ = [
    "Attribution",
    "Caption",
    "CaptionWord",
    "Captioner",
    "Describer",
    "DualEncoder",
    "DualEncoderSegmenter",
    "GroundedCaption",
    "Illustrator",
    "LabelMap",
    "Layout",
    "LayoutBox",
    "Member",
    "NoteWord",
    "OpenVocabularySegmenter",
    "Segmentation",
    "Segmenter",
    "bundled",
    "export",
    "from_pretrained",
    "load",
    "load_captioner",
    "load_describer",
    "load_dual_encoder",
    "load_illustrator",
    "load_label_segmenter",
    "load_open_vocabulary",
    "load_segmenter",
    "push_to_hub",
    "read_notes",
    "save_pretrained",
]

_MODULES = {
    "segue.api.attribution": ("CaptionWord", "NoteWord"),
    "segue.api.captioner": ("Caption", "Captioner", "load_captioner"),
    "segue.api.describer": ("Describer", "load_describer"),
    "segue.api.hub": ("from_pretrained", "push_to_hub", "save_pretrained"),
    "segue.api.illustrator": ("Illustrator", "load_illustrator"),
    "segue.api.label_segmenter": ("DualEncoderSegmenter", "load_label_segmenter"),
    "segue.api.open_vocabulary": ("OpenVocabularySegmenter", "load_open_vocabulary"),
    "segue.api.segmenter": ("Attribution", "Member", "Segmenter", "export", "load_segmenter"),
    "segue.data.medical.note_tables": ("read_notes",),
    "segue.encoders.dual_encoder": ("DualEncoder",),
    "segue.methods.dual_encoder.checkpoint": ("load_dual_encoder",),
    "segue.types": ("GroundedCaption", "LabelMap", "Layout", "LayoutBox", "Segmentation"),
    "segue.weights": ("bundled",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

LOADERS: dict[str, str] = {  # by the checkpoint's method
    "cocu": "segue.api.open_vocabulary:load_open_vocabulary",
    "crossmodal": "segue.api.illustrator:load_illustrator",
    "dual_encoder": "segue.methods.dual_encoder.checkpoint:load_dual_encoder",
    "reclmis": "segue.api.segmenter:load_segmenter",
    "sgdiff": "segue.api.describer:load_describer",
    "syntic": "segue.api.captioner:load_captioner",
    "unet": "segue.api.segmenter:load_segmenter",
}


@overload
def load(
    name_or_path: Literal["captions-photos", "syntic-scenes"],
    *,
    device: str = ...,
    dtype: Dtype = ...,
    **options: object,
) -> Captioner: ...
@overload
def load(
    name_or_path: Literal["cocu-scenes", "groupvit-scenes"], *, device: str = ..., dtype: Dtype = ...
) -> OpenVocabularySegmenter: ...
@overload
def load(name_or_path: Literal["crossmodal-scenes"], *, device: str = ..., dtype: Dtype = ...) -> Illustrator: ...
@overload
def load(
    name_or_path: Literal["describe-photos", "describe-scenes", "sgdiff-scenes"],
    *,
    device: str = ...,
    dtype: Dtype = ...,
    **options: object,
) -> Describer: ...
@overload
def load(
    name_or_path: Literal["photos-encoder", "scenes-encoder"], *, device: str = ..., dtype: Dtype = ...
) -> DualEncoder: ...
@overload
def load(
    name_or_path: Literal["reclmis-chest", "reclmis-cxr"],
    *,
    device: str = ...,
    dtype: Dtype = ...,
    attribution: bool = ...,
) -> Segmenter: ...
@overload
def load(name_or_path: str | Path, *, device: str = ..., dtype: Dtype = ..., **options: object) -> Any: ...
def load(name_or_path: str | Path, *, device: str = "auto", dtype: Dtype = "auto", **options: object) -> Any:
    """A predictor from a bundled name, a checkpoint folder or a hub id owner/name[@revision].

    device: cpu, cuda, cuda:1, or auto: a GPU where torch sees one. dtype: what it computes in, float32, bf16, or auto:
    bf16 for what segments by notes, on a GPU and on a CPU with AMX or AVX512-BF16, float32 for all else. options: those
    of the method's own loader, such as `attribution` of `load_segmenter`.
    Raises InputError when it can't be had, and for bf16 of a method that computes in float32 only.
    """
    from segue.api.models import FLOAT32_ONLY, check_dtype, find, method_of

    folder = find(name_or_path)
    method = method_of(folder)
    check_dtype(method, dtype)
    options |= {} if method in FLOAT32_ONLY else {"dtype": dtype}
    loader = resolve_name(LOADERS.get(method or "", LOADERS["reclmis"]))
    return loader(folder, device=device, **options)


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segue.api' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
