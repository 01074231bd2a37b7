"""One picture's objects and relations from a json file: Visual Genome's, or COCO's instances.

Visual Genome: an entry, or a list of entries, {image_id, objects: [{object_id, x, y, w, h, names}], relationships}. A
relationship names its ends by number (subject_id, object_id), as scene_graphs.json does, or holds them whole (subject,
object), as relationships.json does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from segue.data.formats.files import expecting, read_json
from segue.data.formats.lookup import tidy
from segue.data.formats.panoptic import instance_region, read_categories
from segue.data.formats.visual_genome import object_region
from segue.data.problems import ReportProblem, collecting, handle_problems, reporting
from segue.data.records import Id, read_id, read_size, read_text
from segue.types import InputError, Region, Relation

JSON = (
    "Visual Genome's {image_id, objects: [{object_id, x, y, w, h, names}], relationships: [{subject_id, predicate, "
    "object_id}]}, or COCO's instances {images, annotations, categories}"
)
ENDS = ("subject", "object")
Graph = tuple[tuple[Region, ...], tuple[Relation, ...]]


def read_graph(
    path: Path, name: str, size: tuple[int, int], *, only_picture: bool = True, on_bad: str = "stop"
) -> Graph:
    """The regions and relations of one picture; COCO's file has no relations.

    name: the picture's file name, by which it is found. size: its (width, height). only_picture: whether
    no other picture is read, so that a file of a single picture may call it by another name. on_bad: for objects and
    relations that can't be used: "stop" raises one InputError that counts and names them, "skip" leaves them out and
    warns with the same words.
    Raises InputError for another layout, and a picture that is not there or has another size.
    """
    about, bad = path.stat() if path.is_file() else None, list[str]()
    file, name, report = _read(path, about and (about.st_mtime_ns, about.st_size)), tidy(name), collecting(bad)
    with expecting(path, JSON):
        stem = Path(name).stem
        if double := [key for key in (name, stem, stem.lstrip("0")) if key in file.duplicates]:
            raise InputError(f"{path}: {double[0]} is there twice, and one may be another picture's; cut yours out")
        entry = next((file.named[key] for key in (name, stem, stem.lstrip("0")) if key in file.named), None)
        if entry is None and only_picture and len(file.entries) == 1:
            entry = file.entries[0]
        if entry is None:
            raise InputError(f"{path}: {file.missing.format(name=name, stem=stem, count=len(file.entries))}")
        _check_size(entry, path, size)
        made = (
            _visual_genome(entry, size, report) if file.marks is None else (_coco(file, entry, path, size, report), ())
        )
    handle_problems(bad, f"{path}: {len(bad)} things of {name} can't be used", on_bad)
    return made


class _File(NamedTuple):
    """A file's pictures, all and by name or number. COCO's have marks by image_id, ids of images, and the categories.

    missing: the message for a picture that is not there. duplicates: names that several pictures have.
    """

    entries: list[Any]
    named: dict[str, Any]
    missing: str
    duplicates: frozenset[str]
    marks: dict[Any, list[Any]] | None = None
    ids: frozenset[Any] = frozenset()
    categories: tuple[Any, ...] = ()


@lru_cache(maxsize=1)
def _read(path: Path, version: tuple[int, int] | None) -> _File:
    """The file, kept for the next picture or prompt. version: of the file, so that a changed one is read again."""
    found = read_json(path)
    with expecting(path, JSON):
        if isinstance(found, dict) and "annotations" in found:
            marks: dict[Any, list[Any]] = defaultdict(list)
            for mark in found["annotations"]:
                marks[_id(mark, "image_id")].append(mark)
            ids = Counter(_id(one, "id") for one in found["images"])
            if twins := [number for number, count in ids.items() if count > 1]:
                raise InputError(f"{path}: {ids[twins[0]]} images have the id {twins[0]}; give each its own")
            names = [tidy(read_text(one, "file_name")).rpartition("/")[2] for one in found["images"]]
            named = dict(zip(names, found["images"], strict=True))
            missing = "no image called {name} among its {count}; check the name"
            return _File(
                found["images"], named, missing, _duplicates(names), marks, frozenset(ids), tuple(found["categories"])
            )
        entries = found if isinstance(found, list) else [found]
        numbers = [str(_id(entry, "image_id", "id")) for entry in entries]
        missing = "no entry with the image_id {stem}; name the picture by its number, or cut it out"
        return _File(entries, dict(zip(numbers, entries, strict=True)), missing, _duplicates(numbers))


def _id(record: Any, *keys: str) -> Any:
    """An id of a record; None where it has none that is one."""
    try:
        return read_id(record, *keys)
    except InputError:
        return None


def _duplicates(names: list[str]) -> frozenset[str]:
    return frozenset(name for name, count in Counter(names).items() if count > 1)


def _check_size(entry: Any, path: Path, size: tuple[int, int]) -> None:
    stated = read_size(dict(zip(("width", "height"), size, strict=True)) | entry) or size
    if stated != size:
        turned = ", or one of the picture as its EXIF turns it" if stated == size[::-1] else ""
        raise InputError(
            f"{path}: of a picture of {stated[0]}x{stated[1]} pixels, this one has {size[0]}x{size[1]}; "
            f"give its own graph{turned}"
        )


def _coco(file: _File, image: Any, path: Path, size: tuple[int, int], report: ReportProblem) -> tuple[Region, ...]:
    categories, regions = read_categories(file.categories, report), list[Region]()
    marks, there = file.marks or {}, set[Any]()
    for at, mark in enumerate([*marks.get(_id(image, "id"), ()), *marks.get(None, ())]):
        name = f"annotation {mark.get('id', f'number {at}') if isinstance(mark, dict) else f'number {at}'}"
        with reporting(report, "bad-annotation", name):
            read_id(mark, "image_id")
            if mark.get("id") is not None and mark["id"] in there:
                raise InputError("a second annotation of this id; give each its own")
            there.add(mark.get("id"))
            regions.append(_seen(instance_region(mark, size[::-1], categories, name), size))
    if crowds := sum(region.crowd for region in regions):
        report("left-out", path.name, f"{crowds} crowds, which are not described")
    if lost := sum(len(found) for number, found in marks.items() if number is not None and number not in file.ids):
        report("left-out", path.name, f"{lost} annotations of an image_id that is not in images")
    return tuple(regions)


def _seen(region: Region, size: tuple[int, int]) -> Region:
    """The region. Raises InputError when it is nowhere in a picture of (width, height)."""
    x, y, w, h = region.box
    if x >= size[0] or y >= size[1] or x + w <= 0 or y + h <= 0:
        raise InputError(f"the box {region.box} lies outside the picture of {size[0]}x{size[1]}")
    return region


def _visual_genome(entry: Any, size: tuple[int, int], report: ReportProblem) -> Graph:
    if "objects" not in entry and "relationships" not in entry:
        raise KeyError("objects")
    related = entry.get("relationships") or ()
    objects = [*(entry.get("objects") or ())]
    objects += [edge[end] for edge in related for end in ENDS if end in edge]
    named: dict[Id, Region] = {}
    reported = set[str]()
    for at, thing in enumerate(objects):
        name = f"object {thing.get('object_id', f'number {at}') if isinstance(thing, dict) else f'number {at}'}"
        if name in reported:
            continue
        ok = False
        with reporting(report, "bad-object", name):
            number, region = read_id(thing, "object_id"), _seen(object_region(thing), size)
            if named.setdefault(number, region).box != region.box:
                raise InputError("there twice, with two boxes; number each by its own")
            ok = True
        reported |= set() if ok else {name}
    place, relations = {number: i for i, number in enumerate(named)}, list[Relation]()
    for at, edge in enumerate(related):
        with reporting(report, "bad-relation", f"relationship {at} (0 is the first)"):
            ends = [read_id(edge[end], "object_id") if end in edge else read_id(edge, f"{end}_id") for end in ENDS]
            predicate = read_text(edge, "predicate").lower()
            if lost := [number for number in ends if number not in place]:
                raise InputError(f"dangling edge, {predicate!r} names the object {lost[0]}; there is none to be used")
            relations.append(Relation(place[ends[0]], predicate, place[ends[1]]))
    return tuple(named.values()), tuple(relations)
