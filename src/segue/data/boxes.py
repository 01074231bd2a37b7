"""Boxes: x, y, width, height, x to the right and y down, in pixels or in fractions of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]


def box_intersection(a: Boxes, b: Boxes) -> Boxes:
    """(A, 4) and (B, 4) boxes -> (A, B) areas of the intersections."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    areas: Boxes = (high - low).clip(0).prod(-1)
    return areas


def box_iou(a: Boxes, b: Boxes) -> Boxes:
    """(A, 4) and (B, 4) boxes -> (A, B) intersection over union, in [0, 1]."""
    shared = box_intersection(a, b)
    total = a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1)[None] - shared
    ratios: Boxes = shared / np.maximum(total, 1e-9)
    return ratios
