"""Where models are: bundled names and checkpoint folders."""

from __future__ import annotations

import json
from pathlib import Path

from segue.methods.checkpoint import bundled, kept_in
from segue.nn.devices import check_device
from segue.types import InputError

ENSEMBLE = "ensemble.json"
MODEL_TYPES = {"groupvit": "cocu"}  # of transformers' config.json -> our method


def find(name_or_path: str | Path, device: str = "cpu") -> Path:
    """The folder of a bundled name or of a path; of a training's run folder its best/, or last/ where there is no best.

    Raises InputError that lists the bundled names, and for a device that is not there.
    """
    check_device(device)
    here = bundled()
    folder = here.get(str(name_or_path), Path(name_or_path))
    if not folder.is_dir():
        raise InputError(
            f"model {str(name_or_path)!r}: neither a folder nor a bundled model; "
            f"bundled are: {', '.join(here) or 'none'}; a folder of yours comes from `segue train`"
        )
    return kept_in(folder)


def first(folder: Path) -> Path:
    """The checkpoint folder itself, or of a folder of folds the first."""
    return (
        folder / json.loads((folder / ENSEMBLE).read_text())["members"][0] if (folder / ENSEMBLE).exists() else folder
    )


def method_of(folder: Path) -> str | None:
    """The method that a checkpoint folder names, or that reads its `model_type` of transformers; None when neither."""
    try:
        config = json.loads((first(folder) / "config.json").read_text())
    except (OSError, ValueError):
        return None  # the loader says what is wrong with it
    if not isinstance(config, dict):
        return None
    return config.get("method") or MODEL_TYPES.get(config.get("model_type", ""))


def about(folder: Path) -> dict[str, str]:
    """What a checkpoint, or the first of a folder of folds, tells of its making: method, recipe and its settings."""
    config = json.loads((first(folder) / "config.json").read_text(encoding="utf-8"))
    told = config.get("about") or config.get("recipe") or config.get("segue", {}).get("about") or {}
    return {"method": str(method_of(folder))} | {key: str(value) for key, value in told.items()}
