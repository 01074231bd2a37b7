"""Sinusoidal position embeddings: sines and cosines of a position, not learned."""

from __future__ import annotations

import torch
from torch import Tensor


def sine_positions_1d(length: int, channels: int) -> Tensor:
    """(length, channels): waves of half a period to 8 periods over the whole length. channels: an even number."""
    frequency = torch.pi * 2.0 ** torch.linspace(0, 4, channels // 2)
    angle = (torch.arange(length) + 0.5)[:, None] / length * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels), row-major: half of the channels encode the row, half the column.

    channels: a multiple of 4.
    """
    rows = sine_positions_1d(height, channels // 2)[:, None].expand(-1, width, -1)
    columns = sine_positions_1d(width, channels // 2)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
