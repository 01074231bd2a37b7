"""The embedded data sets, drawn where a recipe first needs them."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.synthetic.scenes.writer import make_scenes


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time, of those that ask for the same folder, which need not be there yet."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let `make` fill the folder if it is not there; processes that ask together make it once."""
    with alone(folder):
        if not folder.exists():
            print(f"drawing {folder}", flush=True)
            make(folder)
    return folder


def scenes_once(folder: Path) -> Path:
    """The default scenes: 8,000 to train, 500 and 1,000 to score, at 128 pixels."""
    return made_once(folder, lambda out: make_scenes(out, progress=True))


def given_or_scenes(data: Path, work: Path) -> Path:
    """The data that a table was given, or else the default scenes, drawn once for the rows of all tables.

    data: the current folder where none was given. work: the row's folder, two below the one where the scenes lie.
    """
    return scenes_once(work.parents[1] / "data-scenes") if data == Path() else data
