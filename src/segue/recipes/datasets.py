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
