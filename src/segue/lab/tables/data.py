"""The data of a table's rows: what `--data` gave, checked, or the default scenes."""

from __future__ import annotations

from pathlib import Path

from segue.lab.engine import Work
from segue.recipes.datasets import create_scenes_once
from segue.types import InputError


def given_data(work: Work, expected: str, *parts: str) -> Path:
    """The folder of `--data`, which must be there and hold the folders `parts`.

    expected: what it should be, for the error. Raises InputError when no such folder was given.
    """
    if work.data is None or not all((work.data / part).is_dir() for part in (".", *parts)):
        raise InputError(f"--data {work.data}: expected {expected}")
    return work.data


def given_or_default_scenes(work: Work) -> Path:
    """The scenes of `--data`, or else the default ones, drawn once for the rows of all tables."""
    return work.data if work.data is not None else create_scenes_once(work.shared / "data-scenes")
