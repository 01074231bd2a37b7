"""COCO's layout: captions, instances, panoptic segments, COCO-Stuff label maps; Visual Genome's relations beside them.

Expected: annotations/{captions,instances,panoptic}_{split}{year}.json, one or more, and the pictures in
images/{split}{year}, {split}{year} or images; where they are there also annotations/panoptic_{split}{year}/*.png,
stuffthingmaps/{split}{year}/*.png, Visual Genome's {objects,attributes,relationships}_{split}.json and the
phrases_{split}.json of synthetic scenes. A folder with captions.json or instances.json and images/ has no splits; all
of it is "train".
Formats: https://cocodataset.org/#format-data, github.com/nightrome/cocostuff
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segue.data.formats import visual_genome
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_STUFF_171, COCO_STUFF_171_IDS
from segue.data.formats.files import (
    SPLITS,
    ReportProblem,
    expecting,
    first_folder,
    label_table,
    pictures_by_name,
    raise_problem,
    read_json,
    read_labels,
)
from segue.data.formats.panoptic import Categories, instance_region, read_categories, read_segments
from segue.data.formats.phrases import phrases_from_entries, read_phrase_entries
from segue.data.images import read_image
from segue.types import InputError, Picture, PictureSet, Region

EXPECTED = (
    "annotations/{captions,instances,panoptic}_SPLIT[YEAR].json or captions.json and instances.json, with the pictures "
    "in images/SPLIT, SPLIT or images"
)
KINDS = ("captions", "instances", "panoptic")
EXTRA_KINDS = ("objects", "attributes", "relationships", "phrases")
JSON = "COCO's json: images [{id, file_name}], annotations [{image_id, ...}], categories [{id, name}]"
COCO_IDS = dict(zip(COCO_STUFF_171_IDS, COCO_STUFF_171, strict=True))


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
    return None


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
    contents: dict[str, Any] = {kind: read_json(path) for kind in KINDS if (path := getattr(files, kind))}
    with expecting(files.pictures, JSON):
        entries = {
            int(entry["id"]): entry | {"file_name": str(entry["file_name"])}
            for found in contents.values()
            for entry in found["images"]
        }
        categories = {
            kind: read_categories(found["categories"]) for kind, found in contents.items() if kind != "captions"
        }
        captions = _captions(contents, entries, report)
        regions = _regions(contents, entries, categories, files, report)
    graphs = visual_genome.read_graphs(files.objects, files.attributes, files.relationships)
    marks, there, pictures = read_phrase_entries(files.phrases), pictures_by_name(files.pictures), []
    maps, (classes, raw, trained) = _maps(files.stuff), _stuff_classes(categories)
    for number, entry in sorted(entries.items()):
        name = Path(entry["file_name"]).name
        if name not in there:
            report("missing-picture", name, f"no such picture in {files.pictures}; copy it there")
            continue
        merged, relations, places = visual_genome.merge_graph(tuple(regions[number]), graphs.get(number))
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
                tuple(phrases_from_entries(marks.get(number, ()), captions[number], places, name, report)),
                label_map=partial(read_labels, label_map, table) if label_map else None,
            )
        )
    return PictureSet(pictures, classes if maps else tuple(_merged(categories).values()))


def _captions(
    contents: dict[str, Any], entries: dict[int, Any], report: ReportProblem
) -> dict[int, list[tuple[Any, str]]]:
    """Image id -> (id, text) of its captions."""
    captions = defaultdict(list)
    for mark in _annotations(contents.get("captions"), entries, "captions", report):
        captions[int(mark["image_id"])].append((mark.get("id"), str(mark["caption"]).strip()))
    return captions


def _regions(
    contents: dict[str, Any],
    entries: dict[int, Any],
    categories: dict[str, Categories],
    files: CocoFiles,
    report: ReportProblem,
) -> dict[int, list[Region]]:
    """Image id -> its instances, then its panoptic segments."""
    regions = defaultdict(list)
    for mark in _annotations(contents.get("instances"), entries, "instances", report):
        if region := _instance(mark, entries[mark["image_id"]], categories["instances"], report):
            regions[int(mark["image_id"])].append(region)
    if "panoptic" not in contents:
        return regions
    if files.segments is None:
        raise InputError(f"{files.panoptic}: no folder of the same name with the PNGs of its segments; unpack it there")
    marks = list(_annotations(contents["panoptic"], entries, "panoptic", report))
    for image, found in read_segments(
        marks, files.segments, categories["panoptic"], "instances" not in contents, report
    ):
        regions[image] += found
    return regions


def _annotations(found: Any, entries: dict[int, Any], kind: str, report: ReportProblem) -> Iterator[Any]:
    """The annotations of pictures that the files list."""
    for mark in (found or {"annotations": []})["annotations"]:
        if mark["image_id"] in entries:
            yield mark
        else:
            report("dangling-image", f"{kind} {mark.get('id', '')}", f"image_id {mark['image_id']} is not in images")


def _instance(mark: Any, entry: Any, categories: Categories, report: ReportProblem) -> Region | None:
    where = f"annotation {mark.get('id')} of {entry['file_name']}"
    if mark["category_id"] not in categories:
        report("dangling-category", where, f"category_id {mark['category_id']} is not in categories")
        return None
    try:
        return instance_region(mark, (int(entry["height"]), int(entry["width"])), categories, where)
    except InputError as error:
        report("bad-mask", where, str(error).removeprefix(f"{where}: "))
        return None


def _merged(categories: dict[str, Categories]) -> dict[int, str]:
    """id -> name of all categories, by id."""
    return {number: name for number, (name, _) in sorted(p for c in categories.values() for p in c.items())}


def _stuff_classes(categories: dict[str, Categories]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """Classes of label maps, the table of raw values and that of train ids.

    COCO's 171 where the categories are COCO's own or there are none; otherwise the categories. A raw value is the
    category's id less one, as in COCO-Stuff; ids that start at 0 stand for themselves.
    """
    own = _merged(categories)
    if all(COCO_IDS.get(number) == name or name in COCO_PANOPTIC_STUFF for number, name in own.items()):
        names, ids = COCO_STUFF_171, COCO_STUFF_171_IDS
    else:
        names, ids = tuple(own.values()), tuple(own)
    raw = label_table({number - min(ids[0], 1): position for position, number in enumerate(ids)})
    return names, raw, label_table({position: position for position in range(len(names))})


def _maps(folder: Path | None) -> dict[str, Path]:
    """Label maps by their picture's stem; of two kinds the raw one."""
    found = sorted(pictures_by_name(folder).values(), key=lambda p: "_labelTrainIds" not in p.stem) if folder else []
    return {path.stem.removesuffix("_labelTrainIds"): path for path in found}


def _size(entry: Any) -> tuple[int, int] | None:
    return (int(entry["width"]), int(entry["height"])) if "width" in entry and "height" in entry else None


def _file(name: str, *folders: Path) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def plain_name(name: str) -> str:
    """A picture's name without the `COCO_val2014_` that the names of 2014 begin with."""
    head, _, rest = name.rpartition("2014_")
    return rest if head in ("COCO_train", "COCO_val", "COCO_test") else name
