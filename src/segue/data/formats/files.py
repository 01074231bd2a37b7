"""What the readers share: JSON files, splits, and label maps. Problems are reported as `segue.data.problems` says."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.lookup import Places, locate, short_names
from segue.data.images import read_image, read_index
from segue.data.problems import WRONG_LAYOUT, ReportProblem, raise_problem
from segue.data.records import Box, each_once, shown, to_box
from segue.types import InputError, Picture

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing", "tst"},
}
IGNORED = 255
ReadLabels = Callable[[Path], NDArray[np.unsignedinteger]]


@contextmanager
def expecting(path: Path | str, what: str) -> Iterator[None]:
    """Turn an error inside into an InputError: `path` is not laid out as `what`. An InputError stays as it is."""
    try:
        yield
    except WRONG_LAYOUT as error:
        if isinstance(error, InputError):
            raise
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not laid out as expected ({missing}); expected {what}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file; `segue.data.formats.stream` reads large ones.

    Raises InputError that names the file when it can't be read, and when an object has a key twice: one would be lost.
    """
    try:
        return json.loads(_read_text(path), object_pairs_hook=each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read as JSON ({error}); copy or export it again") from error


def _read_text(path: Path) -> str:
    """As json.loads decodes bytes, but these are gone when it reads: the file would be in memory twice."""
    data = path.read_bytes()
    return data.decode(json.detect_encoding(data), "surrogatepass")


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's search for circles of objects pauses: millions of records have none, and it would look at all again and
    again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def read_list(path: Path) -> list[Any]:
    """The list in a JSON file. Raises InputError when it can't be read or holds something else."""
    found = read_json(path)
    if not isinstance(found, list):
        raise InputError(f"{path}: got {shown(found)}, expected a list of entries")
    return found


def read_records(path: Path, found: Any, key: str, expected: str) -> list[Any]:
    """The list that a JSON object has under a key. Raises InputError when there is none."""
    rows = found.get(key) if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{path}: not laid out as expected (no list {key!r}); expected {expected}")
    return rows


def split_of(path: Path) -> str:
    """The split that a file's name tells, or a folder above it: a whole word such as val or validation; else train."""
    for part in reversed(path.parts):
        words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", part)]
        if found := [split for split, names in SPLIT_WORDS.items() if not names.isdisjoint(words)]:
            return found[0]
    return "train"


def corner_box(mark: Element) -> Box:
    """The box of an `object` of VOC's XML: its corners count from 1 and belong to it.

    Raises InputError for what is no box.
    """
    corners = [mark.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x0, y0, x1, y1 = (float(corner or "") for corner in corners)
    except ValueError as error:
        raise InputError(f"bndbox: got {shown(corners)}, expected numbers xmin, ymin, xmax, ymax") from error
    return to_box((x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1), "bndbox")


def first_folder(*places: Path) -> Path | None:
    """The first of the places that is a folder."""
    return next((place for place in places if place.is_dir()), None)


def label_table(positions: Mapping[int, int]) -> tuple[int, ...]:
    """For each of the 256 values of a label map a position in the classes, 255 for "unknown", or -1 for a value that
    must not occur. Value 255 means "unknown" unless `positions` has it.
    """
    return tuple(({IGNORED: IGNORED} | dict(positions)).get(value, -1) for value in range(256))


def read_labels(path: Path, table: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8 positions of classes, 255 for unknown. Raises InputError for values that are not in the table."""
    values = read_index(path)
    labels = np.asarray(table, np.int16)[values]
    if (labels < 0).any():
        strange = ", ".join(map(str, np.unique(values[labels < 0])[:8]))
        raise InputError(f"{path}: the values {strange} stand for no class; is it the label map of another data set?")
    return labels.astype(np.uint8)


def pictures_with_labels(
    images: Places,
    maps: Places,
    table: tuple[int, ...] | ReadLabels,
    split: str,
    report: ReportProblem = raise_problem,
) -> dict[Path, Picture]:
    """Pictures with the label maps of the same paths. Reports twins, pictures without a map, maps without a picture.

    table: of `label_table`, or a function that reads a label map, for other numbers than grey values or palettes hold.
    """
    read = table if callable(table) else partial(read_labels, table=table)
    found = {key: paths[0] for key, paths in sorted(images.items()) if len(paths) == 1}
    twins = images.keys() - found.keys()
    for key in sorted(twins):
        report("same-name", key, f"{len(images[key])} pictures differ in their endings only; keep one")
    located = locate(maps, found)
    for key in (key for key in found if key not in located.found):
        code, problem = located.problem(key, "no label map of that name")
        report(code.replace("picture", "map"), found[key].name, problem)
    used = {*located.found.values()} | located.passed | {path for key in twins for path in maps.get(key, ())}
    for path in sorted(path for paths in maps.values() for path in paths if path not in used):
        report("map-without-picture", path.name, "no picture of that name")
    names = short_names(found)
    return {
        path: Picture(
            names[key],
            partial(read_image, path),
            split=split,
            label_map=partial(read, located.found[key]) if key in located.found else None,
        )
        for key, path in found.items()
    }
