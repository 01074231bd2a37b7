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
from segue.data.formats.files import SPLITS, expecting, read_json, read_list
from segue.data.formats.lookup import list_places, locate
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import Id, by_id, field, read_flag, read_id, read_size, read_text, to_box, to_id
from segue.types import InputError, Picture, PictureSet, Region, Relation, to_install

EXPECTED = "objects.json or relationships.json with image_data.json, or VG-SGG.h5 with VG-SGG-dicts.json"
VG150_WITHOUT = ("1592.jpg", "1722.jpg", "4616.jpg", "4617.jpg")  # broken pictures for which the h5 has no row


class Graph(NamedTuple):
    """The objects of a picture by their id, and (subject id, predicate, object id)."""

    objects: dict[Id, Region]
    relations: list[tuple[Id, str, Id]]


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
    objects, attributes, relationships = (path if path.is_file() else None for path in files)
    graphs = read_graphs(objects, attributes, relationships, report)
    sizes = _sizes(root, report)
    located = locate(list_places(root, stems=True), map(str, graphs))
    pictures = []
    for number, graph in sorted(graphs.items(), key=lambda item: by_id(item[0])):
        if str(number) not in located.found:
            code, problem = located.problem(str(number), f"no such picture in {root}, VG_100K or VG_100K_2")
            report(code, f"{number}.jpg", problem)
            continue
        regions, relations, _ = merge_graph((), graph)
        load = partial(read_image, located.found[str(number)])
        pictures.append(
            Picture(str(number), load, sizes.get(number), split="train", regions=regions, relations=relations)
        )
    return PictureSet(pictures)


def read_graphs(
    objects: Path | None,
    attributes: Path | None,
    relationships: Path | None,
    report: ReportProblem = raise_problem,
) -> dict[Id, Graph]:
    """Image id -> its graph, from the files that are there.

    Raises InputError for a bad record, unless `report` does otherwise.
    """
    graphs: dict[Id, Graph] = {}
    for path, key in ((objects, "objects"), (attributes, "attributes"), (relationships, "relationships")):
        there = set[Id]()
        for at, entry in enumerate(read_list(path) if path else []):
            found = None
            with reporting(report, "bad-image", f"entry {at} (0 is the first) of {path and path.name}"):
                number = read_id(entry, "image_id", "id")
                if number in there:
                    raise InputError(f"a second entry of the image {number}; put all of its {key} into one")
                there.add(number)
                found = list(field(entry, key))
            if found is not None:
                _add_entry(graphs.setdefault(number, Graph({}, [])), key, found, f"image {number}", report)
    return graphs


def _add_entry(graph: Graph, key: str, found: list[Any], image: str, report: ReportProblem) -> None:
    """Put the objects, attributes or relationships of a picture into its graph."""
    there = dict[Id, Region]()
    for at, one in enumerate(found):
        number = one.get("object_id", at) if isinstance(one, dict) else at
        name = f"relationship {at} of {image}" if key == "relationships" else f"object {number} of {image}"
        with reporting(report, "bad-object", name):
            if key == "relationships":
                _add_relation(graph, one)
            else:
                number, region = read_id(one, "object_id"), object_region(one)
                if there.setdefault(number, region).box != region.box:
                    raise InputError("there twice, with two boxes; number each by its own")
                _add_object(graph, one)


def merge_graph(
    regions: tuple[Region, ...], graph: Graph | None
) -> tuple[tuple[Region, ...], tuple[Relation, ...], dict[Id, int]]:
    """Regions with a graph laid on them, its relations, and for each of its objects the position of its region.

    An object is the region of its name whose box it covers best, from an intersection over union of one half; a stretch
    of stuff is the stuff region of its name, whatever the box. One without such a region becomes one of its own.
    """
    merged, position = list(regions), dict[Id, int]()
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


def _add_object(graph: Graph, found: Any) -> Id:
    """Put an object into the graph, or add to what is known of it; its id."""
    number = read_id(found, "object_id")
    fresh = object_region(found)
    known = graph.objects.get(number, fresh)
    attributes = tuple(dict.fromkeys((*known.attributes, *fresh.attributes)))
    graph.objects[number] = replace(known, attributes=attributes)
    return number


def object_region(found: Any) -> Region:
    """The region of an object's entry {x, y, w, h, names or name, attributes}; InputError for what is missing.

    An entry may say, which Visual Genome's own don't, that it is stuff: "thing": false.
    """
    field(found, "names", "name")  # relationships have `name` in one release, `names` in another
    names = found.get("names") or [found.get("name")]
    name = read_text({"names": names[0] if isinstance(names, list) else names}, "names")
    box = to_box([field(found, key) for key in "xywh"], "x, y, w, h")
    attributes = tuple(read_text({"attribute": one}, "attribute").lower() for one in found.get("attributes") or ())
    return Region(name.lower(), box, thing=read_flag(found, "thing", True), attributes=attributes)


def _add_relation(graph: Graph, found: Any) -> None:
    predicate = read_text(found, "predicate").lower()
    for end in ("subject", "object"):
        object_region(field(found, end))  # both or none
    subject, target = (_add_object(graph, found[end]) for end in ("subject", "object"))
    graph.relations.append((subject, predicate, target))


def _sizes(root: Path, report: ReportProblem = raise_problem) -> dict[Id, tuple[int, int]]:
    path, sizes = root / "image_data.json", dict[Id, tuple[int, int]]()
    for at, entry in enumerate(read_list(path) if path.is_file() else []):
        with reporting(report, "bad-image", f"entry {at} (0 is the first) of {path.name}"):
            number, size = read_id(entry, "image_id", "id"), read_size(entry)
            if size and sizes.setdefault(number, size) != size:
                raise InputError(f"a second entry of the image {number}, of another size; leave one out")
    return sizes


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
            {int(i): read_text(names[key], i) for i in names[key]} for key in ("idx_to_label", "idx_to_predicate")
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
    chosen, sizes, pictures = vg150_rows(rows, split, val), _sizes(root, report), list[Picture]()
    located = locate(list_places(root), (images[row] for row in chosen))
    for row in chosen:
        name = images[row]
        if name not in located.found:
            code, problem = located.problem(name, f"no such picture in {root}, VG_100K or VG_100K_2")
            report(code, name, problem)
            continue
        with reporting(report, "bad-image", name):
            number = to_id(name.removesuffix(".jpg"))
            regions, relations = _row(rows, row, sizes[number], labels, predicates)
            load = partial(read_image, located.found[name])
            pictures.append(
                Picture(str(number), load, sizes[number], split=split, regions=regions, relations=relations)
            )
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
            regions.append(Region(labels[int(label)], to_box((x - w / 2, y - h / 2, w, h), "box")))
    if rows["img_to_first_rel"][row] >= 0:
        part = slice(int(rows["img_to_first_rel"][row]), int(rows["img_to_last_rel"][row]) + 1)
        for (s, o), p in zip(rows["relationships"][part], rows["predicates"].ravel()[part], strict=True):
            relations.append(Relation(int(s) - first, predicates[int(p)], int(o) - first))
    return tuple(regions), tuple(relations)


def _order(root: Path) -> list[Id]:
    return [read_id(entry, "image_id", "id") for entry in read_list(root / "image_data.json")]
