"""The layout quantiser: layouts as a small grid of discrete tokens, and back.

It is finite scalar quantisation (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023): each of a few
channels is rounded to a few levels, and a code is their combination. Its codebook can't collapse, so there is no
commitment loss, no moving average and no dead code. The encoder's receptive field is one cell, so that a cell of sky
has the same code everywhere, which makes codes easy to predict; the decoder's includes neighbours, so that edges are
smooth.

B layouts, H x W pixels, h x w = H/f x W/f cells. A layout is an index map, never one-hot: at 171 classes and 512 x 512
pixels one-hot floats would take 180 MB a layout. For the same reason the loss computes its logits a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log2, prod
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Interval, MinLen
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segue.types import InputError

UNKNOWN = 255
BAND_ROWS = 32  # rows of half resolution that are upsampled to full size at a time


@dataclass(frozen=True)
class VQConfig:
    """classes: how many, 2 to 255. factor: pixels that a cell is wide and high, a power of two from 4.

    width: channels of the networks. levels: number of levels of each channel of a code; there are prod(levels) codes.
    context: channels of a 3 x 3 convolution of the pixels before they become cells, so that a cell sees its rim; 0 for
    none.
    Raises InputError for a factor or a number of classes out of its range.
    """

    classes: int
    factor: Annotated[int, Interval(le=256)] = 8
    width: Annotated[int, Interval(ge=8, le=100_000)] = 96
    levels: Annotated[tuple[Annotated[int, Interval(ge=2, le=1000)], ...], MinLen(1)] = (8, 6, 5, 5)
    context: Annotated[int, Interval(ge=0, le=1024)] = 0

    def __post_init__(self) -> None:
        if self.factor < 4 or self.factor & (self.factor - 1):
            raise InputError(f"factor: got {self.factor}, expected a power of two from 4, such as 8 or 16")
        if not 2 <= self.classes <= UNKNOWN:
            raise InputError(f"classes: got {self.classes}, expected 2 to {UNKNOWN} ({UNKNOWN} itself means unknown)")

    @property
    def codes(self) -> int:
        """The number of codes."""
        return prod(self.levels)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(8, c_out), nn.SiLU())


def decoder_widths(config: VQConfig) -> list[int]:
    """Channels of `pixel_decoder` from the cells' grid up to half resolution, halved with each doubling of the size."""
    return [max(config.width >> i, 32) for i in range(int(log2(config.factor)))]


def pixel_decoder(c_in: int, widths: list[int]) -> nn.Sequential:
    """(B, c_in, h, w) on the cells' grid -> (B, widths[-1], H/2, W/2)."""
    ups = [_Upsample(a, b) for a, b in pairwise(widths)]
    first = nn.Conv2d(c_in, widths[0], 1)
    return nn.Sequential(first, _block(widths[0], widths[0]), _block(widths[0], widths[0]), *ups)


class LayoutVQ(nn.Module):
    """(B, H, W) index maps <-> (B, h, w) codes."""

    levels: Tensor
    strides: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Embedding(config.classes + 1, 16)  # the last row: unknown
        c_in = config.context or 16
        before = [nn.Conv2d(16, c_in, 3, padding=1), nn.SiLU()] if config.context else []
        self.encoder = nn.Sequential(
            *before, nn.Conv2d(c_in, width, config.factor, config.factor), nn.SiLU(),
            nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, len(config.levels), 1),
        )  # fmt: skip
        widths = decoder_widths(config)
        self.decoder = pixel_decoder(len(config.levels), widths)
        self.head = nn.Conv2d(widths[-1], config.classes, 1)
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        strides = [prod(config.levels[:i]) for i in range(len(config.levels))]
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def quantise(self, z: Tensor) -> Tensor:
        """(B, D, h, w) -> the same shape, values in [-1, 1] rounded to the levels (straight-through gradient)."""
        highest = (self.levels - 1)[:, None, None]
        smooth = z.sigmoid() * highest
        rounded = smooth + (smooth.round() - smooth).detach()
        return 2 * rounded / highest - 1

    def encode(self, layout: Tensor) -> Tensor:
        """(B, H, W) integer index maps, 255 for unknown -> codes (B, h, w) int64.

        Raises InputError when H or W is not a multiple of the factor.
        """
        return self._codes(self.encoder(self._embedded(layout)))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) int64 -> layouts (B, H, W) uint8."""
        features = self._features(self.values(codes))
        return banded_classes(features, self.head)

    def values(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) int64 -> their quantised values (B, D, h, w) in [-1, 1]."""
        levels = (codes[:, None] // self.strides[:, None, None]) % self.levels[:, None, None]
        return 2 * levels / (self.levels - 1)[:, None, None] - 1

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: layout (B, H, W) integer. See `balanced_loss`."""
        layout = batch["layout"].long()
        features = self._features(self.quantise(self.encoder(self._embedded(layout))))
        return {"loss": balanced_loss(features, self.head, layout, self.config.classes)}

    def _embedded(self, layout: Tensor) -> Tensor:
        odd = [side for side in layout.shape[-2:] if side % self.config.factor]
        if odd:
            raise InputError(f"layout: got {tuple(layout.shape)}, expected sides that {self.config.factor} divides")
        classes = layout.long().clamp_max(self.config.classes)  # only 255 is larger than the last class
        embedded: Tensor = self.embed(classes).permute(0, 3, 1, 2)
        return embedded

    def _codes(self, z: Tensor) -> Tensor:
        highest = (self.levels - 1)[:, None, None]
        return ((z.sigmoid() * highest).round().long() * self.strides[:, None, None]).sum(1)

    def _features(self, values: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, C, H/2, W/2)."""
        features: Tensor = self.decoder(values.to(self.head.weight.dtype))
        return features


class _Upsample(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.block = _block(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(F.interpolate(x, scale_factor=2, mode="nearest"))
        return y


def _bands(features: Tensor) -> list[Tensor]:
    """Bands of BAND_ROWS rows, each with one more row above and below (replicated at the border) for interpolation."""
    height = features.shape[2]
    padded = F.pad(features, (0, 0, 1, 1), mode="replicate")
    return [padded[:, :, top : min(top + BAND_ROWS, height) + 2] for top in range(0, height, BAND_ROWS)]


def _upsampled(band: Tensor) -> Tensor:
    """A band of n + 2 rows -> its n inner rows at twice the size."""
    return F.interpolate(band, scale_factor=2, mode="bilinear")[:, :, 2:-2]


def banded_classes(features: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, H/2, W/2) -> (B, H, W) uint8, the likeliest classes. head: see `banded_cross_entropy`."""
    return torch.cat([head(_upsampled(band)).argmax(1).to(torch.uint8) for band in _bands(features)], 1)


def balanced_loss(features: Tensor, head: Callable[[Tensor], Tensor], layout: Tensor, classes: int) -> Tensor:
    """Mean cross-entropy of the known pixels, in which a class with n pixels in the batch has the weight sqrt(n).

    Otherwise small objects would be lost: half the pixels are sky and ground. Shapes: see `banded_cross_entropy`.
    """
    counts = torch.bincount(layout[layout != UNKNOWN], minlength=classes).clamp_min(1)
    return banded_cross_entropy(features, head, layout, counts.rsqrt()) / counts.sqrt().sum()


def banded_cross_entropy(features: Tensor, head: Callable[[Tensor], Tensor], layout: Tensor, weights: Tensor) -> Tensor:
    """Summed cross-entropy of the known pixels; its logits are computed band by band, and again for the gradient.

    features: (B, C, H/2, W/2). head: (B, C, n, W) -> (B, classes, n, W). layout: (B, H, W) int64, 255 for unknown.
    weights: (classes,).
    """

    def band_loss(band: Tensor, target: Tensor) -> Tensor:
        logits = head(_upsampled(band)).float()
        return F.cross_entropy(logits, target, weights, ignore_index=UNKNOWN, reduction="sum")

    targets = torch.split(layout, 2 * BAND_ROWS, 1)
    parts = [checkpoint(band_loss, b, t, use_reentrant=False) for b, t in zip(_bands(features), targets, strict=True)]
    return torch.stack(parts).sum()
