"""What a run was made with, as its checkpoint tells it and as a run that is resumed must have it too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from segue.types import InputError

LOCAL = ("out", "data", "cache", "resume", "workers", "on_bad", "half")  # of this machine, or of no weight


def facts_of(settings: Any, *local: str) -> dict[str, str]:
    """The settings of a recipe by name, as text. local: further ones that are left out, such as paths."""
    return {name: str(value) for name, value in asdict(settings).items() if name not in (*LOCAL, *local)}


def data_of(folder: Path) -> dict[str, str]:
    """What a checkpoint tells of its data: the name of their folder or file, never where they are."""
    return {"data": folder.resolve().name}


def every(steps: int, evaluations: int) -> int:
    """After how many steps a run of `steps` is evaluated, to be so `evaluations` times."""
    if evaluations < 1:
        raise InputError(f"evaluations: got {evaluations}, expected 1 or more")
    return max(1, steps // evaluations)
