"""Before a training: synthetic data are drawn when a recipe first needs them, data and a run's folder are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segue.data.check_first import cached_check, check_first
from segue.data.problems import DATA_CHECK
from segue.files import locked, write_text
from segue.recipes.settings import TrainSettings
from segue.synthetic.scenes.writer import make_scenes
from segue.training.state import begun_parts
from segue.types import InputError, NotInstalled, to_install
from segue.weights import PACKAGES


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


def begin_run(settings: TrainSettings) -> None:
    """What every training does first: refuse what can't end well, then write what the data check found.

    A run that goes on keeps what was found at its beginning, as its data must be the same. Its settings are written
    by `fit`, which may still refuse them. Raises InputError as the three checks.
    """
    check_run_folder(settings)
    check_extras(settings)
    checked = check_data(settings)
    if not begun_parts(settings.out):
        write_text(settings.out / DATA_CHECK, json.dumps(checked, indent=2) + "\n")


def check_data(settings: TrainSettings) -> dict[str, Any]:
    """The data check of the splits that are trained on; see `segue.data.check_first.check_first`.

    Raises InputError for errors, unless settings.on_bad is "skip".
    """
    return check_first(settings.data, settings.checked, settings.on_bad, settings.decoded)


def count_splits(settings: TrainSettings) -> dict[str, Any]:
    """How much of everything is in each split that is trained on, or in a file of texts, from the data check."""
    stats = cached_check(settings.data, settings.checked, settings.decoded).stats
    parts = {split: counts for split, counts in stats.get("splits", {}).items() if split in settings.checked}
    parts = parts or {"texts": stats.get("text", {})}
    return {part: {key: n for key, n in counts.items() if isinstance(n, int)} for part, counts in parts.items()}


def check_run_folder(settings: TrainSettings) -> None:
    """Raise InputError where `out` holds a run, or a part of one such as a fold, and `resume` is off."""
    begun = begun_parts(settings.out)
    if begun and not settings.resume:
        raise InputError(
            f"{begun[0]}: holds the state of a run; pass --resume to go on with it, or name another folder"
        )


def check_extras(settings: TrainSettings) -> None:
    """Raise NotInstalled where a setting names an encoder or a system whose package is not there."""
    for name, value in asdict(settings).items():
        if not isinstance(value, str) or value not in PACKAGES:
            continue
        module, extra = PACKAGES[value]
        if find_spec(module) is None:
            raise NotInstalled(f"{name} {value}: needs the package {module}; {to_install(extra)}")
