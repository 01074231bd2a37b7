"""The one inference path: `segue.load(name_or_path)` gives a predictor.

>>> model = segue.load("reclmis-chest")
>>> answer = model.segment("chest.png", note="One infected area, upper left lung.")
>>> answer.mask, answer.area, answer.score

Which predictor it is, the checkpoint's method tells; `load_segmenter` and its like give a known one, with its type.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.api.captioner import Caption, Captioner, load_captioner
from segue.api.describer import Describer, load_describer
from segue.api.hub import from_pretrained, push_to_hub, save_pretrained
from segue.api.illustrator import Illustrator, Layout, load_illustrator
from segue.api.models import ENSEMBLE, find, method_of
from segue.api.open_vocabulary import LabelMap, OpenVocabularySegmenter, load_open_vocabulary
from segue.api.segmenter import Explanation, Member, Segmenter, export, load_segmenter, read_notes
from segue.methods.checkpoint import bundled
from segue.methods.dual_encoder.checkpoint import load_dual_encoder

__all__ = [
    "ENSEMBLE",
    "Caption",
    "Captioner",
    "Describer",
    "Explanation",
    "Illustrator",
    "LabelMap",
    "Layout",
    "Member",
    "OpenVocabularySegmenter",
    "Segmenter",
    "bundled",
    "export",
    "from_pretrained",
    "load",
    "load_captioner",
    "load_describer",
    "load_dual_encoder",
    "load_illustrator",
    "load_open_vocabulary",
    "load_segmenter",
    "push_to_hub",
    "read_notes",
    "save_pretrained",
]

LOADERS: dict[str, Callable[..., Any]] = {
    "cocu": load_open_vocabulary,
    "crossmodal": load_illustrator,
    "pair": load_dual_encoder,
    "reclmis": load_segmenter,
    "sgdiff": load_describer,
    "syntic": load_captioner,
    "unet": load_segmenter,
}


def load(name_or_path: str | Path, *, device: str = "cpu", **options: Any) -> Any:
    """A predictor from a bundled name or a checkpoint folder. options: those of the method's own loader."""
    folder = find(name_or_path)
    loader = LOADERS.get(method_of(folder) or "", load_segmenter)
    model = loader(folder, device=device, **options)
    model.folder = folder  # which `save_pretrained` gives away
    return model
