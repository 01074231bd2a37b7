"""The sliding windows of an evaluation protocol."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.methods.cocu.protocols import EvalProtocol

WINDOW_BATCH = 8  # windows that are encoded together
Corner = tuple[int, int]  # the row and the column of a window's top left pixel


def window_corners(height: int, width: int, crop: int, stride: int) -> list[Corner]:
    """Top left corners (row, column) of square windows that cover the picture; the last ones end at its edge."""

    def starts(length: int) -> list[int]:
        last = max(length - crop, 0)
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(height) for left in starts(width)]


def window_batches(height: int, width: int, protocol: EvalProtocol) -> list[list[Corner]]:
    """The corners of a resized picture's windows, WINDOW_BATCH at a time."""
    corners = window_corners(height, width, protocol.crop, protocol.stride)
    return [corners[i : i + WINDOW_BATCH] for i in range(0, len(corners), WINDOW_BATCH)]


def crops(pixels: Tensor, corners: list[Corner], protocol: EvalProtocol) -> Tensor:
    """The windows (B, 3, h, w) of a picture (3, H, W); all are of one size."""
    return torch.stack([pixels[:, y : y + protocol.crop, x : x + protocol.crop] for y, x in corners])
