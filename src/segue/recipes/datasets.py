"""Synthetic data sets, drawn when a recipe first needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segue.files import locked
from segue.synthetic.scenes.writer import make_scenes


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Call `make` to fill the folder (or write the file) unless it exists, and return it.

    Of several processes that call it at the same time one makes it and the others wait.
    """
    with locked(folder):
        if not folder.exists():
            print(f"drawing {folder}", flush=True)
            make(folder)
    return folder


def create_scenes_once(folder: Path) -> Path:
    """Draw the default scenes into the folder unless it exists: train 8,000, val 500, test 1,000, of 128 pixels."""
    return create_once(folder, lambda out: make_scenes(out, progress=True))
