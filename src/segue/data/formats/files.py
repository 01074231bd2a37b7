"""What the readers share: reporting of problems, JSON files, listings, and label maps.

A reader calls `report(code, name, message)` for each entry of a data set that can't be used, and leaves it out. The
default, `raise_problem`, raises instead, so that nothing is left out unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.images import list_pictures, read_image, read_index
from segue.types import InputError, Picture

ReportProblem = Callable[[str, str, str], None]
SPLITS = ("train", "val", "test")
IGNORED = 255


def raise_problem(code: str, name: str, message: str) -> None:
    """Report a problem by raising InputError."""
    raise InputError(f"{name}: {message}")


@contextmanager
def expecting(path: Path | str, what: str) -> Iterator[None]:
    """Turn an error inside into an InputError: `path` is not laid out as `what`. An InputError stays as it is."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not laid out as expected ({missing}); expected {what}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises InputError that names the file when it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read as JSON ({error}); copy or export it again") from error


def pictures_by_name(folder: Path) -> dict[str, Path]:
    """File name -> path of the pictures in a folder and the folders below it; empty when there is no such folder."""
    return {path.name: path for path in list_pictures(folder, deep=True)}


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """File name without its ending -> path, as `pictures_by_name`."""
    return {path.stem: path for path in list_pictures(folder, deep=True)}


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
    images: Mapping[str, Path],
    maps: Mapping[str, Path],
    table: tuple[int, ...],
    split: str,
    report: ReportProblem = raise_problem,
) -> list[Picture]:
    """Pictures with the label maps of the same names. Reports maps without a picture."""
    for name in sorted(maps.keys() - images.keys()):
        report("map-without-picture", maps[name].name, "no picture of that name")
    return [
        Picture(
            name,
            partial(read_image, path),
            split=split,
            label_map=partial(read_labels, maps[name], table) if name in maps else None,
        )
        for name, path in sorted(images.items())
    ]
