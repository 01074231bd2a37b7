"""Evaluation protocols of open-vocabulary segmentation: sizes, windows, thresholds, names and the rule that decides.

`voc`, `context`, `coco-object`, `imagenet-s-50`, `imagenet-s-300`, `cityscapes`, `ade20k` and `stuff` are those that
GroupViT and CoCu released; `published_rule` says how they decide. `NAME-soft` has the same sizes and threshold with
our softer rule (`inference.dense_scores`); scores of the two rules differ, so do the maps. Never put two protocols into
one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from segue.data.formats.classes import (
    ADE_150,
    CITYSCAPES_19,
    COCO_STUFF_171,
    COCO_THINGS,
    CONTEXT_59,
    VOC_21,
)
from segue.data.prompts import check_prompt
from segue.types import InputError

Rule = Literal["published", "soft", "hard"]
BACKGROUND = "background"


@dataclass(frozen=True)
class EvalProtocol:
    """An evaluation protocol.

    short_side: pixels to which the picture's shorter side is resized. crop, stride: of the sliding window, in pixels of
    the resized picture. threshold: a pixel whose best score is below it is background; None: no background. top_k: how
    many names may be there; None: all. rule: "published" is that of `published_rule`, and counts `top_k` in each
    window; by "soft" a pixel belongs softly to all groups, by "hard" to one alone, and `top_k` counts in the picture.
    prompt: the text, with {} in the place of the name. long_side: the picture is made smaller where its longer side
    would be longer; None: never. shrink: a picture of more than shrink * shrink pixels is shrunk to that longer side
    before all else; None: never. renamed: what stands in the prompt in the place of a data set's name.
    Raises InputError for values that make no sense.
    """

    short_side: int
    crop: int
    stride: int
    threshold: float | None = None
    top_k: int | None = 5
    rule: Rule = "soft"
    prompt: str = "a photo of a {}."
    long_side: int | None = None
    shrink: int | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.short_side, self.crop, self.stride) < 1 or self.stride > self.crop:
            raise InputError(
                f"protocol: got short side {self.short_side}, crop {self.crop}, stride {self.stride}, expected 1 or "
                "more and a stride no longer than the crop, which would leave pixels out"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k: got {self.top_k}, expected 1 or more, or none (--top-k 0) for all names")
        check_prompt(self.prompt)
        if self.rule not in get_args(Rule):
            raise InputError(f"rule: got {self.rule!r}, expected one of {', '.join(get_args(Rule))}")

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) to which a picture is resized."""
        factor = self.short_side / min(height, width)
        if self.long_side is not None:
            factor = min(factor, self.long_side / max(height, width))
        if self.rule == "published":  # halves up, as mmcv rounds
            return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))
        return max(1, round(height * factor)), max(1, round(width * factor))


_VOC_NAMES = {"dining table": "table", "potted plant": "plant", "tv monitor": "monitor"}
_CONTEXT_NAMES = {"aeroplane": "airplane", "potted plant": "plant", "tv monitor": "monitor"}
_PUBLISHED: dict[str, EvalProtocol] = {
    "voc": EvalProtocol(448, 448, 224, 0.95, renamed=_VOC_NAMES),
    "coco-object": EvalProtocol(448, 448, 224, 0.95),
    "imagenet-s-50": EvalProtocol(448, 448, 224, 0.95, shrink=1000),
    "context": EvalProtocol(448, 448, 224, 0.35, renamed=_CONTEXT_NAMES),
    "imagenet-s-300": EvalProtocol(448, 448, 224, 0.75, shrink=1000),
    "cityscapes": EvalProtocol(1024, 448, 224),
    "ade20k": EvalProtocol(512, 224, 112, renamed={"television": "television receiver"}),
    "stuff": EvalProtocol(512, 224, 112),
}
PROTOCOLS: dict[str, EvalProtocol] = {
    **{name: replace(one, rule="published", long_side=2048) for name, one in _PUBLISHED.items()},
    **{f"{name}-soft": replace(one, shrink=None, renamed={}) for name, one in _PUBLISHED.items()},
    # ours, for synthetic scenes and for models trained at 64 pixels; `group_concept_loss` leaves names to the groups
    "scenes": EvalProtocol(128, 128, 64, top_k=None),
    "small": EvalProtocol(64, 64, 32, top_k=None),
}
# the classes that a published protocol scores, in its data set's own names; ImageNet-S tells its own
PUBLISHED_CLASSES: dict[str, tuple[str, ...]] = {
    "voc": VOC_21,
    "context": (BACKGROUND, *CONTEXT_59),
    "coco-object": (BACKGROUND, *COCO_THINGS),
    "cityscapes": CITYSCAPES_19,
    "ade20k": ADE_150,
    "stuff": COCO_STUFF_171,
}


def find_protocol(name: str) -> EvalProtocol:
    """A protocol by its name. Raises InputError that lists the names."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
