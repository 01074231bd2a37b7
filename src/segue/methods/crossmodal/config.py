"""The settings of the joint caption and layout model."""

from __future__ import annotations

from dataclasses import dataclass

from segue.types import InputError


@dataclass(frozen=True)
class CrossModalConfig:
    """codes: of the layout tokens; grid: (h, w) of a training layout; patch: pixels that a cell spans.

    vocabulary, max_words: of the captions, with their start and end, which may be one token. attention: "shared" or
    "separate" weights.
    align: whether L_align counts. loss_weights: mask, text, align. drop_image, drop_caption: shares of the examples
    that train without. norms: "pre", or "post" for the words, as BERT has them.
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
