"""The data of a table's rows: what `--data` gave, or the default scenes."""

from __future__ import annotations

from pathlib import Path

from segue.lab.engine import Work
from segue.recipes.datasets import create_scenes_once


def given_or_default_scenes(work: Work) -> Path:
    """The scenes of `--data`, or else the default ones, drawn once for the rows of all tables."""
    return work.data if work.data is not None else create_scenes_once(work.shared / "data-scenes")
