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

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from segue.data.formats import coco_cache, visual_genome
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_STUFF_171, COCO_STUFF_171_IDS
from segue.data.formats.coco_cache import Cache, Parsed
from segue.data.formats.coco_marks import Marks, Raw, Size, shorten
from segue.data.formats.files import (
    SPLITS,
    first_folder,
    label_table,
    read_labels,
    read_records,
    without_collector,
)
from segue.data.formats.lookup import list_places, locate, short_names, stem_of, tidy
from segue.data.formats.panoptic import Categories, instance_region, read_categories, read_segments
from segue.data.formats.phrases import phrases_from_entries, read_phrase_entries
from segue.data.formats.stream import stream_object
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
LONG = ("images", "annotations")  # lists that are read part by part
JSON = "COCO's json: images [{id, file_name}], annotations [{image_id, ...}], categories [{id, name}]"
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
    images, marks, categories = Images(report), dict[str, Marks](), dict[str, Categories]()
    for kind in KINDS:
        if path := getattr(files, kind):
            marks[kind], found = _read_file(path, kind, images)
            if kind != "captions":
                categories[kind] = read_categories(read_records(path, found, "categories", JSON), report)
    captions = _captions(marks.get("captions", Marks()), images, report)
    regions = _regions(marks, images, categories, files, report)
    graphs = visual_genome.read_graphs(files.objects, files.attributes, files.relationships, report)
    phrases = read_phrase_entries(files.phrases, report)
    entries = images.usable()
    located = locate(list_places(files.pictures), (entry.name for entry in entries.values()))
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


def _read_file(path: Path, kind: str, images: Images) -> tuple[Marks, dict[str, Any]]:
    """The annotations of a file, and what it has besides them and its images, which are added to those known."""
    cache = Cache(path) if kind == "instances" and path.stat().st_size >= coco_cache.LARGE else None
    if cache and (kept := cache.read()):
        images.add(kind, kept.images)
        return kept.marks, kept.others
    marks, records, others = Marks(), list[Any](), dict[str, Any]()
    for key, value in stream_object(path, LONG):
        part = key in LONG and isinstance(value, list)
        others[key] = [] if part else value
        if part and key == "images":
            images.add(kind, value)
            records += map(shorten, value) if cache else ()
        elif part:
            marks.add(kind, value, images.size_of)
    for key in LONG:
        read_records(path, others, key, JSON)
    if cache:
        cache.write(Parsed(marks, records, others))
    return marks, others


class Images:
    """The images of all files by id, and the ids that can't be used: of bad images, and of two pictures."""

    def __init__(self, report: ReportProblem) -> None:
        self.report, self.entries, self.refused = report, dict[Id, Entry](), set[Id]()
        self.there = defaultdict[str, set[Id]](set)  # the ids of a file
        self.counts = Counter[str]()  # how many images of a file have been read

    def add(self, kind: str, records: list[Any]) -> None:
        """Add images of the file of a kind. What is bad is reported, by `raise_problem` as an InputError."""
        for at, record in enumerate(records, self.counts[kind]):
            bad = None  # the id of a record that can't be used
            with reporting(self.report, "bad-image", f"image {at} (0 is the first) of {kind}"):
                number = bad = read_id(record, "id")
                entry = Entry(read_text(record, "file_name"), read_size(record))
                known = self.entries.setdefault(number, entry)
                bad = None if known.name == entry.name else bad
                if number in self.there[kind] or (known.name != entry.name and not _alike(known.name, entry.name)):
                    raise InputError(f"{entry.name} has the id {number}, as {known.name}; give each its own")
                bad = None
                self.entries[number] = Entry(max(known.name, entry.name, key=len), entry.size or known.size)
                self.there[kind].add(number)
            self.refused |= set() if bad is None else {bad}
        self.counts[kind] += len(records)

    def size_of(self, number: Id) -> Size | None:
        """(height, width) of an image, where it is known."""
        entry = self.entries.get(number)
        return entry and entry.size and entry.size[::-1]

    def usable(self) -> dict[Id, Entry]:
        """The images whose ids are not refused."""
        return {number: entry for number, entry in self.entries.items() if number not in self.refused}


def _alike(one: str, other: str) -> bool:
    """Whether two names may be one picture's: one's path is the end of the other's."""
    one, other = f"/{tidy(one)}", f"/{tidy(other)}"
    return one.endswith(other) or other.endswith(one)


def _annotations(marks: Marks, kind: str, images: Images, report: ReportProblem) -> Iterator[tuple[Id, Id | None, Any]]:
    """(image id, own id, what is found) of the pictures that the files list, without those of refused images."""
    there = set[Any]()
    image: Id | None
    own: Id | None
    for at, (image, own, found) in enumerate(marks.drained()):
        name = f"{kind} {own}"
        if isinstance(found, Raw):
            mark, image = found.record, None
            name = f"{kind} {mark['id'] if isinstance(mark, dict) and 'id' in mark else f'number {at}'}"
            with reporting(report, "bad-annotation", name):
                image, own = read_id(mark, "image_id"), None if kind == "panoptic" else _own_id(mark)
        if image is None:
            continue
        once = f"image {image}" if kind == "panoptic" else own
        if once is not None and once in there:
            report("bad-annotation", name, "a second annotation of this id; give each its own")
            continue
        there.add(once)
        if image in images.entries and image not in images.refused:
            yield image, own, found
        elif image not in images.refused:
            report("dangling-image", name, f"image_id {image} is not in images")


def _own_id(mark: Any) -> Id | None:
    """The id of an annotation, where it has one."""
    return None if mark.get("id") is None else read_id(mark, "id")


def _captions(marks: Marks, images: Images, report: ReportProblem) -> dict[Id, list[tuple[Id | None, str]]]:
    """Image id -> (id, text) of its captions."""
    captions = defaultdict(list)
    for number, own, found in _annotations(marks, "captions", images, report):
        if isinstance(found, Raw):
            name = f"caption {found.record.get('id', '')} of {images.entries[number].name}"
            with reporting(report, "bad-caption", name):
                captions[number].append((own, read_text(found.record, "caption")))
        else:
            captions[number].append((own, found))
    return captions


def _regions(
    marks: dict[str, Marks],
    images: Images,
    categories: dict[str, Categories],
    files: CocoFiles,
    report: ReportProblem,
) -> dict[Id, list[Region]]:
    """Image id -> its instances, then its panoptic segments."""
    regions = defaultdict(list)
    for number, own, found in _annotations(marks.get("instances", Marks()), "instances", images, report):
        name, size = f"annotation {own} of {images.entries[number].name}", images.size_of(number)
        with reporting(report, "bad-annotation", name):
            if isinstance(found, Raw):
                regions[number].append(instance_region(found.record, size, categories["instances"], name))
            else:
                regions[number].append(found.region(size, categories["instances"], name))
    if "panoptic" not in marks:
        return regions
    if files.segments is None:
        raise InputError(f"{files.panoptic}: no folder of the same name with the PNGs of its segments; unpack it there")
    listed = [*_annotations(marks["panoptic"], "panoptic", images, report)]
    things = "instances" not in marks
    segments = read_segments([raw.record for *_, raw in listed], files.segments, categories["panoptic"], things, report)
    for (number, *_), found in zip(listed, segments, strict=True):
        regions[number] += found
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
