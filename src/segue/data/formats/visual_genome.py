"""Visual Genome's json (objects, attributes, relationships) and VG150, its cut for scene graphs (VG-SGG.h5).

Formats: https://visualgenome.org/api/v0/api_readme; VG150: danfei/scene-graph-TF-release, rowanz/neural-motifs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segue.data.boxes import box_iou
from segue.data.formats.files import (
    SPLITS,
    ReportProblem,
    expecting,
    pictures_by_name,
    pictures_by_stem,
    raise_problem,
    read_json,
)
from segue.data.images import read_image
from segue.types import InputError, Picture, PictureSet, Region, Relation, to_install

EXPECTED = "objects.json or relationships.json with image_data.json, or VG-SGG.h5 with VG-SGG-dicts.json"
JSON = "Visual Genome's json: [{image_id, objects or relationships: [{object_id, x, y, w, h, names}]}]"
VG150_WITHOUT = ("1592.jpg", "1722.jpg", "4616.jpg", "4617.jpg")  # broken pictures for which the h5 has no row


class Graph(NamedTuple):
    """The objects of a picture by their id, and (subject id, predicate, object id)."""

    objects: dict[int, Region]
    relations: list[tuple[int, str, int]]


def splits(root: Path) -> tuple[str, ...]:
    """Visual Genome's json has no splits: all is "train". VG150 does."""
    if (root / "VG-SGG.h5").is_file():
        return SPLITS
    return ("train",) if any((root / f"{name}.json").is_file() for name in ("objects", "relationships")) else ()


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of a folder with Visual Genome's files; VG150 where its h5 is there.

    Raises InputError for files that are not in this format, and a split that they don't have.
    """
    if (root / "VG-SGG.h5").is_file():
        return read_vg150(root, split, report)
    if split != "train":
        raise InputError(f"{root}: Visual Genome has no splits, all of it is train; got {split!r}")
    files = (root / f"{name}.json" for name in ("objects", "attributes", "relationships"))
    graphs = read_graphs(*(path if path.is_file() else None for path in files))
    sizes = _sizes(root)
    there = pictures_by_stem(root)
    pictures = []
    for number, graph in sorted(graphs.items()):
        if str(number) not in there:
            report("missing-picture", f"{number}.jpg", f"no such picture in {root}, VG_100K or VG_100K_2")
            continue
        regions, relations, _ = merge_graph((), graph)
        load = partial(read_image, there[str(number)])
        pictures.append(Picture(str(number), load, sizes.get(number), "train", (), regions, relations))
    return PictureSet(pictures)


def read_graphs(objects: Path | None, attributes: Path | None, relationships: Path | None) -> dict[int, Graph]:
    """Image id -> its graph, from the files that are there."""
    graphs: dict[int, Graph] = {}
    for path, key in ((objects, "objects"), (attributes, "attributes"), (relationships, "relationships")):
        for entry in read_json(path) if path else []:
            with expecting(path or "", JSON):
                graph = graphs.setdefault(int(entry.get("image_id", entry.get("id"))), Graph({}, []))
                for found in entry[key]:
                    _add_relation(graph, found) if key == "relationships" else _add_object(graph, found)
    return graphs


def merge_graph(
    regions: tuple[Region, ...], graph: Graph | None
) -> tuple[tuple[Region, ...], tuple[Relation, ...], dict[int, int]]:
    """Regions with a graph laid on them, its relations, and for each of its objects the position of its region.

    An object is the region of its name whose box it covers best, from an intersection over union of one half; a stretch
    of stuff is the stuff region of its name, whatever the box. One without such a region becomes one of its own.
    """
    merged, position = list(regions), dict[int, int]()
    for number, thing in graph.objects.items() if graph else ():
        taken = {*position.values()}
        alike = [i for i, r in enumerate(regions) if r.label == thing.label and (i not in taken or not r.thing)]
        best = _best_match(alike, regions, thing)
        if best is None:
            best = len(merged)
            merged.append(thing)
        merged[best] = replace(merged[best], attributes=thing.attributes or merged[best].attributes)
        position[number] = best
    relations = graph.relations if graph else []
    return tuple(merged), tuple(Relation(position[s], p, position[o]) for s, p, o in relations), position


def _best_match(alike: list[int], regions: tuple[Region, ...], thing: Region) -> int | None:
    """Which of the regions covers the box of an object best, if from one half or it is stuff."""
    if not alike:
        return None
    overlaps = box_iou(np.array([thing.box]), np.array([regions[i].box for i in alike]))[0]
    first = int(overlaps.argmax())
    return alike[first] if overlaps[first] >= 0.5 or not regions[alike[first]].thing else None


def _add_object(graph: Graph, found: Any) -> int:
    """Put an object into the graph, or add to what is known of it; its id."""
    number = int(found["object_id"])
    fresh = object_region(found)
    known = graph.objects.get(number, fresh)
    attributes = tuple(dict.fromkeys((*known.attributes, *fresh.attributes)))
    graph.objects[number] = replace(known, attributes=attributes)
    return number


def object_region(found: Any) -> Region:
    """The region of an object's entry {x, y, w, h, names or name, attributes}; KeyError for what is missing."""
    names = found.get("names") or [found.get("name")]  # relationships have `name` in one release, `names` in another
    if not names[0]:
        raise KeyError("names")
    box = (float(found["x"]), float(found["y"]), float(found["w"]), float(found["h"]))
    attributes = tuple(str(a).strip().lower() for a in found.get("attributes") or ())
    return Region(str(names[0]).strip().lower(), box, attributes=attributes)


def _add_relation(graph: Graph, found: Any) -> None:
    subject, target = _add_object(graph, found["subject"]), _add_object(graph, found["object"])
    graph.relations.append((subject, str(found["predicate"]).strip().lower(), target))


def _sizes(root: Path) -> dict[int, tuple[int, int]]:
    path = root / "image_data.json"
    if not path.is_file():
        return {}
    with expecting(path, "image_data.json of Visual Genome: [{image_id, width, height}]"):
        found = read_json(path)
        return {int(e.get("image_id", e.get("id"))): (int(e["width"]), int(e["height"])) for e in found}


def read_vg150(root: Path, split: str, report: ReportProblem = raise_problem, val: int = 5000) -> PictureSet:
    """VG150: 150 things, 50 predicates. val: so many of the first training pictures that have relations are "val".

    Boxes are (centre x, centre y, width, height) on a grid whose longer side is 1024 (or 512); labels and predicates
    count from 1; rows of boxes and relations run from `img_to_first_*` to `img_to_last_*` inclusive, -1 for none.
    Raises InputError without h5py, and for files that are not in this format.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"VG150 needs h5py, which is not installed: {to_install('formats')}") from error
    with expecting(root / "VG-SGG-dicts.json", "VG150's idx_to_label and idx_to_predicate"):
        names = read_json(root / "VG-SGG-dicts.json")
        labels, predicates = (
            {int(i): str(n) for i, n in names[key].items()} for key in ("idx_to_label", "idx_to_predicate")
        )
    with expecting(root / "VG-SGG.h5", "VG150's h5"):
        try:
            with h5py.File(root / "VG-SGG.h5") as file:
                rows = {key: np.asarray(value) for key, value in file.items()}
        except OSError as error:
            raise InputError(f"{root / 'VG-SGG.h5'}: can't be read as HDF5 ({error}); copy it again") from error
        return _vg150(root, rows, labels, predicates, split, val, report)


def _vg150(
    root: Path,
    rows: dict[str, Any],
    labels: dict[int, str],
    predicates: dict[int, str],
    split: str,
    val: int,
    report: ReportProblem,
) -> PictureSet:
    images = [f"{number}.jpg" for number in _order(root)]
    if len(rows["split"]) != len(images):
        images = [name for name in images if name not in VG150_WITHOUT]
    if len(rows["split"]) != len(images):
        raise InputError(f"{root}: VG-SGG.h5 has {len(rows['split'])} pictures and image_data.json {len(images)}")
    sizes, there, pictures = _sizes(root), pictures_by_name(root), []
    for row in vg150_rows(rows, split, val):
        name = images[row]
        if name not in there:
            report("missing-picture", name, f"no such picture in {root}, VG_100K or VG_100K_2")
            continue
        size = sizes[int(name.removesuffix(".jpg"))]
        regions, relations = _row(rows, row, size, labels, predicates)
        load = partial(read_image, there[name])
        pictures.append(Picture(name.removesuffix(".jpg"), load, size, split, (), regions, relations))
    return PictureSet(pictures, tuple(name for _, name in sorted(labels.items())))


def vg150_rows(rows: dict[str, Any], split: str, val: int) -> list[int]:
    """The rows of a split: the file has 0 (train) and 2 (test), val is cut from train."""
    if split == "test":
        return np.flatnonzero(rows["split"] == 2).tolist()
    train = np.flatnonzero(rows["split"] == 0)
    related = train[(rows["img_to_first_box"][train] >= 0) & (rows["img_to_first_rel"][train] >= 0)]
    result: list[int] = related[:val].tolist() if split == "val" else np.setdiff1d(train, related[:val]).tolist()
    return result


def _row(
    rows: dict[str, Any], row: int, size: tuple[int, int], labels: dict[int, str], predicates: dict[int, str]
) -> tuple[tuple[Region, ...], tuple[Relation, ...]]:
    grid = 1024 if "boxes_1024" in rows else 512
    first, scale, regions, relations = int(rows["img_to_first_box"][row]), max(size) / grid, [], []
    if first >= 0:
        part = slice(first, int(rows["img_to_last_box"][row]) + 1)
        for (x, y, w, h), label in zip(rows[f"boxes_{grid}"][part] * scale, rows["labels"].ravel()[part], strict=True):
            regions.append(Region(labels[int(label)], (float(x - w / 2), float(y - h / 2), float(w), float(h))))
    if rows["img_to_first_rel"][row] >= 0:
        part = slice(int(rows["img_to_first_rel"][row]), int(rows["img_to_last_rel"][row]) + 1)
        for (s, o), p in zip(rows["relationships"][part], rows["predicates"].ravel()[part], strict=True):
            relations.append(Relation(int(s) - first, predicates[int(p)], int(o) - first))
    return tuple(regions), tuple(relations)


def _order(root: Path) -> list[int]:
    found = read_json(root / "image_data.json")
    return [int(entry.get("image_id", entry.get("id"))) for entry in found]
