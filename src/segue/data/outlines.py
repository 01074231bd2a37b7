"""Masks kept as the polygons that outline them: read in bulk, a third of their size in a file, drawn when asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.types import RLE

FINER = 5  # COCO draws polygons on a grid so much finer than the pixels
THICK = 15  # steps of that grid, three pixels: whatever is rounded while it is drawn, one of them is in the mask


@dataclass(frozen=True)
class Outlines:
    """The polygons of many masks, one behind the other.

    numbers: x and y by turns, in pixels as float64, or in hundredths of them as whole numbers. ends: of each polygon in
    `numbers`. masks: of each mask, the end of its polygons in `ends`. filled: of each mask, whether it surely has a
    pixel.
    """

    numbers: NDArray[Any]
    ends: NDArray[np.int64]
    masks: NDArray[np.int64]
    filled: NDArray[np.bool_]

    def polygons(self, at: int) -> list[NDArray[np.float64]]:
        """The polygons of a mask in pixels; none for a mask without."""
        first, last = (int(self.masks[at - 1]) if at else 0), int(self.masks[at])
        edges = [int(self.ends[first - 1]) if first else 0, *self.ends[first:last].tolist()]
        whole = self.numbers.dtype.kind != "f"
        found = (self.numbers[a:b] for a, b in pairwise(edges))
        return [one / 100 if whole else one for one in found]


class PolygonMask(RLE):
    """A mask that is drawn when its run lengths are asked for first. It is as good as an `RLE`, and pickled as one.

    filled: whether it surely has a pixel, without drawing it.
    """

    __slots__ = ("_at", "_drawn", "_outlines", "filled")
    _at: int
    _drawn: bytes | None
    _outlines: Outlines
    filled: bool

    def __init__(self, size: tuple[int, int], outlines: Outlines, at: int, filled: bool) -> None:
        put = object.__setattr__  # an RLE is frozen
        put(self, "size", size)
        put(self, "_outlines", outlines)
        put(self, "_at", at)
        put(self, "_drawn", None)
        put(self, "filled", filled)

    @property
    def counts(self) -> bytes:
        """The run lengths, see `segue.data.rle`."""
        if self._drawn is None:
            (made,) = rle.from_polygons([self._outlines.polygons(self._at)], self.size, "segmentation")
            object.__setattr__(self, "_drawn", made.counts)
            return made.counts
        return self._drawn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RLE) and (self.size, self.counts) == (other.size, other.counts)

    def __hash__(self) -> int:
        return hash((self.size, self.counts))

    def __reduce__(self) -> tuple[Any, ...]:
        return RLE, (self.size, self.counts)


def is_empty(mask: RLE) -> bool:
    """Whether a mask has no pixel."""
    return not (isinstance(mask, PolygonMask) and mask.filled) and not rle.area(mask)


def read_outlines(masks: Sequence[Sequence[Any]], sizes: NDArray[np.int64]) -> Outlines:
    """Keep masks of polygons [[x, y, ...], ...], of pictures of these sizes: (N, 2), height and width.

    A mask may be without polygons. Raises TypeError or ValueError unless all are such as `rle.from_polygons` draws.
    """
    polygons = [*chain.from_iterable(masks)]
    if not {list}.issuperset(map(type, polygons)):
        raise TypeError("not only lists of numbers")
    lengths = np.fromiter(map(len, polygons), np.int64)
    if (lengths < 6).any() or (lengths % 2).any():
        raise ValueError("not only six numbers or more, x and y by turns")
    numbers, counts = _doubles(chain.from_iterable(polygons)), np.fromiter(map(len, masks), np.int64)
    sizes = np.repeat(sizes, counts, 0)
    far = np.repeat(sizes.max(1, initial=0), lengths)
    if not ((numbers >= -far) & (numbers <= 2 * far)).all():
        raise ValueError("a polygon lies far outside its picture")
    filled = np.zeros(len(masks), np.bool_)
    filled[np.repeat(np.arange(len(masks)), counts)[_surely_filled(numbers, lengths, sizes)]] = True
    return Outlines(_small(numbers), np.cumsum(lengths), np.cumsum(counts), filled)


def _doubles(numbers: Iterable[Any]) -> NDArray[np.float64]:
    """As an array; three times as fast as by NumPy, which would take texts too. Raises TypeError for no numbers."""
    found = [*numbers]
    try:
        return np.frombuffer(struct.pack(f"{len(found)}d", *found))
    except struct.error as error:
        raise TypeError("not only numbers") from error


def _small(numbers: NDArray[np.float64]) -> NDArray[Any]:
    """The numbers as whole hundredths in 16 or 32 bits where they all are such, as in COCO's files."""
    whole = np.rint(100 * numbers)
    for kind in (np.uint16, np.int32):
        bounds = np.iinfo(kind)
        if whole.min(initial=0) >= bounds.min and whole.max(initial=0) <= bounds.max:
            return whole.astype(kind) if (whole / 100 == numbers).all() else numbers
    return numbers


def _surely_filled(
    numbers: NDArray[np.float64], lengths: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Of each polygon whether its mask surely has a pixel: it is thick in its middle column.

    There the edges cross the column at an even number of places, and what lies between the first and the second, the
    third and the fourth, ... is inside. COCO rounds the corners to the finer grid, as is done here, and then the places
    by less than two steps.
    """
    filled, starts = np.zeros(len(lengths), np.bool_), np.cumsum(lengths // 2) - lengths // 2
    if not len(lengths):
        return filled
    x, y = np.trunc(FINER * numbers.reshape(-1, 2).T + 0.5)
    middle = (np.minimum.reduceat(x, starts) + np.maximum.reduceat(x, starts)) / 2
    column = np.clip(middle // FINER, 0, sizes[:, 1] - 1) * FINER + FINER / 2  # between two steps, so at no corner
    of = np.repeat(np.arange(len(lengths)), lengths // 2)
    after = np.arange(1, len(x) + 1)
    after[starts + lengths // 2 - 1] = starts
    left = x < column[of]
    edges = np.flatnonzero(left != left[after])
    ends, of = after[edges], of[edges]
    slope = (y[ends] - y[edges]) / (x[ends] - x[edges])
    places = np.clip(y[edges] + slope * (column[of] - x[edges]), 0, FINER * sizes[of, 0])
    order = np.lexsort((places, of))
    pairs = places[order].reshape(-1, 2)
    filled[of[order][::2][pairs[:, 1] - pairs[:, 0] >= THICK]] = True
    return filled
