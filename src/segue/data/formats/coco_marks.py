"""COCO's annotations, made small as soon as they are read: regular ones, as nearly all are, many at once by NumPy.

What is not regular stays as its file has it, for the checks that look at one record and say what is wrong with it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats.panoptic import Categories, category_of
from segue.data.problems import WRONG_LAYOUT
from segue.data.records import Box, read_text
from segue.types import RLE, InputError, Region

NUMBERS = {int, float}
UNREAD = {"area", "license", "coco_url", "flickr_url", "date_captured", "supercategory"}
Size = tuple[int, int]  # (height, width)
SizeOf = Callable[[int], Size | None]  # of the image of an id


class Raw(NamedTuple):
    """An annotation as its file has it."""

    record: Any


class Instance(NamedTuple):
    """A regular annotation of an object."""

    category: int
    box: Box
    mask: RLE | None
    crowd: bool

    def region(self, size: Size | None, categories: Categories, where: str) -> Region:
        """The region of it in an image of this size.

        Raises InputError that begins with `where` for an unknown category, and where another file gives the image
        another size than that for which the mask was read.
        """
        name, thing = category_of(self.category, categories, where)
        if self.mask and self.mask.size != size:
            raise InputError(
                f"{where}: its image has (height, width) {self.mask.size} in its file and {size} in another; mend one"
            )
        return Region(name, self.box, self.mask, thing, self.crowd)


@dataclass
class Marks:
    """The annotations of a file in its order.

    images, ids: of each, 0 where it is raw. found: an `Instance`, the text of a caption, or `Raw`.
    """

    images: array[int] = field(default_factory=lambda: array("q"))
    ids: array[int] = field(default_factory=lambda: array("q"))
    found: list[Any] = field(default_factory=list)

    def add(self, kind: str, records: list[Any], size_of: SizeOf) -> None:
        """Add records of a kind: where not all are regular one half after the other, and so on."""
        columns: tuple[Sequence[int], Sequence[int], Sequence[Any]]
        try:
            images, ids = _whole_numbers(records, "image_id"), _whole_numbers(records, "id")
            columns = images, ids, REGULAR[kind](records, size_of)
        except WRONG_LAYOUT:
            if kind in REGULAR and len(records) > 1:
                half = len(records) // 2
                self.add(kind, records[:half], size_of)
                self.add(kind, records[half:], size_of)
                return
            columns = [0] * len(records), [0] * len(records), [Raw(shorten(record)) for record in records]
        self.images.extend(columns[0])
        self.ids.extend(columns[1])
        self.found.extend(columns[2])

    def drained(self) -> Iterator[tuple[int, int, Any]]:
        """(image, id, what is found) of each; what is found is let go of, since what is made of it takes memory."""
        for at, (image, own) in enumerate(zip(self.images, self.ids, strict=True)):
            found, self.found[at] = self.found[at], None
            yield image, own, found


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


def _captions(records: list[Any], size_of: SizeOf) -> list[Any]:
    return [read_text(record, "caption") for record in records]


def _instances(records: list[Any], size_of: SizeOf) -> list[Any]:
    """Regular annotations of objects. Raises one of WRONG_LAYOUT where one isn't."""
    categories, crowds = _whole_numbers(records, "category_id"), [record.get("iscrowd", 0) for record in records]
    if not {0, 1}.issuperset(crowds):
        raise ValueError("iscrowd: not all are 0 or 1")
    given = [record["bbox"] for record in records]
    boxes = _numbers(given).reshape(-1, 4)
    if not {4}.issuperset(map(len, given)) or not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise ValueError("bbox: not all are boxes")
    sizes = [size_of(record["image_id"]) for record in records]
    masks = _masks([record.get("segmentation") for record in records], sizes)
    return [
        Instance(category, (x, y, w, h), mask, bool(crowd))
        for category, (x, y, w, h), mask, crowd in zip(categories, boxes.tolist(), masks, crowds, strict=True)
    ]


def _masks(found: Sequence[Any], sizes: Sequence[Size | None]) -> list[RLE | None]:
    """The masks of segmentations of any kind. Raises one of WRONG_LAYOUT where one can't be read."""
    made, drawn = list[RLE | None]([None]) * len(found), defaultdict[Size, list[int]](list)
    for at, (one, size) in enumerate(zip(found, sizes, strict=True)):
        if one and size is None:
            raise ValueError("a mask of an image without a size")
        if one and size:
            if isinstance(one, list):
                drawn[size].append(at)
            else:
                made[at] = rle.from_json(one, size, "segmentation")
    for size, places in drawn.items():
        for at, mask in zip(places, rle.from_polygons([found[at] for at in places], size, "segmentation"), strict=True):
            made[at] = mask
    return made


REGULAR: dict[str, Callable[[list[Any], SizeOf], list[Any]]] = {"captions": _captions, "instances": _instances}
