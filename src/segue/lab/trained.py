"""Trainings of the lab's rows: those that several share, and those of one that may be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from segue.files import locked
from segue.recipes.settings import TrainSettings
from segue.training.state import begun_parts

Settings = TypeVar("Settings", bound=TrainSettings)


def train_once(settings: Settings, train: Callable[[Settings], object]) -> Path:
    """The last weights of a training: the first row that needs them trains, and goes on where it was stopped.

    Its parts, such as a quantiser, have folders with a state of their own in that of the training.
    One of folds leaves no last weights there: its recipe is called each time, and ends at once where all is trained.
    """
    out = settings.out
    with locked(out / "training"):  # the row itself holds the lock of its folder
        if not (out / "last" / "config.json").exists():
            train(replace(settings, resume=bool(begun_parts(out))))
    return out / "last"
