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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.formats import visual_genome
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_STUFF_171, COCO_STUFF_171_IDS
from segue.data.formats.coco_marks import Marks
from segue.data.formats.coco_tables import Captions, Entry, Images, Places, Regions, panoptic_marks
from segue.data.formats.files import (
    SPLITS,
    first_folder,
    label_table,
    read_labels,
    read_records,
    split_of,
    without_collector,
)
from segue.data.formats.lookup import list_places, locate, short_names, stem_of
from segue.data.formats.panoptic import Categories, read_categories, read_segments
from segue.data.formats.phrases import phrases_from_entries, read_phrase_entries
from segue.data.formats.stream import stream_object
from segue.data.images import read_image
from segue.data.later import LaterPictures
from segue.data.problems import ReportProblem, raise_problem
from segue.data.records import Id, by_id
from segue.types import InputError, Picture, PictureSet, Region

EXPECTED = (
    "annotations/{captions,instances,panoptic}_SPLIT[YEAR].json or captions.json and instances.json, with the pictures "
    "in images/SPLIT, SPLIT or images; SPLIT/_annotations.coco.json"
)
KINDS = ("captions", "instances", "panoptic")
EXTRA_KINDS = ("objects", "attributes", "relationships", "phrases")
LONG = ("images", "annotations")  # lists that are read part by part
JSON = "COCO's json: images [{id, file_name}], annotations [{image_id, ...}], categories [{id, name}]"
COCO_IDS: dict[Id, str] = dict(zip(COCO_STUFF_171_IDS, COCO_STUFF_171, strict=True))


TRAIN_IDS = "_labelTrainIds"
ROBOFLOW = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}  # its folders


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
    _tell_left_out(files, split, report)
    return read_coco(files, split, report)


def _tell_left_out(files: CocoFiles, split: str, report: ReportProblem) -> None:
    """Report the files of captions, instances and panoptic segments that lie beside those of a split and go unread."""
    used = {path for kind in KINDS if (path := getattr(files, kind))}
    beside = sorted(path for kind in KINDS for path in next(iter(used)).parent.glob(f"{kind}_*.json*"))
    if left := [path for path in beside if path not in used and path.is_file() and split_of(Path(path.name)) == split]:
        what = f"{len(left)} files of {split} are not read beside {', '.join(sorted(path.name for path in used))}"
        report(
            "left-out", left[0].name, f"{what}; name them KIND_{split}.json, and give other years a folder of their own"
        )


def read_coco(files: CocoFiles, split: str = "train", report: ReportProblem = raise_problem) -> PictureSet:
    """One picture with all that the files have of it: captions, regions, relations, phrases, label map.

    Regions are instances, and stuff from the panoptic segments; without instances the panoptic things too. Crowds are
    kept and marked. classes: of the label maps when there are any, otherwise the categories in the order of their ids.
    Raises InputError for files that are not in COCO's format.
    """
    with without_collector():
        return _read_coco(files, split, report)


def _read_coco(files: CocoFiles, split: str, report: ReportProblem) -> PictureSet:
    images, marks, categories = Images(report), defaultdict[str, Marks](Marks), dict[str, Categories]()
    for kind in KINDS:
        if path := getattr(files, kind):
            marks[kind], found = _read_file(path, kind, images)
            if kind != "captions":
                categories[kind] = read_categories(read_records(path, found, "categories", JSON), report)
    places = Places(images)
    captions = Captions(marks["captions"], places, report)
    regions = Regions(marks["instances"], places, categories.get("instances", {}), report)
    segments = _segments(marks["panoptic"], places, categories, files, report) if files.panoptic else {}
    del images, marks
    graphs = visual_genome.read_graphs(files.objects, files.attributes, files.relationships, report)
    phrases = read_phrase_entries(files.phrases, report)
    located = locate(list_places(files.pictures), (entry.name for entry in places.entries.values()))
    maps, (classes, raw, trained) = _maps(files.stuff, places.entries, report), _stuff_classes(categories)
    tables = {name: trained if path.stem.endswith(TRAIN_IDS) else raw for name, path in maps.items()}
    labels = {name: partial(read_labels, path, tables[name]) for name, path in maps.items()}
    names = short_names(entry.name for entry in places.entries.values())
    make = _Made(split, list(places.entries.values()), located.found, names, captions, regions, segments, labels)
    whole = dict[int, Picture]()
    for place, (number, entry) in enumerate(places.entries.items()):
        if entry.name not in located.found:
            missing = f"no such picture in {files.pictures}; copy it there"
            code, problem = located.problem(entry.name, missing)
            report(code, entry.name, problem)
            continue
        make.places.append(place)
        if number in graphs or number in phrases:
            picture, said = make(len(make.places) - 1), captions.of(place)
            merged, relations, objects = visual_genome.merge_graph(picture.regions, graphs.get(number))
            named = tuple(phrases_from_entries(phrases.get(number, ()), said, objects, picture.name, report))
            whole[len(make.places) - 1] = replace(picture, regions=merged, relations=relations, phrases=named)
    pictures = LaterPictures([make.names[make.entries[place].name] for place in make.places], make, whole)
    return PictureSet(pictures, classes if maps else tuple(dict.fromkeys(_merged(categories).values())))


@dataclass(frozen=True)
class _Made:
    """Makes the pictures of a split from what its files have. places: of those whose files are there, in `entries`."""

    split: str
    entries: list[Entry]
    paths: dict[str, Path]
    names: dict[str, str]
    captions: Captions
    regions: Regions
    segments: dict[int, list[Region]]
    labels: Mapping[str, Callable[[], NDArray[np.unsignedinteger]]]
    places: list[int] = field(default_factory=list)

    def __call__(self, at: int) -> Picture:
        place = self.places[at]
        name, size = self.entries[place]
        return Picture(
            self.names[name],
            partial(read_image, self.paths[name]),
            size,
            split=self.split,
            captions=self.captions.texts(place),
            regions=(*self.regions.of(place), *self.segments.get(place, ())),
            label_map=self.labels.get(name),
        )


def _read_file(path: Path, kind: str, images: Images) -> tuple[Marks, dict[str, Any]]:
    """The annotations of a file, and what it has besides them and its images, which are added to those known."""
    marks, others = Marks(), dict[str, Any]()
    for key, value in stream_object(path, LONG):
        part = key in LONG and isinstance(value, list)
        others[key] = [] if part else value
        if part and key == "images":
            images.add(kind, value)
        elif part:
            marks.add(kind, value, images.size_of)
    for key in LONG:
        read_records(path, others, key, JSON)
    return marks, others


def _segments(
    marks: Marks, places: Places, categories: dict[str, Categories], files: CocoFiles, report: ReportProblem
) -> dict[int, list[Region]]:
    """The panoptic segments of images by their places: stuff, and without instances things too."""
    if files.segments is None:
        raise InputError(f"{files.panoptic}: no folder of the same name with the PNGs of its segments; unpack it there")
    there, listed = panoptic_marks(marks, places, report)
    segments = read_segments(listed, files.segments, categories["panoptic"], files.instances is None, report)
    return dict(zip(there, segments, strict=True))


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
        own = COCO_IDS
    names, ids = tuple(dict.fromkeys(own.values())), [number for number in own if isinstance(number, int)]
    raw = label_table({number - min(ids[0], 1): names.index(own[number]) for number in ids} if ids else {})
    return names, raw, label_table({place: names.index(name) for place, name in enumerate(own.values())})


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
