"""COCO's categories, instances and panoptic segments: a PNG whose colours are ids, and a json with their categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats.lookup import Located, list_places, locate
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import Id, field, read_flag, read_id, read_text, to_box
from segue.types import InputError, Region

Categories = dict[Id, tuple[str, bool]]  # id -> (name, is a thing)


def read_categories(found: Iterable[Any], report: ReportProblem = raise_problem) -> Categories:
    """The entries of `categories` by id; one that does not say is a thing. Of two with one id neither is read.

    Those of one name are one class, which is reported.

    Raises InputError for a bad record, unless `report` does otherwise.
    """
    read, twins = Categories(), set[Id]()
    for at, record in enumerate(found):
        with reporting(report, "bad-category", f"category {at} (0 is the first)"):
            number = read_id(record, "id")
            entry = read_text(record, "name").lower(), read_flag(record, "isthing", True)
            if number in read:
                twins.add(number)
                raise InputError(f"{entry[0]} has the id {number}, as {read[number][0]}; give each its own")
            read[number] = entry
    read = {number: entry for number, entry in read.items() if number not in twins}
    ids = defaultdict[str, list[Id]](list)
    for number, (name, _) in read.items():
        ids[name].append(number)
    for name, some in ids.items():
        if len(some) > 1:
            what = f"{len(some)} categories have this name, of the ids {', '.join(map(str, some))}, and are read as one"
            report("twin-categories", name, f"{what}; name them apart if they are several")
    return read


def category_of(number: Id, categories: Categories, where: str) -> tuple[str, bool]:
    """(name, is a thing) of the category with an id. Raises InputError that begins with `where` when there is none."""
    if number not in categories:
        raise InputError(f"{where}: category_id {number} is not in categories, or can't be used there")
    return categories[number]


def instance_region(mark: Any, size: tuple[int, int] | None, categories: Categories, where: str) -> Region:
    """The region of an instance annotation {category_id, segmentation, bbox, iscrowd} of a picture of (height, width).

    size: None when it is not known, as it must be for a mask. where: names the annotation in an error.
    Raises InputError for a bad mask or box, and an unknown category.
    """
    name, thing = category_of(read_id(mark, "category_id"), categories, where)
    found = mark.get("segmentation")
    if found and size is None:
        raise InputError(f"{where}: a mask, and its image has no width and height; write them")
    mask = rle.from_json(found, size, where) if found and size else None
    box = to_box(mark["bbox"] if "bbox" in mark or mask is None else rle.box(mask))
    return Region(name, box, mask, thing, read_flag(mark, "iscrowd"))


def segment_ids(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(H, W, 3) colours of a panoptic PNG -> (H, W) ids = R + 256 G + 65536 B, in 32 bits: 8 would wrap around."""
    return rgb.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)


def segment_colours(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) ids -> the (H, W, 3) colours that `segment_ids` reads."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def segment_info(number: int, category: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """An entry of segments_info for the segment that covers `mask` (H, W)."""
    code = rle.encode(mask)
    box = [int(v) for v in rle.box(code)]
    return {"id": number, "category_id": category, "area": rle.area(code), "bbox": box, "iscrowd": 0}


def read_segments(
    marks: Sequence[Any], folder: Path, categories: Categories, things: bool, report: ReportProblem
) -> Iterator[list[Region]]:
    """The regions of each annotation; the PNGs are read by several threads.

    things: keep things as well as stuff. Crowds are kept and marked.
    """
    located = locate(list_places(folder), (str(mark.get("file_name")) for mark in marks))
    with ThreadPoolExecutor() as threads:
        read = partial(_read, located, folder, categories, things)
        for mark, (regions, problems) in zip(marks, threads.map(read, marks), strict=True):
            for problem in problems:
                report("bad-segment", str(mark.get("file_name", f"panoptic of {mark.get('image_id')}")), problem)
            yield regions


def _read(
    located: Located, folder: Path, categories: Categories, things: bool, mark: Any
) -> tuple[list[Region], list[str]]:
    """The regions of one PNG, and what is wrong with it."""
    problems, regions = list[str](), list[Region]()

    def note(code: str, name: str, message: str) -> None:
        problems.append(f"{name}: {message}" if name else message)

    with reporting(note, "bad-segment", ""):
        ids, segments = segment_ids(_pixels(located, folder, mark)), list(field(mark, "segments_info"))
        left, listed = ids != 0, set[int]()  # 0: no segment
        for at, segment in enumerate(segments):
            with reporting(note, "bad-segment", f"segments_info {at} (0 is the first)"):
                number = int(read_id(segment, "id"))
                left &= ids != number
                region = _region(segment, ids == number, categories, f"segment {number}")
                if number in listed:
                    raise InputError(f"the id {number} is there twice; the second is left out")
                listed.add(number)
                regions += [region] if things or not region.thing else []
        problems += [f"the PNG has the id {number}, segments_info has not" for number in np.unique(ids[left])]
    return regions, problems


def _pixels(located: Located, folder: Path, mark: Any) -> NDArray[np.uint8]:
    name = read_text(mark, "file_name")
    if name not in located.found:
        raise InputError(located.problem(name, f"{folder / name}: no such file")[1])
    return read_image(located.found[name])


def _region(segment: Any, mask: NDArray[np.bool_], categories: Categories, where: str) -> Region:
    category = read_id(segment, "category_id")
    if not mask.any():
        raise InputError(f"{where} is not in the PNG")
    if category not in categories:
        raise InputError(f"{where} has the unknown category {category}")
    code, (label, thing) = rle.encode(mask), categories[category]
    return Region(label, rle.box(code), code, thing, read_flag(segment, "iscrowd"))
