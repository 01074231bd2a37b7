"""Boxes: x, y, width, height, x to the right and y down, in pixels or in fractions of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_shared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(A, 4) and (B, 4) -> (A, B) areas of the intersections."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    return (high - low).clip(0).prod(-1)


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(A, 4) and (B, 4) -> (A, B) intersection over union."""
    shared = box_shared(a, b)
    total = a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1)[None] - shared
    return shared / np.maximum(total, 1e-9)
