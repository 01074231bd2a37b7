"""The demo's models, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from segue.api.models import find

Model = TypeVar("Model")


def loaded(load: Callable[[Path], Model], name: str | Path) -> Model:
    """The model of a bundled name or a folder, by a loader of `segue.api`, kept for the page's next part.

    Raises InputError as the loader does.
    """
    model: Model = _loaded(load, find(name))
    return model


@cache
def _loaded(load: Callable[[Path], Any], folder: Path) -> Any:
    return load(folder)
