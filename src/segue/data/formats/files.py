"""What the readers share: how a problem is told, files of JSON, listings, and label maps.

A reader calls `wrong(code, name, message)` for each thing of a data set that can't be used, and goes on without it.
`stop`, which is the default, raises instead, so that nothing is lost in silence.
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

Wrong = Callable[[str, str, str], None]
SPLITS = ("train", "val", "test")
IGNORED = 255


def stop(code: str, name: str, message: str) -> None:
    """Tell a problem by raising InputError."""
    raise InputError(f"{name}: {message}")


@contextmanager
def expecting(path: Path | str, what: str) -> Iterator[None]:
    """Tell what goes wrong inside as one InputError: `path` is not laid out as `what`."""
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


def folder_of(*places: Path) -> Path | None:
    """The first of the places that is a folder."""
    return next((place for place in places if place.is_dir()), None)


def table_of(positions: Mapping[int, int]) -> tuple[int, ...]:
    """What each of the 256 values of a label map stands for: a position in the classes, 255 for "not known", or -1 for
    a value that must not occur. Value 255 means "not known" unless `positions` tells otherwise.
    """
    return tuple(({IGNORED: IGNORED} | dict(positions)).get(value, -1) for value in range(256))


def read_labels(path: Path, table: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) uint8 positions of classes, 255 where nothing is known. Raises InputError for values not in the table."""
    values = read_index(path)
    labels = np.asarray(table, np.int16)[values]
    if (labels < 0).any():
        strange = ", ".join(map(str, np.unique(values[labels < 0])[:8]))
        raise InputError(f"{path}: the values {strange} stand for no class; is it the label map of another data set?")
    return labels.astype(np.uint8)


def labelled(
    images: Mapping[str, Path], maps: Mapping[str, Path], table: tuple[int, ...], split: str, wrong: Wrong = stop
) -> list[Picture]:
    """Pictures with their label maps, both by the name that they share; tells maps without a picture."""
    for name in sorted(maps.keys() - images.keys()):
        wrong("map-without-picture", maps[name].name, "no picture of that name")
    return [
        Picture(
            name,
            partial(read_image, path),
            split=split,
            label_map=partial(read_labels, maps[name], table) if name in maps else None,
        )
        for name, path in sorted(images.items())
    ]
