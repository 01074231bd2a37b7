"""Karpathy's json of captions (dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json).

images [{filename, split, sentences [{raw}]}], and `filepath` for COCO. `restval` joins train. Where COCO's annotation
files stand beside it, a picture also has their regions, relations and label map.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from segue.data.corpus import karpathy_captions, karpathy_name, karpathy_split
from segue.data.formats import coco
from segue.data.formats.files import SPLITS, read_json, read_records
from segue.data.formats.lookup import short_names, tidy
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import read_text, shown
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
    there = {str(entry.get("split")) for entry in _images(path) if isinstance(entry, dict)}
    return tuple(split for split in SPLITS if split in there or (split == "train" and "restval" in there))


def entries(root: Path, split: str, report: ReportProblem = raise_problem) -> list[Any]:
    """The entries of a split, as they stand in the file; those that don't name their split and picture are reported.

    Raises InputError when there is no such file, or it is not in this format.
    """
    path = find(root)
    if path is None:
        raise InputError(f"{root}: no Karpathy json; expected {EXPECTED}")
    kept = []
    for at, entry in enumerate(_images(path)):
        with reporting(report, "bad-image", f"image {at} (0 is the first) of {path.name}"):
            mine = karpathy_split(entry)
            if mine not in SPLITS:
                raise InputError(f"split {mine!r} of {shown(entry.get('filename'))}, expected {', '.join(SPLITS)}")
            if mine == split:
                read_text(entry, "filename")
                kept.append(entry)
    return kept


def _images(path: Path) -> list[Any]:
    return read_records(path, read_json(path), "images", JSON)


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of a folder with a Karpathy json."""
    wanted = entries(root, split, report)
    names = short_names(map(karpathy_name, wanted))
    plain = Counter(coco.plain_name(entry["filename"]) for entry in wanted)
    more, classes = _more(root, split, {name for name, count in plain.items() if count == 1}, report)
    places, pictures = _located(root, wanted), []
    takers = Counter(places.values())
    for entry in wanted:
        full, plain_one = karpathy_name(entry), coco.plain_name(entry["filename"])
        name, at = names[full], places[full]
        if at is None:
            report("missing-picture", name, f"no such picture in {root} or its images/; copy it there")
            continue
        if takers[at] > 1:
            report("ambiguous-picture", full, f"{at} would also be another entry's; there is but one file")
            continue
        captions, load = karpathy_captions(entry, name, report), partial(read_image, at)
        known = (more.get(plain_one) if plain[plain_one] == 1 else None) or Picture(name, load)
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


def _located(root: Path, wanted: list[Any]) -> dict[str, Path | None]:
    """Where the pictures of entries stand, by `karpathy_name`; each folder is listed once."""

    @cache
    def names(folder: Path) -> dict[str, Path]:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        spelt = Counter(tidy(path.name) for path in paths)
        return {tidy(p.name): p for p in paths if spelt[tidy(p.name)] == 1} | {p.name: p for p in paths}

    def place(entry: Any) -> Path | None:
        parts = (str(entry.get("filepath") or "."), karpathy_split(entry), ".")
        below, _, name = tidy(entry["filename"]).rpartition("/")
        spelt = entry["filename"].rpartition("/")[2]
        folders = [base / tidy(part) / below for part in parts for base in (root / "images", root)]
        folders += [root / other / below for other in ("flickr30k-images", "Flicker8k_Dataset")]
        there = (names(folder).get(spelt) or names(folder).get(name) for folder in folders)
        return next((path for path in there if path), None)

    return {karpathy_name(entry): place(entry) for entry in wanted}
