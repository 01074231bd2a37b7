"""One picture's objects and relations from a json file: Visual Genome's, or COCO's instances.

Visual Genome: an entry, or a list of entries, {image_id, objects: [{object_id, x, y, w, h, names}], relationships}. A
relationship names its ends by number (subject_id, object_id), as scene_graphs.json does, or holds them whole (subject,
object), as relationships.json does.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segue.data.formats.files import expecting, read_json
from segue.data.formats.panoptic import instance_region, read_categories
from segue.data.formats.visual_genome import object_region
from segue.types import InputError, Region, Relation

JSON = (
    "Visual Genome's {image_id, objects: [{object_id, x, y, w, h, names}], relationships: [{subject_id, predicate, "
    "object_id}]}, or COCO's instances {images, annotations, categories}"
)
Graph = tuple[tuple[Region, ...], tuple[Relation, ...]]


def read_graph(path: Path, name: str, size: tuple[int, int], *, only_picture: bool = True) -> Graph:
    """The regions and relations of one picture; COCO's file has no relations.

    name: the picture's file name, by which it is found. size: its (width, height). only_picture: whether
    no other picture is read, so that a file of a single picture may call it by another name.
    Raises InputError for another layout, a picture that is not there or has another size, and a dangling edge.
    """
    about = path.stat() if path.is_file() else None
    file = _read(path, about and (about.st_mtime_ns, about.st_size))
    with expecting(path, JSON):
        name = _composed(name)
        stem = Path(name).stem
        if double := [key for key in (name, stem, stem.lstrip("0")) if key in file.duplicates]:
            raise InputError(f"{path}: {double[0]} is there twice, and one may be another picture's; cut yours out")
        entry = next((file.named[key] for key in (name, stem, stem.lstrip("0")) if key in file.named), None)
        if entry is None and only_picture and len(file.entries) == 1:
            entry = file.entries[0]
        if entry is None:
            raise InputError(f"{path}: {file.missing.format(name=name, stem=stem, count=len(file.entries))}")
        _check_size(entry, path, size)
        return _visual_genome(entry, path) if file.marks is None else (_coco(file, entry, path, size), ())


class _File(NamedTuple):
    """A file's pictures, all and by name or number. COCO's have marks by image_id, and the categories.

    missing: the message for a picture that is not there. duplicates: names that several pictures have.
    """

    entries: list[Any]
    named: dict[str, Any]
    missing: str
    duplicates: frozenset[str]
    marks: dict[Any, list[Any]] | None = None
    categories: tuple[Any, ...] = ()


@lru_cache(maxsize=1)
def _read(path: Path, version: tuple[int, int] | None) -> _File:
    """The file, kept for the next picture or prompt. version: of the file, so that a changed one is read again."""
    found = read_json(path)
    with expecting(path, JSON):
        if isinstance(found, dict) and "annotations" in found:
            marks: dict[Any, list[Any]] = defaultdict(list)
            for mark in found["annotations"]:
                marks[mark["image_id"]].append(mark)
            names = [_composed(Path(one["file_name"]).name) for one in found["images"]]
            named = dict(zip(names, found["images"], strict=True))
            missing = "no image called {name} among its {count}; check the name"
            return _File(found["images"], named, missing, _duplicates(names), marks, tuple(found["categories"]))
        entries = found if isinstance(found, list) else [found]
        numbers = [str(entry.get("image_id", entry.get("id"))) for entry in entries]
        missing = "no entry with the image_id {stem}; name the picture by its number, or cut it out"
        return _File(entries, dict(zip(numbers, entries, strict=True)), missing, _duplicates(numbers))


def _duplicates(names: list[str]) -> frozenset[str]:
    return frozenset(name for name, count in Counter(names).items() if count > 1)


def _composed(name: str) -> str:
    """In NFC, since file systems differ in how they write an accent."""
    return unicodedata.normalize("NFC", name)


def _check_size(entry: Any, path: Path, size: tuple[int, int]) -> None:
    width, height = entry.get("width", size[0]), entry.get("height", size[1])
    if (width, height) != size:
        turned = ", or one of the picture as its EXIF turns it" if (width, height) == size[::-1] else ""
        raise InputError(
            f"{path}: of a picture of {width}x{height} pixels, this one has {size[0]}x{size[1]}; give its own graph"
            + turned
        )


def _coco(file: _File, image: Any, path: Path, size: tuple[int, int]) -> tuple[Region, ...]:
    categories, marks = read_categories(file.categories), (file.marks or {}).get(image["id"], ())
    return tuple(instance_region(m, size[::-1], categories, f"{path}: annotation {m.get('id')}") for m in marks)


def _visual_genome(entry: Any, path: Path) -> Graph:
    if "objects" not in entry and "relationships" not in entry:
        raise KeyError("objects")
    objects = list(entry.get("objects", ()))
    related = entry.get("relationships", ())
    objects += [edge[end] for edge in related for end in ("subject", "object") if end in edge]
    named: dict[int, Region] = {}
    for thing in objects:
        number, region = int(thing["object_id"]), _region(thing, path)
        if number in named and named[number].box != region.box:
            raise InputError(f"{path}: the object {number} is there twice, with two boxes; number each by its own")
        named[number] = region
    place = {number: i for i, number in enumerate(named)}
    relations = []
    for edge in related:
        ends = [int(edge[end]["object_id"] if end in edge else edge[f"{end}_id"]) for end in ("subject", "object")]
        if lost := [number for number in ends if number not in place]:
            raise InputError(f"{path}: dangling edge, {edge['predicate']!r} names the object {lost[0]}; there is none")
        relations.append(Relation(place[ends[0]], str(edge["predicate"]).strip().lower(), place[ends[1]]))
    return tuple(named.values()), tuple(relations)


def _region(thing: Any, path: Path) -> Region:
    region = object_region(thing)
    x, y, w, h = region.box
    if not np.isfinite([x, y, w, h]).all() or w < 0 or h < 0:
        raise InputError(f"{path}: object {thing['object_id']} has the box x {x:g}, y {y:g}, w {w:g}, h {h:g}; mend it")
    return region
