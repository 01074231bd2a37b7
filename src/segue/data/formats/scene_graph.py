"""One picture's objects and relations from a json file: Visual Genome's, or COCO's instances.

Visual Genome: an entry, or a list of entries, {image_id, objects: [{object_id, x, y, w, h, names}], relationships}. A
relationship names its ends by number (subject_id, object_id), as scene_graphs.json does, or holds them whole (subject,
object), as relationships.json does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segue.data import rle
from segue.data.formats.files import expecting, read_json
from segue.types import InputError, Region, Relation

JSON = (
    "Visual Genome's {image_id, objects: [{object_id, x, y, w, h, names}], relationships: [{subject_id, predicate, "
    "object_id}]}, or COCO's instances {images, annotations, categories}"
)
Graph = tuple[tuple[Region, ...], tuple[Relation, ...]]


def read_graph(path: Path, name: str, size: tuple[int, int]) -> Graph:
    """The regions and relations of one picture; COCO's file tells no relations.

    name: the picture's file name, by which it is found in a file of several. size: its (width, height).
    Raises InputError for another layout, a picture that is not there or has another size, and a dangling edge.
    """
    found = read_json(path)
    with expecting(path, JSON):
        if isinstance(found, dict) and "annotations" in found:
            return _coco(found, path, name, size), ()
        entries = found if isinstance(found, list) else [found]
        numbered = {str(entry.get("image_id", entry.get("id"))): entry for entry in entries}
        stem = Path(name).stem
        entry = _only(entries) or numbered.get(stem) or numbered.get(stem.lstrip("0"))
        if entry is None:
            raise InputError(
                f"{path}: no entry with the image_id {stem}; name the picture by its number, or cut it out"
            )
        _check_size(entry, path, size)
        return _visual_genome(entry, path)


def _only(entries: list[Any]) -> Any:
    return entries[0] if len(entries) == 1 else None


def _check_size(entry: Any, path: Path, size: tuple[int, int]) -> None:
    told = (entry.get("width", size[0]), entry.get("height", size[1]))
    if told != size:
        raise InputError(
            f"{path}: of a picture of {told[0]}x{told[1]} pixels, this one has {size[0]}x{size[1]}; give its own graph"
        )


def _coco(found: Any, path: Path, name: str, size: tuple[int, int]) -> tuple[Region, ...]:
    images = found["images"]
    image = _only(images) or next((one for one in images if Path(one["file_name"]).name == name), None)
    if image is None:
        raise InputError(f"{path}: no image called {name} among its {len(images)}; check the name")
    _check_size(image, path, size)
    categories = {c["id"]: (str(c["name"]).lower(), bool(c.get("isthing", 1))) for c in found["categories"]}
    regions = []
    for mark in found["annotations"]:
        if mark["image_id"] == image["id"]:
            code = mark.get("segmentation")
            mask = rle.from_json(code, size[::-1], f"{path}: annotation {mark.get('id')}") if code else None
            x, y, w, h = (float(v) for v in (rle.box(mask) if mask and "bbox" not in mark else mark["bbox"]))
            label, thing = categories[mark["category_id"]]
            regions.append(Region(label, (x, y, w, h), mask, thing, bool(mark.get("iscrowd"))))
    return tuple(regions)


def _visual_genome(entry: Any, path: Path) -> Graph:
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
    name = (thing.get("names") or [thing.get("name")])[0]
    if not name:
        raise KeyError("names")
    attributes = tuple(str(a).strip().lower() for a in thing.get("attributes") or ())
    x, y, w, h = (float(thing[side]) for side in "xywh")
    if not np.isfinite([x, y, w, h]).all() or w < 0 or h < 0:
        raise InputError(f"{path}: object {thing['object_id']} has the box x {x:g}, y {y:g}, w {w:g}, h {h:g}; mend it")
    return Region(str(name).strip().lower(), (x, y, w, h), attributes=attributes)
