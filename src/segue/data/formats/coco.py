"""COCO's layout: captions, instances, panoptic segments, COCO-Stuff label maps; Visual Genome's relations beside them.

Expected: annotations/{captions,instances,panoptic}_{split}{year}.json, one or more, and the pictures in
images/{split}{year}, {split}{year} or images; where they are there also annotations/panoptic_{split}{year}/*.png,
stuffthingmaps/{split}{year}/*.png, Visual Genome's {objects,attributes,relationships}_{split}.json and the
phrases_{split}.json of synthetic scenes. Roboflow's export has {train,valid,test}/_annotations.coco.json among the
pictures. A folder with captions.json or instances.json and images/ has no splits; all
of it is "train".
Formats: https://cocodataset.org/#format-data, github.com/nightrome/cocostuff
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segue.data.formats import visual_genome
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_STUFF_171, COCO_STUFF_171_IDS
from segue.data.formats.files import (
    SPLITS,
    first_folder,
    label_table,
    read_json,
    read_labels,
    read_records,
    without_collector,
)
from segue.data.formats.lookup import list_places, locate, short_names, stem_of, tidy
from segue.data.formats.panoptic import Categories, instance_region, read_categories, read_segments
from segue.data.formats.phrases import phrases_from_entries, read_phrase_entries
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import Id, by_id, read_id, read_size, read_text
from segue.types import InputError, Picture, PictureSet, Region

EXPECTED = (
    "annotations/{captions,instances,panoptic}_SPLIT[YEAR].json or captions.json and instances.json, with the pictures "
    "in images/SPLIT, SPLIT or images; SPLIT/_annotations.coco.json"
)
KINDS = ("captions", "instances", "panoptic")
EXTRA_KINDS = ("objects", "attributes", "relationships", "phrases")
JSON = "COCO's json: images [{id, file_name}], annotations [{image_id, ...}], categories [{id, name}]"
NUMBERS = {int, float}
UNREAD = {"area", "license", "coco_url", "flickr_url", "date_captured", "supercategory"}
COCO_IDS = dict(zip(COCO_STUFF_171_IDS, COCO_STUFF_171, strict=True))


TRAIN_IDS = "_labelTrainIds"
ROBOFLOW = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}  # its folders


class Entry(NamedTuple):
    """A picture as the files list it. size: (width, height), None when no file has it."""

    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class CocoFiles:
    """The files and folders of one split; what is None is not there. segments: of the panoptic PNGs."""

    pictures: Path
    captions: Path | None = None
    instances: Path | None = None
    panoptic: Path | None = None
    segments: Path | None = None
    stuff: Path | None = None
    objects: Path | None = None
    attributes: Path | None = None
    relationships: Path | None = None
    phrases: Path | None = None


def find(root: Path, split: str) -> CocoFiles | None:
    """The files of a split; None when the folder has none. Of several years the newest that has pictures."""
    annotations = first_folder(root / "annotations") or root
    for end in (f"_{split}2017", f"_{split}2014", f"_{split}", *([""] if split == "train" else [])):
        found = {kind: path for kind in KINDS if (path := annotations / f"{kind}{end}.json").is_file()}
        part = end.removeprefix("_") or "."
        pictures = first_folder(root / "images" / part, root / part if end else root / "images", root / "images")
        if found and pictures:
            return CocoFiles(
                pictures,
                **found,
                segments=first_folder(annotations / f"panoptic{end}", root / f"panoptic{end}"),
                stuff=first_folder(root / "stuffthingmaps" / part),
                **{kind: _file(f"{kind}{end}.json", annotations, root) for kind in EXTRA_KINDS},
            )
    folder = first_folder(*(root / name for name in ROBOFLOW[split]))
    own = folder and _file("_annotations.coco.json", folder)
    return CocoFiles(folder, instances=own) if folder and own else None


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(split for split in SPLITS if find(root, split))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of a folder in COCO's layout.

    Raises InputError when there are no files of the split, or they are not in COCO's format.
    """
    files = find(root, split)
    if files is None:
        raise InputError(f"{root}: no COCO files of {split}; expected {EXPECTED}, and pictures in images/")
    return read_coco(files, split, report)


def read_coco(files: CocoFiles, split: str = "train", report: ReportProblem = raise_problem) -> PictureSet:
    """One picture with all that the files have of it: captions, regions, relations, phrases, label map.

    Regions are instances, and stuff from the panoptic segments; without instances the panoptic things too. Crowds are
    kept and marked. classes: of the label maps when there are any, otherwise the categories in the order of their ids.
    Raises InputError for files that are not in COCO's format.
    """
    with without_collector():
        return _read_coco(files, split, report)


def _read_coco(files: CocoFiles, split: str, report: ReportProblem) -> PictureSet:
    contents = {kind: read_json(path, _shorten) for kind in KINDS if (path := getattr(files, kind))}
    rows = {
        key: {kind: read_records(getattr(files, kind), found, key, JSON) for kind, found in contents.items()}
        for key in ("images", "annotations")
    }
    categories = {
        kind: read_categories(read_records(getattr(files, kind), found, "categories", JSON), report)
        for kind, found in contents.items()
        if kind != "captions"
    }
    entries, refused = _entries(rows["images"], report)
    contents.clear()
    marks = {
        kind: [*_annotations(rows["annotations"].pop(kind), kind, entries, refused, report)]
        for kind in list(rows["annotations"])
    }
    captions = _captions(marks.get("captions", []), entries, report)
    regions = _regions(marks, entries, categories, files, report)
    graphs = visual_genome.read_graphs(files.objects, files.attributes, files.relationships, report)
    phrases = read_phrase_entries(files.phrases, report)
    located = locate(list_places(files.pictures), (entry.name for entry in entries.values()))
    marks.clear()
    maps, (classes, raw, trained) = _maps(files.stuff, entries, report), _stuff_classes(categories)
    names, pictures = short_names(entry.name for entry in entries.values()), []
    for number, entry in sorted(entries.items(), key=lambda item: by_id(item[0])):
        name = names[entry.name]
        if entry.name not in located.found:
            missing = f"no such picture in {files.pictures}; copy it there"
            code, problem = located.problem(entry.name, missing)
            report(code, entry.name, problem)
            continue
        merged, relations, places = visual_genome.merge_graph(tuple(regions[number]), graphs.get(number))
        label_map = maps.get(entry.name)
        table = trained if label_map and label_map.stem.endswith(TRAIN_IDS) else raw
        pictures.append(
            Picture(
                name,
                partial(read_image, located.found[entry.name]),
                entry.size,
                split=split,
                captions=tuple(text for _, text in captions[number]),
                regions=merged,
                relations=relations,
                phrases=tuple(phrases_from_entries(phrases.get(number, ()), captions[number], places, name, report)),
                label_map=partial(read_labels, label_map, table) if label_map else None,
            )
        )
    return PictureSet(pictures, classes if maps else tuple(_merged(categories).values()))


def _shorten(record: dict[str, Any]) -> dict[str, Any]:
    """Without what is not read, and with polygons as arrays: a third of the memory of lists of numbers."""
    record = {key: value for key, value in record.items() if key not in UNREAD and (key != "iscrowd" or value != 0)}
    if isinstance(polygons := record.get("segmentation"), list):
        record["segmentation"] = list(map(_as_array, polygons))
    return record


def _as_array(polygon: Any) -> Any:
    """The polygon as an array where it is a list of numbers; anything else as it is, for the message."""
    if not isinstance(polygon, list) or not NUMBERS.issuperset(map(type, polygon)):
        return polygon
    array = np.asarray(polygon)
    return array if array.dtype.kind in "if" else polygon  # a number may be too large for either


def _entries(rows: dict[str, list[Any]], report: ReportProblem) -> tuple[dict[Id, Entry], set[Id]]:
    """The images of all files by id, and the ids that can't be used: of bad images, and of two pictures."""
    entries, refused = dict[Id, Entry](), set[Id]()
    for kind, records in rows.items():
        there = set[Id]()
        for at, record in enumerate(records):
            bad = None  # the id of a record that can't be used
            with reporting(report, "bad-image", f"image {at} (0 is the first) of {kind}"):
                number = bad = read_id(record, "id")
                entry = Entry(read_text(record, "file_name"), read_size(record))
                known = entries.setdefault(number, entry)
                bad = None if known.name == entry.name else bad
                if number in there or not _alike(known.name, entry.name):
                    raise InputError(f"{entry.name} has the id {number}, as {known.name}; give each its own")
                bad = None
                entries[number] = Entry(max(known.name, entry.name, key=len), entry.size or known.size)
                there.add(number)
            refused |= set() if bad is None else {bad}
    return {number: entry for number, entry in entries.items() if number not in refused}, refused


def _alike(one: str, other: str) -> bool:
    """Whether two names may be one picture's: one's path is the end of the other's."""
    one, other = f"/{tidy(one)}", f"/{tidy(other)}"
    return one.endswith(other) or other.endswith(one)


def _annotations(
    rows: list[Any], kind: str, entries: dict[Id, Entry], refused: set[Id], report: ReportProblem
) -> Iterator[tuple[Id, Any]]:
    """(image id, annotation) of the pictures that the files list; those of refused images are left out with them."""
    there = set[Any]()
    for at, mark in enumerate(rows):
        number, name = None, f"{kind} {mark['id'] if isinstance(mark, dict) and 'id' in mark else f'number {at}'}"
        with reporting(report, "bad-annotation", name):
            image = read_id(mark, "image_id")
            own = f"image {image}" if kind == "panoptic" else _own_id(mark)
            if own is not None and own in there:
                raise InputError("a second annotation of this id; give each its own")
            there.add(own)
            number = image
        if number in entries:
            yield number, mark
        elif number is not None and number not in refused:
            report("dangling-image", name, f"image_id {number} is not in images")


def _own_id(mark: Any) -> Id | None:
    """The id of an annotation, where it has one."""
    return None if mark.get("id") is None else read_id(mark, "id")


def _drained(marks: list[tuple[Id, Any]]) -> Iterator[tuple[Id, Any]]:
    """The items of a list, which lets go of each: what is made of them takes their memory."""
    marks.reverse()
    while marks:
        yield marks.pop()


def _captions(
    marks: list[tuple[Id, Any]], entries: dict[Id, Entry], report: ReportProblem
) -> dict[Id, list[tuple[Id | None, str]]]:
    """Image id -> (id, text) of its captions."""
    captions = defaultdict(list)
    for number, mark in marks:
        with reporting(report, "bad-caption", f"caption {mark.get('id', '')} of {entries[number].name}"):
            captions[number].append((_own_id(mark), read_text(mark, "caption")))
    return captions


def _regions(
    marks: dict[str, list[tuple[Id, Any]]],
    entries: dict[Id, Entry],
    categories: dict[str, Categories],
    files: CocoFiles,
    report: ReportProblem,
) -> dict[Id, list[Region]]:
    """Image id -> its instances, then its panoptic segments."""
    regions = defaultdict(list)
    for number, mark in _drained(marks.get("instances", [])):
        name, size = f"annotation {mark.get('id')} of {entries[number].name}", entries[number].size
        with reporting(report, "bad-annotation", name):
            regions[number].append(instance_region(mark, size and size[::-1], categories["instances"], name))
    if "panoptic" not in marks:
        return regions
    if files.segments is None:
        raise InputError(f"{files.panoptic}: no folder of the same name with the PNGs of its segments; unpack it there")
    found = read_segments(
        [mark for _, mark in marks["panoptic"]],
        files.segments,
        categories["panoptic"],
        "instances" not in marks,
        report,
    )
    for (number, _), segments in zip(marks["panoptic"], found, strict=True):
        regions[number] += segments
    return regions


def _merged(categories: dict[str, Categories]) -> dict[Id, str]:
    """id -> name of all categories, by id."""
    every = ((number, name) for found in categories.values() for number, (name, _) in found.items())
    return dict(sorted(every, key=lambda item: by_id(item[0])))


def _stuff_classes(categories: dict[str, Categories]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """Classes of label maps, the table of raw values and that of train ids.

    COCO's 171 where the categories are COCO's own or there are none; otherwise the categories. A raw value is the
    category's id less one, as in COCO-Stuff; ids that start at 0 stand for themselves.
    """
    own = _merged(categories)
    if all(COCO_IDS.get(number) == name or name in COCO_PANOPTIC_STUFF for number, name in own.items()):
        names, ids = COCO_STUFF_171, COCO_STUFF_171_IDS
    else:
        names, ids = tuple(own.values()), tuple(number for number in own if isinstance(number, int))
    raw = label_table({number - min(ids[0], 1): position for position, number in enumerate(ids)} if ids else {})
    return names, raw, label_table({position: position for position in range(len(names))})


def _maps(folder: Path | None, entries: dict[Id, Entry], report: ReportProblem) -> dict[str, Path]:
    """Label maps by their picture's name; of two kinds the raw one."""
    if folder is None:
        return {}
    places = list_places(folder, stems=True)
    places |= {key.removesuffix(TRAIN_IDS): paths for key, paths in places.items() if key.endswith(TRAIN_IDS)} | places
    stems = {entry.name: stem_of(entry.name) for entry in entries.values()}
    located = locate(places, stems.values())
    for name, problem in located.doubtful.items():
        report("ambiguous-map", name, f"of its label map, {problem}")
    return {name: located.found[stem] for name, stem in stems.items() if stem in located.found}


def _file(name: str, *folders: Path) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def plain_name(name: str) -> str:
    """A picture's name without the `COCO_val2014_` that the names of 2014 begin with."""
    head, _, rest = name.rpartition("2014_")
    return rest if head in ("COCO_train", "COCO_val", "COCO_test") else name
