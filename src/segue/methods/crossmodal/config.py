"""The configuration of the joint caption and layout model."""

from __future__ import annotations

from dataclasses import dataclass

from segue.types import InputError


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
        loss_weights: of the terms mask, text and align.
        drop_image: share of the training examples whose image is left out.
        drop_caption: share of the training examples whose caption is left out.
        norms: "pre", or "post" for the word stream, as in BERT.
        epsilon: of the layer norms.
        pad: id of the padding token.
        start: id of the start token.
        end: id of the end token.
    """

    codes: int
    grid: tuple[int, int]
    patch: int
    vocabulary: int
    max_words: int = 40
    width: int = 192
    heads: int = 6
    depth: int = 8
    attention: str = "shared"
    align: bool = True
    loss_weights: tuple[float, float, float] = (0.6, 0.3, 0.1)
    drop_image: float = 0.5
    drop_caption: float = 0.1
    norms: str = "pre"
    epsilon: float = 1e-5
    pad: int = 0
    start: int = 1
    end: int = 1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % 4 or self.width % self.heads:
            raise InputError(
                f"width: got {self.width} with {self.heads} heads, expected a multiple of 4 and of the heads"
            )
