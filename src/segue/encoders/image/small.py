"""A small convolutional image encoder, trained from scratch with the method that uses it."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from segue.encoders.image.contract import ImageEncoder, ImageFeatures
from segue.nn.preprocessing import Preprocessing
from segue.nn.transformer import Block
from segue.options import Positive
from segue.types import InputError

Side = Annotated[int, Interval(ge=1, le=4096)]


class SmallImageEncoder(ImageEncoder):
    """A small encoder for small images: four strided convolutions, then a transformer over the 16-pixel cells.

    Group norm and no dropout, so that a step gives the same loss in one process and in several. 1.5 M parameters.
    Raises InputError for a size that 16 doesn't divide, or a width that 8 and heads don't.
    """

    kind = "small"
    stride = 16

    def __init__(self, *, size: Side = 128, width: Positive = 192, layers: Positive = 3, heads: Positive = 6) -> None:
        if size % self.stride or width % heads or width % 8:
            raise InputError(
                f"image encoder: got size={size}, width={width}, heads={heads}, expected a size that {self.stride} "
                "divides and a width that 8 and heads divide; for instance size=128, width=192, heads=6"
            )
        super().__init__()
        self.width, self.layers, self.heads = width, layers, heads
        self.preprocessing = Preprocessing(size, std=(0.5,) * 3)
        widths = [3, width // 8, width // 4, width // 2, width]
        self.stem = nn.Sequential(*(_Downsample(a, b) for a, b in pairwise(widths)))
        self.position = nn.Parameter(torch.empty((size // self.stride) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> pooled (B, D), the mean over the cells of dense (B, D, S / 16, S / 16)."""
        self._check(x)
        cells = self.stem(x)
        tokens = self.norm(self.blocks(cells.flatten(2).transpose(1, 2) + self.position))
        return ImageFeatures(tokens.mean(1), tokens.transpose(1, 2).unflatten(2, cells.shape[2:]))

    def config(self) -> dict[str, Any]:
        """Kind and sizes; the weights come with the method's state dict."""
        sizes = {name: getattr(self, name) for name in ("size", "width", "layers", "heads")}
        return {"kind": self.kind, **sizes, "preprocessing": asdict(self.preprocessing)}


class _Downsample(nn.Module):
    """Half the resolution, then one residual depthwise-separable convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False)
        self.norm = nn.GroupNorm(1, c_out)
        self.depth = nn.Conv2d(c_out, c_out, 3, 1, 1, groups=c_out)
        self.mix = nn.Conv2d(c_out, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.down(x)))
        residual: Tensor = self.mix(F.gelu(self.depth(x)))
        return x + residual
