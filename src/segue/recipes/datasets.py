"""Data sets before a training: synthetic ones are drawn when a recipe first needs them, all are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.check_first import MOST_DECODED, check_first
from segue.data.problems import DATA_CHECK
from segue.files import locked, write_text
from segue.synthetic.scenes.writer import make_scenes

if TYPE_CHECKING:
    from segue.recipes.settings import TrainSettings


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


def check_data(settings: TrainSettings, *splits: str, decode_at_most: int = MOST_DECODED) -> None:
    """Refuse data with errors before anything is computed; what the check found is written into the run's folder.

    splits: train and val unless given.
    Raises InputError for errors, unless settings.on_bad is "skip".
    """
    checked = check_first(settings.data, splits or ("train", "val"), settings.on_bad, decode_at_most)
    write_text(settings.out / DATA_CHECK, json.dumps(checked, indent=2) + "\n")
