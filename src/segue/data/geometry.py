"""Geometry of annotated pictures: the picture, its regions and its label map resized, cropped and mirrored together.

A region keeps its place in the list, so that relations and phrases still point to it; one that a crop leaves nothing of
has an empty mask and a box without area. Captions are not touched: "left" in one is wrong after `flip`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segue.data import rle
from segue.data.transforms import resize_image, resize_mask
from segue.types import InputError, Picture, Region

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture with annotations. image: (H, W, 3) uint8. regions: masks of (H, W). labels: (H, W) uint8 or None."""

    image: NDArray[np.uint8]
    regions: tuple[Region, ...] = ()
    labels: NDArray[np.uint8] | None = None


def load_annotated(picture: Picture) -> AnnotatedImage:
    """The whole of a picture, read from its files."""
    return AnnotatedImage(picture.load(), picture.regions, picture.label_map() if picture.label_map else None)


def resize(view: AnnotatedImage, size: tuple[int, int]) -> AnnotatedImage:
    """size: (height, width). The picture bilinear, masks and labels by the nearest neighbour."""
    down, across = size[0] / view.image.shape[0], size[1] / view.image.shape[1]
    labels = view.labels
    if labels is not None:
        labels = np.asarray(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST))

    def region(r: Region) -> Region:
        x, y, w, h = r.box
        mask = None if r.mask is None else rle.encode(resize_mask(rle.decode(r.mask), size))
        return replace(r, box=(x * across, y * down, w * across, h * down), mask=mask)

    return AnnotatedImage(resize_image(view.image, size), tuple(map(region, view.regions)), labels)


def crop(view: AnnotatedImage, box: tuple[int, int, int, int]) -> AnnotatedImage:
    """box: (x, y, width, height) in whole pixels, inside the picture. Raises InputError when it is not."""
    x, y, w, h = box
    if not (0 <= x < x + w <= view.image.shape[1] and 0 <= y < y + h <= view.image.shape[0]):
        size = f"{view.image.shape[1]}x{view.image.shape[0]}"
        raise InputError(f"crop: got the box {box} (x, y, width, height), expected one inside the {size} picture")
    rows, columns = slice(y, y + h), slice(x, x + w)

    def region(r: Region) -> Region:
        mask = None if r.mask is None else rle.encode(np.ascontiguousarray(rle.decode(r.mask)[rows, columns]))
        return replace(r, box=_cut(r.box, box), mask=mask)

    labels = None if view.labels is None else view.labels[rows, columns]
    return AnnotatedImage(view.image[rows, columns], tuple(map(region, view.regions)), labels)


def flip(view: AnnotatedImage) -> AnnotatedImage:
    """Left and right exchanged."""
    width = view.image.shape[1]

    def region(r: Region) -> Region:
        x, y, w, h = r.box
        mask = None if r.mask is None else rle.encode(np.ascontiguousarray(rle.decode(r.mask)[:, ::-1]))
        return replace(r, box=(width - x - w, y, w, h), mask=mask)

    labels = None if view.labels is None else np.ascontiguousarray(view.labels[:, ::-1])
    return AnnotatedImage(np.ascontiguousarray(view.image[:, ::-1]), tuple(map(region, view.regions)), labels)


def _cut(box: Box, window: tuple[int, int, int, int]) -> Box:
    """What a window leaves of a box, in the window's coordinates."""
    x, y = max(box[0] - window[0], 0.0), max(box[1] - window[1], 0.0)
    right = min(box[0] + box[2] - window[0], float(window[2]))
    bottom = min(box[1] + box[3] - window[1], float(window[3]))
    return (x, y, right - x, bottom - y) if right > x and bottom > y else (0.0, 0.0, 0.0, 0.0)
