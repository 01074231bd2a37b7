"""Trainings that rows of the lab share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from segue.files import locked
from segue.recipes.settings import TrainSettings
from segue.training.state import has_state

Settings = TypeVar("Settings", bound=TrainSettings)


def train_once(settings: Settings, train: Callable[[Settings], object]) -> Path:
    """The last weights of a training: the first row that needs them trains, and goes on where it was stopped."""
    with locked(settings.out):
        if not (settings.out / "last" / "config.json").exists():
            train(replace(settings, resume=has_state(settings.out / "state")))
    return settings.out / "last"
