"""COCO's categories, instances and panoptic segments: a PNG whose colours are ids, and a json with their categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats.files import ReportProblem
from segue.data.images import read_image
from segue.types import InputError, Region

Categories = dict[int, tuple[str, bool]]  # id -> (name, is a thing)


def read_categories(found: Iterable[Any]) -> Categories:
    """The entries of `categories` by id; one that does not say is a thing."""
    return {int(c["id"]): (str(c["name"]).lower(), bool(c.get("isthing", 1))) for c in found}


def instance_region(mark: Any, size: tuple[int, int], categories: Categories, where: str) -> Region:
    """The region of an instance annotation {category_id, segmentation, bbox, iscrowd} of a picture of (height, width).

    where: names the annotation in an error. Raises InputError for a bad mask, KeyError for what is missing.
    """
    name, thing = categories[mark["category_id"]]
    mask = rle.from_json(mark["segmentation"], size, where) if mark.get("segmentation") else None
    x, y, w, h = mark["bbox"] if "bbox" in mark or mask is None else rle.box(mask)
    return Region(name, (float(x), float(y), float(w), float(h)), mask, thing, bool(mark.get("iscrowd")))


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
) -> Iterator[tuple[int, list[Region]]]:
    """(image id, its regions) of each annotation; the PNGs are read by several threads.

    things: keep things as well as stuff. Crowds are kept and marked.
    """
    with ThreadPoolExecutor() as threads:
        read = partial(_read, folder, categories, things)
        for mark, (regions, problems) in zip(marks, threads.map(read, marks), strict=True):
            for problem in problems:
                report("bad-segment", mark["file_name"], problem)
            yield int(mark["image_id"]), regions


def _read(folder: Path, categories: Categories, things: bool, mark: Any) -> tuple[list[Region], list[str]]:
    """The regions of one PNG, and what is wrong with it."""
    try:
        ids = segment_ids(read_image(folder / mark["file_name"]))
    except InputError as error:
        return [], [str(error)]
    listed = {int(segment["id"]): segment for segment in mark["segments_info"]}
    regions, problems, left = list[Region](), list[str](), ids != 0  # 0: no segment
    for number, segment in listed.items():
        mask = ids == number
        left &= ~mask
        if segment["category_id"] not in categories or not mask.any():
            why = f"has the unknown category {segment['category_id']}" if mask.any() else "is not in the PNG"
            problems.append(f"segment {number} {why}")
            continue
        name, thing = categories[segment["category_id"]]
        if things or not thing:
            code = rle.encode(mask)
            regions.append(Region(name, rle.box(code), code, thing, bool(segment.get("iscrowd"))))
    problems += [f"the PNG has the id {number}, segments_info has not" for number in np.unique(ids[left])]
    return regions, problems
