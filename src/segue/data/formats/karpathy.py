"""Karpathy's json of captions (dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json).

images [{filename, split, sentences [{raw}]}], and `filepath` for COCO. `restval` joins train. Where COCO's annotation
files stand beside it, a picture also has their regions, relations and label map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from segue.data.corpus import karpathy_captions, karpathy_split
from segue.data.formats import coco
from segue.data.formats.files import SPLITS, ReportProblem, expecting, raise_problem, read_json
from segue.data.images import read_image
from segue.types import InputError, Picture, PictureSet

EXPECTED = "dataset_NAME.json (Karpathy's), in the folder or its annotations/"
JSON = "Karpathy's json: images [{filename, split, sentences [{raw}]}]"


def find(root: Path) -> Path | None:
    """The file of captions. Raises InputError when there are several."""
    found = [path for folder in (root, root / "annotations") for path in sorted(folder.glob("dataset_*.json"))]
    if len(found) > 1:
        raise InputError(f"{root}: several Karpathy files, {', '.join(p.name for p in found)}; keep one in a folder")
    return found[0] if found else None


def splits(root: Path) -> tuple[str, ...]:
    """The splits that the file has."""
    path = find(root)
    if path is None:
        return ()
    with expecting(path, JSON):
        there = {karpathy_split(entry) for entry in read_json(path)["images"]}
    return tuple(split for split in SPLITS if split in there)


def entries(root: Path, split: str, report: ReportProblem = raise_problem) -> list[Any]:
    """The entries of a split, as they stand in the file.

    Raises InputError when there is no such file, or it is not in this format.
    """
    path = find(root)
    if path is None:
        raise InputError(f"{root}: no Karpathy json; expected {EXPECTED}")
    with expecting(path, JSON):
        found = read_json(path)["images"]
        for entry in found:
            if karpathy_split(entry) not in SPLITS:
                report(
                    "unknown-split", str(entry["filename"]), f"split {entry['split']!r}, expected {', '.join(SPLITS)}"
                )
        return [entry for entry in found if karpathy_split(entry) == split]


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of a folder with a Karpathy json."""
    wanted = entries(root, split, report)
    more, classes = _more(root, split, {coco.plain_name(str(entry["filename"])) for entry in wanted}, report)
    pictures, place = [], picture_finder(root)
    for entry in wanted:
        with expecting(root, JSON):
            name, at, captions = str(entry["filename"]), place(entry), karpathy_captions(entry)
        if at is None:
            report("missing-picture", name, f"no such picture in {root} or its images/; copy it there")
            continue
        load = partial(read_image, at)
        known = more.get(coco.plain_name(name), Picture(name, load))
        phrases = known.phrases if captions == known.captions else ()  # they point into the captions
        pictures.append(replace(known, name=name, load=load, split=split, captions=captions, phrases=phrases))
    return PictureSet(pictures, classes)


def _more(
    root: Path, split: str, wanted: set[str], report: ReportProblem
) -> tuple[dict[str, Picture], tuple[str, ...]]:
    """What COCO's files have of pictures, by their names without year, and the classes.

    Karpathy's splits are not COCO's: the split of the same name is read first, the others while pictures are wanting.
    """
    found, classes = dict[str, Picture](), tuple[str, ...]()
    for one in sorted(coco.splits(root), key=lambda name: name != split):
        if wanted - found.keys():
            more = coco.read(root, one, report)
            found = {coco.plain_name(p.name): p for p in more.pictures} | found
            classes = classes or more.classes
    return found, classes


def picture_finder(root: Path) -> Callable[[Any], Path | None]:
    """Where the picture of an entry stands; each folder is listed once."""

    @cache
    def names(folder: Path) -> frozenset[str]:
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()

    def place(entry: Any) -> Path | None:
        parts = (str(entry.get("filepath", ".")), karpathy_split(entry), ".")
        folders = [base / part for part in parts for base in (root / "images", root)]
        folders += [root / "flickr30k-images", root / "Flicker8k_Dataset"]
        return next((folder / entry["filename"] for folder in folders if entry["filename"] in names(folder)), None)

    return place
