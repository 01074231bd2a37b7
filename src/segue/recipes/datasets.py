"""Synthetic data sets, made where a recipe first needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segue.files import locked
from segue.synthetic.scenes.writer import make_scenes


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let `make` fill the folder if it is not there; processes that ask together make it once."""
    with locked(folder):
        if not folder.exists():
            print(f"drawing {folder}", flush=True)
            make(folder)
    return folder


def create_scenes_once(folder: Path) -> Path:
    """The default scenes: 8,000 to train, 500 and 1,000 to score, at 128 pixels."""
    return create_once(folder, lambda out: make_scenes(out, progress=True))


def given_or_scenes(data: Path, work: Path) -> Path:
    """The data that a table was given, or else the default scenes, drawn once for the rows of all tables.

    data: the current folder where none was given. work: the row's folder, two below the one where the scenes lie.
    """
    return create_scenes_once(work.parents[1] / "data-scenes") if data == Path() else data
