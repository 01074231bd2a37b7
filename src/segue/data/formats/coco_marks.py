"""COCO's annotations, made small as soon as they are read: regular ones, as nearly all are, many at once by NumPy.

Regular instances become columns, from which a region is made when one is asked for. What is not regular stays as its
file has it, for the checks that look at one record and say what is wrong with it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats.panoptic import Categories, category_of
from segue.data.outlines import Outlines, PolygonMask, read_outlines
from segue.data.problems import WRONG_LAYOUT
from segue.data.records import read_all_texts
from segue.types import RLE, InputError, Region

NUMBERS = {int, float}
UNREAD = {"area", "license", "coco_url", "flickr_url", "date_captured", "supercategory"}
Size = tuple[int, int]  # (height, width)
SizeOf = Callable[[int], Size | None]  # of the image of an id


@dataclass(frozen=True)
class Instances:
    """Regular annotations of objects, a row each.

    sizes: (N, 2), the height and width of the image for which the mask was read, 0 without a mask. boxes: (N, 4).
    outlines: of the masks that are polygons. codes: the others by their rows.
    """

    categories: NDArray[np.int64]
    crowds: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    sizes: NDArray[np.int32]
    outlines: Outlines
    codes: dict[int, RLE]

    def check(self, row: int, size: Size | None, categories: Categories, where: str) -> None:
        """Check a row against what the other files say: its image has this size.

        Raises InputError that begins with `where` for an unknown category, and where another file gives the image
        another size than that for which the mask was read.
        """
        category_of(int(self.categories[row]), categories, where)
        own = tuple(self.sizes[row].tolist())
        if any(own) and own != size:
            raise InputError(
                f"{where}: its image has (height, width) {own} in its file and {size} in another; mend one"
            )

    def regions(self, rows: list[int], categories: Categories) -> list[Region]:
        """The regions of rows."""
        at, made = np.array(rows, np.int64), list[Region]()
        columns = (self.categories, self.crowds, self.boxes, self.sizes, self.outlines.filled)
        found = (column.take(at, 0).tolist() for column in columns)
        for row, category, crowd, (x, y, w, h), (height, width), full in zip(rows, *found, strict=True):
            mask = self.codes.get(row)
            if height and mask is None:
                mask = PolygonMask((height, width), self.outlines, row, full)
            name, thing = categories[category]
            made.append(Region(name, (x, y, w, h), mask, thing, crowd))
        return made


@dataclass
class Marks:
    """The annotations of a file in its order.

    images, ids: of each, 0 where it is raw. raw: records that are not regular, by their place. texts: of captions, ""
    for a raw one. parts, starts: instances read together, and the place of the first of them.
    """

    images: array[int] = field(default_factory=lambda: array("q"))
    ids: array[int] = field(default_factory=lambda: array("q"))
    raw: dict[int, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    parts: list[Instances] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def add(self, kind: str, records: list[Any], size_of: SizeOf) -> None:
        """Add records of a kind: where not all are regular one half after the other, and so on."""
        try:
            images, ids = _whole_numbers(records, "image_id"), _whole_numbers(records, "id")
            if kind == "captions":
                self.texts += read_all_texts([record["caption"] for record in records], "caption")
            elif kind == "instances":
                self.parts.append(_instances(records, [size_of(number) for number in images]))
                self.starts.append(len(self.ids))
            else:
                raise ValueError(f"{kind} are looked at one by one")
        except WRONG_LAYOUT:
            if kind in ("captions", "instances") and len(records) > 1:
                half = len(records) // 2
                self.add(kind, records[:half], size_of)
                self.add(kind, records[half:], size_of)
                return
            images = ids = array("q", [0] * len(records))
            self.raw |= enumerate(map(shorten, records), len(self.ids))
            self.texts += [""] * len(records) if kind == "captions" else []
        self.images += images
        self.ids += ids

    def check(self, at: int, size: Size | None, categories: Categories, where: str) -> None:
        """See `Instances.check`."""
        part = bisect_right(self.starts, at) - 1
        self.parts[part].check(at - self.starts[part], size, categories, where)

    def regions(self, places: list[int], categories: Categories) -> list[Region]:
        """The regions of regular instances in the order of the file."""
        made, done = list[Region](), 0
        while done < len(places):
            part = bisect_right(self.starts, places[done]) - 1
            start, end = self.starts[part], self.starts[part] + len(self.parts[part].categories)
            till = bisect_left(places, end, done)
            made += self.parts[part].regions([at - start for at in places[done:till]], categories)
            done = till
        return made

    def column(self, name: str, fill: Any) -> NDArray[Any]:
        """A column of all instances; `fill`, a row of it, where one is raw."""
        made = np.empty((len(self.ids), *np.shape(fill)), np.asarray(fill).dtype)
        made[:] = fill
        for start, part in zip(self.starts, self.parts, strict=True):
            found = getattr(part, name)
            made[start : start + len(found)] = found
        return made


def shorten(record: Any) -> Any:
    """A record without what is not read, and with polygons as arrays: a third of the memory of lists of numbers."""
    if not isinstance(record, dict):
        return record
    record = {key: value for key, value in record.items() if key not in UNREAD and (key != "iscrowd" or value != 0)}
    if isinstance(polygons := record.get("segmentation"), list):
        record["segmentation"] = list(map(_as_array, polygons))
    return record


def _as_array(polygon: Any) -> Any:
    """The polygon as an array where it is a list of numbers; anything else as it is, for the message."""
    if not isinstance(polygon, list) or not NUMBERS.issuperset(map(type, polygon)):
        return polygon
    made = np.asarray(polygon)
    return made if made.dtype.kind in "if" else polygon  # a number may be too large for either


def _whole_numbers(records: list[Any], key: str) -> array[int]:
    """A field of all records. Raises one of WRONG_LAYOUT unless all have a whole number there."""
    found = [record[key] for record in records]
    if not {int}.issuperset(map(type, found)):
        raise TypeError(f"{key}: not all are whole numbers")
    return array("q", found)


def _numbers(lists: Iterable[Any]) -> NDArray[np.float64]:
    """The numbers of lists, one list after the other. Raises one of WRONG_LAYOUT where there is anything else."""
    found = [*chain.from_iterable(lists)]
    if not NUMBERS.issuperset(map(type, found)):
        raise TypeError("not only numbers")
    return np.array(found, np.float64)


def _instances(records: list[Any], sizes: Sequence[Size | None]) -> Instances:
    """Regular annotations of objects, of images of these sizes. Raises one of WRONG_LAYOUT where one isn't."""
    categories, crowds = _whole_numbers(records, "category_id"), [record.get("iscrowd", 0) for record in records]
    if not {0, 1}.issuperset(crowds):
        raise ValueError("iscrowd: not all are 0 or 1")
    given = [record["bbox"] for record in records]
    boxes = _numbers(given).reshape(-1, 4)
    if not {4}.issuperset(map(len, given)) or not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise ValueError("bbox: not all are boxes")
    found = [record.get("segmentation") or () for record in records]
    if any(one and size is None for one, size in zip(found, sizes, strict=True)):
        raise ValueError("a mask of an image without a size")
    grids = np.array([size if one and size else (0, 0) for one, size in zip(found, sizes, strict=True)], np.int32)
    polygons = [one if isinstance(one, list) else () for one in found]
    codes = {
        row: rle.from_json(one, size, "segmentation")
        for row, (one, size) in enumerate(zip(found, sizes, strict=True))
        if one and size and not isinstance(one, list)
    }
    outlines = read_outlines(polygons, grids.astype(np.int64))
    return Instances(np.array(categories), np.array(crowds, np.bool_), boxes, grids.reshape(-1, 2), outlines, codes)
