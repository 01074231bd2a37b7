"""COCO's layout: captions, instances, panoptic segments, COCO-Stuff label maps; Visual Genome's relations beside them.

Expected, all of them optional but for the pictures: annotations/{captions,instances,panoptic}_{split}{year}.json,
annotations/panoptic_{split}{year}/*.png, stuffthingmaps/{split}{year}/*.png, Visual Genome's json by the names
{objects,attributes,relationships}_{split}.json, the sketchbook's phrases_{split}.json, and the pictures in images/{split}{year}, {split}{year} or images. A folder with captions.json or instances.json and images/
tells no splits; all of it is "train". Formats: https://cocodataset.org/#format-data, github.com/nightrome/cocostuff
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data import rle
from segue.data.formats import visual_genome
from segue.data.formats.classes import COCO_PANOPTIC_STUFFS, COCO_STUFF_171, COCO_STUFF_171_IDS
from segue.data.formats.files import (
    SPLITS,
    Wrong,
    expecting,
    folder_of,
    pictures_in,
    read_json,
    read_labels,
    stop,
    table_of,
)
from segue.data.images import read_image
from segue.types import InputError, Phrase, Picture, PictureSet, Region

LOOKED_FOR = "annotations/{captions,instances,panoptic}_SPLIT[YEAR].json or captions.json and instances.json"
KINDS = ("captions", "instances", "panoptic")
BESIDE = ("objects", "attributes", "relationships", "phrases")
JSON = "COCO's json: images [{id, file_name}], annotations [{image_id, ...}], categories [{id, name}]"
COCO_IDS = dict(zip(COCO_STUFF_171_IDS, COCO_STUFF_171, strict=True))
Categories = dict[int, tuple[str, bool]]  # id -> (name, is a thing)


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
    annotations = folder_of(root / "annotations") or root
    for end in (f"_{split}2017", f"_{split}2014", f"_{split}", *([""] if split == "train" else [])):
        told = {kind: path for kind in KINDS if (path := annotations / f"{kind}{end}.json").is_file()}
        part = end.removeprefix("_") or "."
        pictures = folder_of(root / "images" / part, root / part if end else root / "images", root / "images")
        if told and pictures:
            return CocoFiles(
                pictures,
                **told,
                segments=folder_of(annotations / f"panoptic{end}", root / f"panoptic{end}"),
                stuff=folder_of(root / "stuffthingmaps" / part),
                **{kind: _file(f"{kind}{end}.json", annotations, root) for kind in BESIDE},
            )
    return None


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(split for split in SPLITS if find(root, split))


def read(root: Path, split: str, wrong: Wrong = stop) -> PictureSet:
    """A split of a folder in COCO's layout."""
    files = find(root, split)
    if files is None:
        raise InputError(f"{root}: no COCO files of {split}; expected {LOOKED_FOR}, and pictures in images/")
    return read_coco(files, split, wrong)


def read_coco(files: CocoFiles, split: str = "train", wrong: Wrong = stop) -> PictureSet:
    """One picture with all that the files tell of it: captions, regions, relations, label map.

    Regions are instances, and stuff from the panoptic segments; without instances the panoptic things too. Crowds are
    kept and marked. classes: of the label maps when there are any, otherwise the categories in the order of their ids.
    """
    told: dict[str, Any] = {kind: read_json(path) for kind in KINDS if (path := getattr(files, kind))}
    with expecting(files.pictures, JSON):
        entries = {int(entry["id"]): entry for found in told.values() for entry in found["images"]}
        categories: dict[str, Categories] = {
            kind: _categories(told[kind]) for kind in ("instances", "panoptic") if kind in told
        }
        captions, regions = defaultdict(list), defaultdict(list)
        for caption in _known(told.get("captions"), entries, "captions", wrong):
            captions[int(caption["image_id"])].append((caption.get("id"), str(caption["caption"]).strip()))
        for mark in _known(told.get("instances"), entries, "instances", wrong):
            if region := _instance(mark, entries[mark["image_id"]], categories["instances"], wrong):
                regions[int(mark["image_id"])].append(region)
        if "panoptic" in told:
            marks = list(_known(told["panoptic"], entries, "panoptic", wrong))
            for image, found in _panoptic(marks, files, categories["panoptic"], "instances" not in told, wrong):
                regions[image] += found
    graphs = visual_genome.read_graphs(files.objects, files.attributes, files.relationships)
    marks = _phrase_marks(files.phrases)
    maps, (classes, raw, trained) = _maps(files.stuff), _stuff_classes(categories)
    there, pictures = pictures_in(files.pictures), []
    for number, entry in sorted(entries.items()):
        name = Path(entry["file_name"]).name
        if name not in there:
            wrong("missing-picture", name, f"no such picture in {files.pictures}; copy it there")
            continue
        graph, own = graphs.get(number), tuple(regions[number])
        merged, relations = visual_genome.onto(own, graph)
        places = visual_genome.laid(own, graph)[1] if number in marks else {}
        label_map = maps.get(Path(name).stem)
        table = trained if label_map and label_map.stem.endswith("_labelTrainIds") else raw
        pictures.append(
            Picture(
                name,
                partial(read_image, there[name]),
                _size(entry),
                split,
                tuple(text for _, text in captions[number]),
                merged,
                relations,
                tuple(_phrases(marks[number], captions[number], places, name, wrong)),
                label_map=partial(read_labels, label_map, table) if label_map else None,
            )
        )
    return PictureSet(pictures, classes if maps else tuple(_merged(categories).values()))


def segment_ids(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(H, W, 3) colours of a panoptic PNG -> (H, W) ids = R + 256 G + 65536 B, in 32 bits: 8 would wrap around."""
    return rgb.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)


def _known(found: Any, entries: dict[int, Any], kind: str, wrong: Wrong) -> Iterator[Any]:
    """The annotations of pictures that the files list."""
    for mark in (found or {"annotations": []})["annotations"]:
        if mark["image_id"] in entries:
            yield mark
        else:
            wrong("dangling-image", f"{kind} {mark.get('id', '')}", f"image_id {mark['image_id']} is not in images")


def _instance(mark: Any, entry: Any, categories: Categories, wrong: Wrong) -> Region | None:
    where = f"annotation {mark.get('id')} of {entry['file_name']}"
    if mark["category_id"] not in categories:
        wrong("dangling-category", where, f"category_id {mark['category_id']} is not in categories")
        return None
    name, thing = categories[mark["category_id"]]
    try:
        size = (int(entry["height"]), int(entry["width"]))
        mask = rle.from_json(mark["segmentation"], size, where) if mark.get("segmentation") else None
    except InputError as error:
        wrong("bad-mask", where, str(error).removeprefix(f"{where}: "))
        return None
    x, y, w, h = mark["bbox"] if "bbox" in mark or mask is None else rle.box(mask)
    return Region(name, (float(x), float(y), float(w), float(h)), mask, thing, bool(mark.get("iscrowd")))


def _panoptic(
    marks: list[Any], files: CocoFiles, categories: Categories, things: bool, wrong: Wrong
) -> Iterator[tuple[int, list[Region]]]:
    """(image id, its regions); the PNGs are decoded by several threads. things: keep things as well as stuff."""
    if files.segments is None:
        raise InputError(f"{files.panoptic}: no folder of the same name with the PNGs of its segments; unpack it there")
    with ThreadPoolExecutor() as threads:
        for mark, ids in zip(marks, threads.map(partial(_ids, files.segments), marks), strict=True):
            if isinstance(ids, InputError):
                wrong("bad-panoptic", mark["file_name"], str(ids))
            else:
                yield int(mark["image_id"]), list(_segments(mark, ids, categories, things, wrong))


def _ids(folder: Path, mark: Any) -> NDArray[np.uint32] | InputError:
    try:
        return segment_ids(read_image(folder / mark["file_name"]))
    except InputError as error:
        return error


def _segments(
    mark: Any, ids: NDArray[np.uint32], categories: Categories, things: bool, wrong: Wrong
) -> Iterator[Region]:
    there = {int(i) for i in np.unique(ids)} - {0}  # 0: no segment
    told = {int(segment["id"]): segment for segment in mark["segments_info"]}
    for number in sorted(there - told.keys()):
        wrong("dangling-segment", mark["file_name"], f"the PNG has the id {number}, segments_info has not")
    for number, segment in told.items():
        if number not in there or segment["category_id"] not in categories:
            why = "is not in the PNG" if number not in there else f"has the unknown category {segment['category_id']}"
            wrong("dangling-segment", mark["file_name"], f"segment {number} {why}")
            continue
        name, thing = categories[segment["category_id"]]
        if things or not thing:
            mask = rle.encode(ids == number)
            yield Region(name, rle.box(mask), mask, thing, bool(segment.get("iscrowd")))


def _categories(found: Any) -> Categories:
    return {int(c["id"]): (str(c["name"]).lower(), bool(c.get("isthing", 1))) for c in found["categories"]}


def _merged(categories: dict[str, Categories]) -> dict[int, str]:
    """id -> name of all categories, by id."""
    return {number: name for number, (name, _) in sorted(p for c in categories.values() for p in c.items())}


def _phrase_marks(path: Path | None) -> dict[int, list[Any]]:
    """Image id -> its phrases in the sketchbook's file: [{image_id, caption_id, start, end, text, owners}]."""
    marks = defaultdict(list)
    for mark in read_json(path) if path else []:
        with expecting(path or "", "phrases: [{image_id, caption_id, start, end, text, owners}]"):
            marks[int(mark["image_id"])].append(mark)
    return marks


def _phrases(
    marks: list[Any], captions: list[tuple[Any, str]], places: dict[int, int], name: str, wrong: Wrong
) -> Iterator[Phrase]:
    """places: the positions of the owners among the picture's regions."""
    numbers = {number: position for position, (number, _) in enumerate(captions)}
    for mark in marks:
        at, owners = numbers.get(mark["caption_id"]), [places.get(int(owner)) for owner in mark["owners"]]
        if at is None or captions[at][1][mark["start"] : mark["end"]] != mark["text"] or None in owners:
            wrong(
                "dangling-phrase", name, f"the phrase {mark['text']!r} names a caption or an object that is not there"
            )
        else:
            regions = tuple(dict.fromkeys(owner for owner in owners if owner is not None))
            yield Phrase(at, mark["start"], mark["end"], regions)


def _stuff_classes(categories: dict[str, Categories]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """Classes of label maps, the table of raw values and that of train ids.

    COCO's 171 where the categories are COCO's own or none are told; otherwise the categories. A raw value is the
    category's id less one, as in COCO-Stuff; ids that start at 0 stand for themselves.
    """
    own = _merged(categories)
    if all(COCO_IDS.get(number) == name or name in COCO_PANOPTIC_STUFFS for number, name in own.items()):
        names, ids = COCO_STUFF_171, COCO_STUFF_171_IDS
    else:
        names, ids = tuple(own.values()), tuple(own)
    raw = table_of({number - min(ids[0], 1): position for position, number in enumerate(ids)})
    return names, raw, table_of({position: position for position in range(len(names))})


def _maps(folder: Path | None) -> dict[str, Path]:
    """Label maps by their picture's stem; of two kinds the raw one."""
    found = sorted(pictures_in(folder).values(), key=lambda p: "_labelTrainIds" not in p.stem) if folder else []
    return {path.stem.removesuffix("_labelTrainIds"): path for path in found}


def _size(entry: Any) -> tuple[int, int] | None:
    return (int(entry["width"]), int(entry["height"])) if "width" in entry and "height" in entry else None


def _file(name: str, *folders: Path) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def plain_name(name: str) -> str:
    """A picture's name without the `COCO_val2014_` that the names of 2014 begin with."""
    head, _, rest = name.rpartition("2014_")
    return rest if head in ("COCO_train", "COCO_val", "COCO_test") else name


def joined(sets: Iterable[PictureSet]) -> PictureSet:
    """Several splits as one set."""
    found = list(sets)
    return PictureSet([p for s in found for p in s.pictures], next((s.classes for s in found if s.classes), ()))
