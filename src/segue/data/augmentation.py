"""The augmentation of DeiT and of the released GroupViT (timm's `rand-m9-mstd0.5-inc1`), written from its numbers.

A crop of 8 to 100 % of the picture, mirrored half of the times; two of 15 operations, each left out half of the times,
at a strength drawn around 9 of 10 (RandAugment); and, a quarter of the times, noise over a box (random erasing). The
released config also names a colour jitter of 0.4, which timm drops beside RandAugment, whose operations have colour,
contrast and brightness; so does this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of the crop: share of the picture, width over height
OPERATIONS, CHANCE, STRENGTH, SPREAD = 2, 0.5, 9.0, 0.5
ERASE_CHANCE, ERASE_AREA, ERASE_RATIO = 0.25, (0.02, 1 / 3), (0.3, 1 / 0.3)
TRIES = 10  # of a box that fits
FILL = (124, 116, 104)  # the mean of ImageNet, where an operation leaves nothing

Rng = np.random.Generator
Operation = Callable[[Image.Image, float, Rng], Image.Image]  # the strength is in [0, 1]


def random_crop(image: NDArray[np.uint8], size: int, rng: Rng) -> NDArray[np.uint8]:
    """A random part of an (H, W, 3) picture as (size, size, 3), half of the times mirrored."""
    height, width = image.shape[:2]
    box = _crop_box(height, width, rng)
    part = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(ImageOps.mirror(part) if rng.random() < 0.5 else part)


def _crop_box(height: int, width: int, rng: Rng) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; the middle of the picture where none of TRIES boxes fits."""
    for _ in range(TRIES):
        w, h = _random_sides(height * width, AREA, RATIO, rng)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, max(1, round(height * RATIO[1]))), min(height, max(1, round(width / RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _random_sides(pixels: int, area: tuple[float, float], ratio: tuple[float, float], rng: Rng) -> tuple[int, int]:
    """Width and height of a box: its share of the pixels even, its ratio even on a logarithmic scale."""
    wanted = pixels * rng.uniform(*area)
    shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(wanted * shape)), round(math.sqrt(wanted / shape))


def rand_augment(image: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """(H, W, 3) -> the same shape, after up to two operations."""
    picture = Image.fromarray(image)
    for at in rng.integers(len(RAND_AUGMENT), size=OPERATIONS):
        if rng.random() < CHANCE:
            strength = float(np.clip(rng.normal(STRENGTH, SPREAD), 0, 10)) / 10
            picture = RAND_AUGMENT[int(at)](picture, strength, rng)
    return np.asarray(picture)


def erase(pixels: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
    """(3, H, W), normalised -> the same, a quarter of the times with a box of normal noise."""
    if rng.random() >= ERASE_CHANCE:
        return pixels
    height, width = pixels.shape[1:]
    for _ in range(TRIES):
        w, h = _random_sides(height * width, ERASE_AREA, ERASE_RATIO, rng)
        if 0 < w < width and 0 < h < height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            out = pixels.copy()
            out[:, top : top + h, left : left + w] = rng.standard_normal((3, h, w), np.float32)
            return out
    return pixels


def _either(value: float, rng: Rng) -> float:
    return value if rng.random() < 0.5 else -value


def _moved(matrix: Callable[[float, Image.Image], tuple[float, ...]], most: float) -> Operation:
    """An affine operation; most: at full strength, to either side."""

    def operate(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
        data = matrix(_either(most * strength, rng), image)
        return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=FILL)

    return operate


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def operate(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
        return kind(image).enhance(max(0.1, 1 + _either(0.9 * strength, rng)))

    return operate


def _turned(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
    return image.rotate(_either(30 * strength, rng), Image.Resampling.BILINEAR, fillcolor=FILL)


def _lightened(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
    """Adds up to 110 to what is below 128 (solarize add)."""
    added = int(110 * strength)
    return image.point([min(255, i + added) if i < 128 else i for i in range(256)] * 3)


RAND_AUGMENT: tuple[Operation, ...] = (
    lambda image, strength, rng: ImageOps.autocontrast(image),
    lambda image, strength, rng: ImageOps.equalize(image),
    lambda image, strength, rng: ImageOps.invert(image),
    _turned,
    lambda image, strength, rng: ImageOps.posterize(image, max(1, 4 - int(4 * strength))),
    lambda image, strength, rng: ImageOps.solarize(image, 256 - min(256, int(256 * strength))),
    _lightened,
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    _moved(lambda v, image: (1, v, 0, 0, 1, 0), 0.3),
    _moved(lambda v, image: (1, 0, 0, v, 1, 0), 0.3),
    _moved(lambda v, image: (1, 0, v * image.size[0], 0, 1, 0), 0.45),
    _moved(lambda v, image: (1, 0, 0, 0, 1, v * image.size[1]), 0.45),
)
