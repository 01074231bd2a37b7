"""What is done to a picture, its mask and its note together, before a network sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

from segue.data.medical.notes import swap_sides
from segue.types import Example


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (*size, 3), size = (height, width), bilinear with the anti-aliasing that shrinking needs."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_without_antialiasing(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (*size, 3), bilinear between the two nearest pixels each way, however much it shrinks.

    Equal bit by bit to OpenCV's INTER_LINEAR (and so to mmcv's resizing), whose weights are in units of 1 / 2048.
    """
    if image.shape[:2] == size:
        return image
    (top, bottom, lower), (left, right, further) = (
        _linear_taps(n, wanted) for n, wanted in zip(image.shape[:2], size, strict=True)
    )
    edge = (left == right)[:, None]
    further = np.where(
        edge, 0, further[:, None]
    )  # across, a pixel beyond the edge has no share; down, it is the edge's
    whole = image.astype(np.int32)
    rows = whole[:, left] * (2048 - further) + whole[:, right] * further
    lower = lower[:, None, None]
    upper_part, lower_part = (2048 - lower) * (rows[top] >> 4) >> 16, lower * (rows[bottom] >> 4) >> 16
    return ((upper_part + lower_part + 2) >> 2).astype(np.uint8)


def _linear_taps(length: int, wanted: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """For each of `wanted` pixels the two of `length` that it lies between, and the second's weight in 1 / 2048."""
    at = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).astype(np.float32)
    first = np.floor(at)
    weight = np.rint((at - first) * np.float32(2048)).astype(np.int32)
    near, far = (np.clip(first + k, 0, length - 1).astype(np.int32) for k in (0, 1))
    return near, far, weight


def resize_nearest(index: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(H, W) -> size, nearest neighbour; equal to OpenCV's INTER_NEAREST, rounding of its steps included."""
    rows, columns = (
        np.minimum(np.arange(wanted) * (1 / (wanted / n)), n - 1).astype(int)
        for n, wanted in zip(index.shape, size, strict=True)
    )
    return index[np.ix_(rows, columns)]


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool -> (*size), nearest neighbour: a mask is neither thinned nor dilated, and stays two-valued."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def flip(example: Example) -> Example:
    """Mirror picture, mask and the note's sides; unchanged when the note can't be rewritten safely."""
    note = example.note if example.note is None else swap_sides(example.note)
    if note is None and example.note is not None:
        return example
    mask = None if example.mask is None else np.ascontiguousarray(example.mask[:, ::-1])
    return replace(example, image=np.ascontiguousarray(example.image[:, ::-1]), mask=mask, note=note)


def warp(example: Example, angle: float, scale: float) -> Example:
    """Turn by `angle` degrees and magnify by `scale` about the centre; picture bilinear, mask nearest."""
    centre = (np.array(example.image.shape[:2]) - 1) / 2
    c, s = np.cos(np.deg2rad(angle)) / scale, np.sin(np.deg2rad(angle)) / scale
    turn = np.array([[c, -s], [s, c]])
    offset = centre - turn @ centre
    channels = [
        scipy.ndimage.affine_transform(example.image[..., k], turn, offset, order=1, mode="nearest") for k in range(3)
    ]
    mask = example.mask
    if mask is not None:
        mask = scipy.ndimage.affine_transform(mask.astype(np.uint8), turn, offset, order=0, mode="constant") > 0
    return replace(example, image=np.stack(channels, -1), mask=mask)


def photometric(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The paper's distortions: blur of random sigma, contrast, saturation, and hue as a gain for each channel."""
    x = image.astype(np.float32)
    if rng.random() < 0.3:
        x = scipy.ndimage.gaussian_filter(x, (sigma := rng.uniform(0.3, 1.0), sigma, 0))  # never across the channels
    mean, grey = x.mean(), x.mean(-1, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.8, 1.2)
    x = (x - mean) * rng.uniform(0.75, 1.25) + mean * rng.uniform(0.85, 1.15)
    result: NDArray[np.uint8] = np.clip(x * rng.uniform(0.97, 1.03, 3), 0, 255).astype(np.uint8)
    return result


Augment = Callable[[Example, np.random.Generator], Example]


def augment(example: Example, rng: np.random.Generator) -> Example:
    """A random view of an example. What the note says of the mask stays true: sides are swapped with the picture."""
    if rng.random() < 0.5:
        example = flip(example)
    example = warp(example, rng.uniform(-8, 8), rng.uniform(0.92, 1.1))
    return replace(example, image=photometric(example.image, rng))
