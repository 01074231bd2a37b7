"""The configuration of the joint caption and layout model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from segue.options import NonNegative, Positive, Share
from segue.types import InputError

Side = Annotated[int, Interval(ge=1, le=256)]


@dataclass(frozen=True)
class CrossModalConfig:
    """The model's shape and its losses.

    Raises InputError for a width that is not a multiple of 4 and of the heads.

    Attributes:
        codes: how many codes a layout token may have.
        grid: (h, w), layout tokens of a training layout.
        patch: pixels that a layout token spans.
        vocabulary: tokens of the captions, with start and end, which may be the same token.
        max_words: the most tokens of a caption, with start and end.
        width: channels of both streams.
        heads: of their attention.
        depth: layers of each stream.
        attention: "shared", one set of cross-attention weights for both directions, or "separate".
        align: whether L_align counts.
        contrast: L_align is InfoNCE among the batch's captions and layouts instead of the paper's cosine distance.
        loss_weights: of the terms mask, text and align.
        drop_image: share of the training examples whose image is left out.
        drop_caption: share of the training examples whose caption is left out.
        classes: of the layouts, whose boxes cells may be given; 0 for a model without boxes.
        drop_boxes: share of the training examples whose boxes are left out; where an image is given, the share of
            those that are given boxes too.
        norms: "pre", or "post" for the word stream, as in BERT.
        epsilon: of the layer norms.
        pad: id of the padding token.
        start: id of the start token.
        end: id of the end token.
    """

    codes: Annotated[int, Interval(ge=2, le=1_000_000)]
    grid: tuple[Side, Side]
    patch: Side
    vocabulary: Annotated[int, Interval(ge=2, le=1_000_000)]
    max_words: Annotated[int, Interval(ge=3, le=4096)] = 40
    width: Positive = 192
    heads: int = 6
    depth: Positive = 8
    attention: Literal["shared", "separate"] = "shared"
    align: bool = True
    contrast: bool = False
    loss_weights: tuple[float, float, float] = (0.6, 0.3, 0.1)
    drop_image: Share = 0.5
    drop_caption: Share = 0.1
    classes: Annotated[int, Interval(ge=0, le=255)] = 0
    drop_boxes: Share = 0.1
    norms: Literal["pre", "post"] = "pre"
    epsilon: Annotated[float, Interval(gt=0, le=1)] = 1e-5
    pad: NonNegative = 0
    start: NonNegative = 1
    end: NonNegative = 1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % 4 or self.width % self.heads:
            raise InputError(
                f"width: got {self.width} with {self.heads} heads, expected a multiple of 4 and of the heads"
            )
        if max(self.pad, self.start, self.end) >= self.vocabulary:
            raise InputError(
                f"pad, start, end: got {self.pad}, {self.start}, {self.end}, expected tokens of the {self.vocabulary}"
            )
