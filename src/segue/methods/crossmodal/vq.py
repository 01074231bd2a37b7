"""Layouts as a few discrete tokens, and back: the first stage of caption <-> layout synthesis.

The quantiser is finite scalar quantisation (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023):
each of a few channels is rounded to a few levels, and a code is their combination. Nothing can collapse, so there is no
commitment loss, no moving average and no dead code. The encoder sees one cell at a time and the decoder its neighbours
too: so a cell of sky has one code wherever it lies, which those who predict codes can learn, and edges come out smooth.

B layouts, H x W pixels, h x w = H/f x W/f cells. A layout is an index map, never one-hot: at 171 classes and 512 x 512
pixels one-hot floats would be 180 MB a picture. For the same reason the loss makes its logits a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log2, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segue.types import InputError

UNKNOWN = 255


@dataclass(frozen=True)
class VQConfig:
    """classes: how many. factor: pixels a cell is wide and high, a power of two from 4.

    levels: into how many each channel of a code is rounded; there are prod(levels) codes.
    """

    classes: int
    factor: int = 8
    width: int = 96
    levels: tuple[int, ...] = (8, 6, 5, 5)

    def __post_init__(self) -> None:
        if self.factor < 4 or self.factor & (self.factor - 1):
            raise InputError(f"factor: got {self.factor}, expected a power of two from 4, such as 8 or 16")
        if not 2 <= self.classes <= UNKNOWN:
            raise InputError(f"classes: got {self.classes}, expected 2 to {UNKNOWN} ({UNKNOWN} itself means unknown)")

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return prod(self.levels)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(8, c_out), nn.SiLU())


def decoder_widths(config: VQConfig) -> list[int]:
    """Channels from the cells' grid up to half resolution: narrow where there are many pixels."""
    return [max(config.width >> i, 32) for i in range(int(log2(config.factor)))]


def pixel_decoder(c_in: int, widths: list[int]) -> nn.Sequential:
    """(B, c_in, h, w) on the cells' grid -> (B, widths[-1], H/2, W/2)."""
    ups = [_Up(a, b) for a, b in pairwise(widths)]
    first = nn.Conv2d(c_in, widths[0], 1)
    return nn.Sequential(first, _block(widths[0], widths[0]), _block(widths[0], widths[0]), *ups)


class LayoutVQ(nn.Module):
    """(B, H, W) index maps <-> (B, h, w) codes."""

    levels: Tensor
    places: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Embedding(config.classes + 1, 16)  # the last row: unknown
        self.encoder = nn.Sequential(
            nn.Conv2d(16, width, config.factor, config.factor), nn.SiLU(),
            nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, len(config.levels), 1),
        )  # fmt: skip
        widths = decoder_widths(config)
        self.decoder = pixel_decoder(len(config.levels), widths)
        self.head = nn.Conv2d(widths[-1], config.classes, 1)
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        places = [prod(config.levels[:i]) for i in range(len(config.levels))]
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def quantise(self, z: Tensor) -> Tensor:
        """(B, D, h, w) -> values in [-1, 1], each of a channel's levels; gradients pass the rounding unchanged."""
        top = (self.levels - 1)[:, None, None]
        smooth = z.sigmoid() * top
        rounded = smooth + (smooth.round() - smooth).detach()
        return 2 * rounded / top - 1

    def encode(self, layout: Tensor) -> Tensor:
        """(B, H, W) integer index maps, 255 unknown -> codes (B, h, w) int64. H and W are multiples of the factor."""
        return self._codes(self.encoder(self._embedded(layout)))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) -> layouts (B, H, W) uint8."""
        features = self._features(self.values(codes))
        return banded_classes(features, self.head)

    def values(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) -> the quantised values (B, D, h, w) that they stand for."""
        levels = (codes[:, None] // self.places[:, None, None]) % self.levels[:, None, None]
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
        known = layout.long().clamp_max(self.config.classes)  # 255, and nothing else, lies above
        return self.embed(known).permute(0, 3, 1, 2)

    def _codes(self, z: Tensor) -> Tensor:
        top = (self.levels - 1)[:, None, None]
        return ((z.sigmoid() * top).round().long() * self.places[:, None, None]).sum(1)

    def _features(self, values: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, C, H/2, W/2)."""
        return self.decoder(values.to(self.head.weight.dtype))


class _Up(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.block = _block(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(F.interpolate(x, scale_factor=2, mode="nearest"))


BAND = 32  # rows of half resolution that are grown to full size at a time


def _bands(features: Tensor) -> list[Tensor]:
    """Overlapping bands of rows: each with one row more on both sides, where there is one, for the interpolation."""
    height = features.shape[2]
    padded = F.pad(features, (0, 0, 1, 1), mode="replicate")
    return [padded[:, :, top : min(top + BAND, height) + 2] for top in range(0, height, BAND)]


def _grown(band: Tensor) -> Tensor:
    """A band of n + 2 rows -> its n inner rows at twice the size."""
    return F.interpolate(band, scale_factor=2, mode="bilinear")[:, :, 2:-2]


def banded_classes(features: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, H/2, W/2) -> (B, H, W) uint8, the likeliest classes."""
    return torch.cat([head(_grown(band)).argmax(1).to(torch.uint8) for band in _bands(features)], 1)


def balanced_loss(features: Tensor, head: Callable[[Tensor], Tensor], layout: Tensor, classes: int) -> Tensor:
    """The mean cross-entropy of the known pixels, in which a class of n pixels of the batch has the weight of sqrt(n).

    Small things would be lost else: half the pixels are sky and ground. Shapes: see `banded_cross_entropy`.
    """
    counts = torch.bincount(layout[layout != UNKNOWN], minlength=classes).clamp_min(1)
    return banded_cross_entropy(features, head, layout, counts.rsqrt()) / counts.sqrt().sum()


def banded_cross_entropy(features: Tensor, head: Callable[[Tensor], Tensor], layout: Tensor, weights: Tensor) -> Tensor:
    """The summed cross-entropy of the known pixels, its logits made band by band and made again for the gradient.

    features: (B, C, H/2, W/2). head: (B, C, n, W) -> (B, classes, n, W). layout: (B, H, W) int64. weights: (classes,).
    """

    def band_loss(band: Tensor, target: Tensor) -> Tensor:
        logits = head(_grown(band)).float()
        return F.cross_entropy(logits, target, weights, ignore_index=UNKNOWN, reduction="sum")

    targets = layout.split(2 * BAND, 1)
    parts = [checkpoint(band_loss, b, t, use_reentrant=False) for b, t in zip(_bands(features), targets, strict=True)]
    return torch.stack(parts).sum()
