"""Masks as COCO's run lengths and polygons, and back, by pycocotools. A mask is (H, W) bool, a box (x, y, w, h)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from operator import index
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from pycocotools import mask as coco

from segue.types import RLE, InputError, check_mask


def encode(mask: NDArray[np.bool_]) -> RLE:
    """(H, W) bool -> compressed run lengths."""
    check_mask(mask)
    made = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    return RLE(tuple(made["size"]), made["counts"])


def decode(rle: RLE) -> NDArray[np.bool_]:
    """Compressed run lengths -> (H, W) bool. Raises InputError when they don't fill the mask's size."""
    try:
        result: NDArray[np.bool_] = coco.decode(_coco(rle)).astype(np.bool_)
        return result
    except ValueError as error:
        raise InputError(f"run lengths of size {rle.size}: {error}; export the annotation again") from error


def area(rle: RLE) -> int:
    """Pixels in the mask."""
    return int(coco.area(_coco(rle)))


def box(rle: RLE) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the mask; zeros when it is empty."""
    x, y, w, h = coco.toBbox(_coco(rle)).tolist()
    return x, y, w, h


def to_json(rle: RLE) -> dict[str, Any]:
    """{"size": [H, W], "counts": "..."}, as COCO's result files hold it."""
    return {"size": list(rle.size), "counts": rle.counts.decode("ascii")}


def from_json(found: Any, size: tuple[int, int], where: str) -> RLE:
    """COCO's `segmentation` of any kind: polygons, run lengths, or compressed run lengths.

    size: (height, width) of the picture. where: names the annotation in an error.
    Raises InputError when it is none of the three, of another size, or far outside the picture.
    """
    try:
        if isinstance(found, list):
            return from_polygons([found], size, where)[0]
        return RLE(size, _run_lengths(found, size, where))
    except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{where}: got {str(found)[:60]}, expected COCO's polygons [[x, y, ...]] or run lengths "
            '{"size": [H, W], "counts": ...}; export the annotation again'
        ) from error


def from_polygons(masks: Sequence[Sequence[Any]], size: tuple[int, int], where: str) -> list[RLE]:
    """The masks, each of COCO's polygons [[x, y, ...], ...], of pictures of one size (height, width).

    where: names the annotations in an error. Raises InputError for a mask without polygons and a polygon that is too
    short or far outside the picture, TypeError for anything but lists of numbers.
    """
    far, polygons = max(size), [polygon for mask in masks for polygon in mask]
    if not all(masks) or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise InputError(f"{where}: a polygon needs 6 or more coordinates, x and y by turns; mend it")
    arrays = [_numbers(polygon) for polygon in polygons]
    every = np.concatenate(arrays)
    if not ((every >= -far) & (every <= 2 * far)).all():  # pycocotools would crash
        raise InputError(f"{where}: a polygon lies far outside the picture of {size[1]}x{size[0]}; mend it")
    parts = iter(coco.frPyObjects(arrays, *size))
    drawn = ([*islice(parts, len(mask))] for mask in masks)
    return [RLE(size, (found[0] if len(found) == 1 else coco.merge(found))["counts"]) for found in drawn]


def _numbers(polygon: Any) -> NDArray[np.float64]:
    """Raises TypeError for anything but a list of numbers."""
    array = np.asarray(polygon)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise TypeError("no list of numbers")
    return array.astype(np.float64, copy=False)


def _run_lengths(found: Any, size: tuple[int, int], where: str) -> bytes:
    """Compressed run lengths, of either kind. Raises InputError unless they fill a mask of `size`.

    Uncompressed ones are counted before pycocotools packs them, as long ones overflow its buffer.
    """
    given, counts, packed = tuple(found["size"]), found["counts"], None
    if isinstance(counts, list):
        pixels = sum(index(count) for count in counts)
        if min(counts, default=0) < 0:
            raise ValueError("a negative length")
    else:
        packed = counts.encode("ascii") if isinstance(counts, str) else bytes(memoryview(counts))
        pixels = filled(packed)
    if given != size:
        raise InputError(f"{where}: run lengths of {given}, expected the picture's (height, width) {size}")
    if pixels != size[0] * size[1]:
        raise InputError(f"{where}: run lengths of {pixels} pixels, expected {size[0] * size[1]}; export it again")
    return coco.frPyObjects(found, *size)["counts"] if packed is None else packed


def filled(counts: bytes) -> int:
    """How many pixels compressed run lengths fill, True and False; those that were cut short don't fill their mask.

    A number is 5 bits a character from its low end, bit 5 says that more follow, bit 4 of the last is the sign; from
    the fourth number on it is the difference to the last but one.
    """
    if not counts:
        return 0
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = (codes & 32) == 0
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(codes.size) - np.repeat(starts, np.diff([*starts, codes.size]))
    values = np.add.reduceat((codes & 31) << 5 * np.minimum(place, 12), starts)
    ends = np.concatenate([starts[1:], [codes.size]]) - 1
    values -= np.where(codes[ends] & 16, 1 << 5 * np.minimum(place[ends] + 1, 12), 0)
    return int(values[0] + np.cumsum(values[1::2]).sum() + np.cumsum(values[2::2]).sum())


def union(masks: Sequence[RLE]) -> RLE:
    """All masks of a list, of one size, as one. Raises InputError when the list is empty or the sizes differ."""
    if len({mask.size for mask in masks}) != 1:
        raise InputError(
            f"union: got masks of the sizes {sorted({m.size for m in masks})}, expected one or more of one"
        )
    made = coco.merge([_coco(mask) for mask in masks])
    return RLE(masks[0].size, made["counts"])


def to_polygons(rle: RLE) -> list[list[float]]:
    """COCO's polygons [[x, y, ...], ...] along the edges of the pixels; `from_json` makes the same mask of them.

    COCO's polygons have no holes, so that a part with a hole is cut in two through it.
    """
    parts, _ = scipy.ndimage.label(decode(rle))
    return [
        polygon
        for part, (rows, columns) in enumerate(scipy.ndimage.find_objects(parts), 1)
        for polygon in _outlines(parts[rows, columns] == part, columns.start, rows.start)
    ]


def _outlines(part: NDArray[np.bool_], left: int, top: int) -> Iterator[list[float]]:
    """Polygons of one connected part whose corner lies at (left, top)."""
    holes = scipy.ndimage.binary_fill_holes(part, np.ones((3, 3))) & ~part
    if not holes.any():
        yield [float(v) for x, y in _walk(part) for v in (x + left, y + top)]
        return
    cut = int(np.flatnonzero(holes.any(0))[0]) + 1
    for half, at in ((part[:, :cut], left), (part[:, cut:], left + cut)):
        pieces, _ = scipy.ndimage.label(half)
        for piece, (rows, columns) in enumerate(scipy.ndimage.find_objects(pieces), 1):
            yield from _outlines(pieces[rows, columns] == piece, at + columns.start, top + rows.start)


def _walk(part: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Corners (x, y) of a connected part without holes, clockwise from the first pixel of its first row.

    The walk keeps the part on its right; where two pixels touch in a corner only it turns right, along its own pixel.
    """
    inside = np.pad(part, 1)  # the pixel (row, column) stands at [row + 1, column + 1]
    start = x, y = int(np.flatnonzero(part[0])[0]), 0
    dx, dy, corners = 1, 0, [(x, y)]
    while True:
        x, y = x + dx, y + dy
        if not inside[y + (dx + dy + 1) // 2, x + (dx - dy + 1) // 2]:  # ahead on the right
            dx, dy = -dy, dx
        elif inside[y + (dy - dx + 1) // 2, x + (dx + dy + 1) // 2]:  # ahead on the left
            dx, dy = dy, -dx
        else:
            continue
        if (x, y) == start:
            return corners
        corners.append((x, y))


def iou(a: Sequence[RLE], b: Sequence[RLE]) -> NDArray[np.float64]:
    """(len(a), len(b)) intersection over union of masks of one picture."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    return np.asarray(coco.iou([_coco(r) for r in a], [_coco(r) for r in b], [0] * len(b)))


def _coco(rle: RLE) -> dict[str, Any]:
    return {"size": list(rle.size), "counts": rle.counts}
