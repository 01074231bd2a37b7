"""Fixed codes of where something is, sines and cosines of its place."""

from __future__ import annotations

import torch
from torch import Tensor


def sines(n: int, channels: int) -> Tensor:
    """(n, channels): n places in a row, in [0, 1], by waves of half a period to 8 periods. channels: even."""
    frequency = torch.pi * 2.0 ** torch.linspace(0, 4, channels // 2)
    angle = (torch.arange(n) + 0.5)[:, None] / n * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels), row-major: half the channels tell the row, half the column. channels: in fours."""
    rows = sines(height, channels // 2)[:, None].expand(-1, width, -1)
    columns = sines(width, channels // 2)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
