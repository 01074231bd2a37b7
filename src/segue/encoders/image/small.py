"""A small convolutional image encoder, trained from scratch with the method that uses it."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.image.contract import ImageEncoder, ImageFeatures, Preparation
from segue.nn.transformer import Block
from segue.types import InputError


class SmallImage(ImageEncoder):
    """A small tower for small pictures: four strided convolutions, then a transformer over the 16-pixel places.

    Group norm and no dropout, so that a step gives the same loss in one process and in several. 1.5 M parameters.
    """

    kind = "small"
    stride = 16

    def __init__(self, *, size: int = 128, width: int = 192, layers: int = 3, heads: int = 6) -> None:
        if size % self.stride or width % heads or width % 8:
            raise InputError(
                f"SmallImage: got size={size}, width={width}, heads={heads}, expected a size that {self.stride} "
                "divides and a width that 8 and heads divide; for instance size=128, width=192, heads=6"
            )
        super().__init__()
        self.width, self.layers, self.heads = width, layers, heads
        self.preparation = Preparation(size, interpolation="bilinear")
        widths = [3, width // 8, width // 4, width // 2, width]
        self.stem = nn.Sequential(*(_Halve(a, b) for a, b in pairwise(widths)))
        self.position = nn.Parameter(torch.empty((size // self.stride) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, D), the mean over the places of dense (B, D, S / 16, S / 16)."""
        self._check(x)
        places = self.stem(x)
        tokens = self.norm(self.blocks(places.flatten(2).transpose(1, 2) + self.position))
        return ImageFeatures(tokens.mean(1), tokens.transpose(1, 2).unflatten(2, places.shape[2:]))

    def config(self) -> dict[str, Any]:
        """Kind and sizes; the weights come with the method's state dict."""
        sizes = {name: getattr(self, name) for name in ("size", "width", "layers", "heads")}
        return {"kind": self.kind, **sizes, "preparation": asdict(self.preparation)}


class _Halve(nn.Module):
    """Half the resolution, then one residual depthwise-separable convolution."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inside, outside, 3, 2, 1, bias=False)
        self.norm = nn.GroupNorm(1, outside)
        self.depth = nn.Conv2d(outside, outside, 3, 1, 1, groups=outside)
        self.mix = nn.Conv2d(outside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.down(x)))
        return x + self.mix(F.gelu(self.depth(x)))
