"""Captions and addresses of web pictures: CC3M, CC12M and other TSV files, with pictures in a folder.

Nothing is downloaded: a picture is read when it stands in images/, under its line's number (from 0, as img2dataset
counts) or under the last part of its address or its name. Which of the two is decided once for a folder. Captions
without pictures are read by `segue.data.corpus`.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

from segue.data.caption_tables import Row, is_address
from segue.data.corpus import stream_rows
from segue.data.formats.files import SPLITS, split_of
from segue.data.formats.lookup import Located, Places, list_places, locate, stem_of
from segue.data.images import read_image
from segue.data.problems import ReportProblem, raise_problem
from segue.types import InputError, Picture, PictureSet

EXPECTED = "*.tsv (CC3M, CC12M) with pictures in images/"


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with TSV files and pictures; by the files' names, otherwise train."""
    return tuple(split for split in SPLITS if _files(root, split)) if (root / "images").is_dir() else ()


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """The captions of a split whose pictures are in images/; the others are reported.

    Raises InputError when numbers and names would give two different pictures.
    """
    places, pictures = list_places(root / "images"), []
    everything = [path for one in SPLITS for path in _files(root, one)]
    for path in _files(root, split):
        rows = [*stream_rows(path, split=None, report=report)]
        located, keys = _located(rows, places, path, everything)
        for row in rows:
            found = located.found.get(keys[row.number])
            if found is None:
                _, problem = located.problem(keys[row.number], f"images/ has not the picture of {row.picture[:80]}")
                report("missing-picture", f"{path.name} line {row.where.rpartition(' ')[2]}", problem)
            else:
                name = f"{path.name.removesuffix('.gz').removesuffix('.tsv')}/{row.number}"
                pictures.append(Picture(name, partial(read_image, found), None, split, (row.text.strip(),)))
    return PictureSet(pictures)


def _located(rows: list[Row], places: Places, path: Path, files: list[Path]) -> tuple[Located, dict[int, str]]:
    """Where the pictures are, and the key of each line: of all lines the number, or of all lines the name."""
    by_name, names = _by_name(rows, places)
    by_number, numbers = _by_number(rows, places)
    stems, last = [stem_of(key).rpartition("/")[2] for key in places], max((row.number for row in rows), default=-1)
    numbered = all(stem.isascii() and stem.isdigit() and int(stem[-18:]) <= last for stem in stems)
    if not numbered or all("file name" in row.ids for row in rows):
        return by_name, names
    if len(files) > 1:
        raise InputError(
            f"{path.parent}: the pictures in images/ are numbered, and {len(files)} files have such lines, "
            f"{', '.join(file.name for file in files)}; put each file with its pictures into a folder of its own"
        )
    alike = all(by_number.found.get(numbers[row.number]) == by_name.found.get(names[row.number]) for row in rows)
    if len({*by_name.found.values()}) == sum(map(len, places.values())) and not alike:
        raise InputError(
            f"{path}: the pictures in images/ fit the lines by their numbers and by their names, and not alike; "
            "name them by the lines' numbers in nine digits"
        )
    return by_number, numbers


def _by_number(rows: list[Row], places: Places) -> tuple[Located, dict[int, str]]:
    """Pictures by their lines' numbers, which may begin with zeros."""
    numbered: Places = defaultdict(list)
    for key, paths in places.items():
        stem = stem_of(key).rpartition("/")[2]
        if stem.isascii() and stem.isdigit():
            numbered[stem.lstrip("0") or "0"] += paths
    keys = {row.number: str(row.number) for row in rows}
    return locate(dict(numbered), keys.values()), keys


def _by_name(rows: list[Row], places: Places) -> tuple[Located, dict[int, str]]:
    """Pictures by their names, or the last parts of their addresses; two addresses of one name are doubtful."""
    keys = {row.number: _name(row.picture) for row in rows}
    pictures = defaultdict(set)
    for row in rows:
        pictures[keys[row.number]].add(row.picture)
    located = locate(places, keys.values())
    for key in (key for key in pictures if len(pictures[key]) > 1 and key in located.found):
        del located.found[key]
        located.doubtful[key] = (
            f"{len(pictures[key])} addresses end in {key}, and there is one file; number the pictures"
        )
    return located, keys


def _name(picture: str) -> str:
    return unquote(Path(urlparse(picture).path).name) if is_address(picture) else picture


def _files(root: Path, split: str) -> list[Path]:
    found = (path for pattern in ("*.tsv", "*.tsv.gz") for path in sorted(root.glob(pattern)))
    return [path for path in found if split_of(Path(path.name)) == split]
