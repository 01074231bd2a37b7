"""Folders of the package `datasets` (`save_to_disk`): rows with a picture and, where there is one, its captions.

The Arrow files are mapped into memory and read by pyarrow; a picture is loaded from its row. The
package's documentation has the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.files import SPLITS, expecting, read_json, split_of
from segue.data.images import decode_image, read_image
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import read_texts
from segue.types import InputError, NotInstalled, Picture, PictureSet, to_install

EXPECTED = "dataset_info.json with state.json, or dataset_dict.json (`save_to_disk` of datasets)"
STATE, INFO, PARTS = "state.json", "dataset_info.json", "dataset_dict.json"
CAPTIONS = ("captions", "caption", "text", "sentences", "sentence")  # columns; the first that is there is read


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a saved DatasetDict, by its names, or train for a saved Dataset."""
    here = _folders(root)
    return tuple(split for split in SPLITS if split in here)


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split. Raises NotInstalled where pyarrow is missing, and InputError where no column holds the pictures."""
    pictures = []
    for folder in _folders(root).get(split, []):
        image, caption, others = _columns(folder)
        if others:
            report("unused-members", folder.name, f"columns that are not read: {', '.join(others)}")
        rows = enumerate(_rows(folder))
        for number, (path, row) in rows:
            with reporting(report, "bad-row", f"{folder.name}/{number}"):
                texts = () if caption is None else read_texts(_table(path)[caption][row].as_py(), caption)
                load_it = partial(load, path, row, image)
                pictures.append(Picture(f"{folder.name}/{number}", load_it, None, split, texts))
    return PictureSet(pictures)


def load(path: Path, row: int, column: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of the picture in a row. Raises InputError when it can't be read, or lies outside the folder."""
    where, found = f"{path}, row {row}", _table(path)[column][row].as_py()
    with expecting(where, f"a picture in the column {column!r}"):
        if found["bytes"] is not None:
            return decode_image(found["bytes"], where)
        named = Path(found["path"])
    if named.is_absolute() or ".." in named.parts:
        raise InputError(f"{where}: its picture is named by a path outside the folder, {named}; save it with its bytes")
    return read_image(path.parent / named)


def _folders(root: Path) -> dict[str, list[Path]]:
    """The folders of saved Datasets by split."""
    if (root / PARTS).is_file():
        with expecting(root / PARTS, '{"splits": [NAME, ...]}'):
            found: dict[str, list[Path]] = {}
            for name in read_json(root / PARTS)["splits"]:
                found.setdefault(split_of(Path(name)), []).append(root / name)
            return found
    return {"train": [root]} if (root / STATE).is_file() and (root / INFO).is_file() else {}


def _columns(folder: Path) -> tuple[str, str | None, list[str]]:
    """The columns of the pictures and of their captions, and others. Raises InputError unless one is of pictures."""
    with expecting(folder / INFO, '"features" with the type of each column'):
        features = read_json(folder / INFO)["features"]
        images = [name for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "Image"]
    if len(images) != 1:
        raise InputError(
            f"{folder}: {len(images)} columns of pictures ({', '.join(images) or 'none'}), expected one; keep one "
            "by select_columns, or make one by cast_column(NAME, datasets.Image())"
        )
    caption = next((name for name in CAPTIONS if name in features), None)
    return images[0], caption, sorted(features.keys() - {images[0], caption})


def _rows(folder: Path) -> Iterator[tuple[Path, int]]:
    """(Arrow file, row in it) of each row of a saved Dataset."""
    with expecting(folder / STATE, '"_data_files" with the names of the Arrow files'):
        files = [folder / Path(one["filename"]).name for one in read_json(folder / STATE)["_data_files"]]
    for path in files:
        yield from ((path, row) for row in range(_table(path).num_rows))


@lru_cache(maxsize=64)
def _table(path: Path) -> Any:
    """An Arrow file, mapped into memory."""
    try:
        import pyarrow
    except ImportError as error:
        raise NotInstalled(f"{path}: saved datasets need pyarrow, which is missing: {to_install('cluster')}") from error
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as Arrow ({error}); copy it again") from error
