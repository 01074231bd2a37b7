"""The checkpoint folders of models, and the metadata in them."""

from __future__ import annotations

import json
from pathlib import Path

from segue.methods.checkpoint import checkpoint_in
from segue.nn.devices import check_device
from segue.weights import CONFIG, resolve_weights

ENSEMBLE = "ensemble.json"
MODEL_TYPES = {"groupvit": "cocu"}  # of transformers' config.json -> our method


def find(name_or_path: str | Path, device: str = "cpu") -> Path:
    """The checkpoint folder of a bundled name, a path or a hub id owner/name[@revision], which is fetched.

    Of a training's run folder it is best/, or last/ where there is no best. device: is checked beforehand.
    Raises InputError that lists the bundled names, when the hub has no such repository, and for a device that is not
    there.
    """
    check_device(device)
    return checkpoint_in(resolve_weights(name_or_path).folder())


def members(folder: Path) -> list[Path]:
    """The checkpoint folder itself, or those of an ensemble (a folder of folds)."""
    if not (folder / ENSEMBLE).exists():
        return [folder]
    return [folder / name for name in json.loads((folder / ENSEMBLE).read_text())["members"]]


def method_of(folder: Path) -> str | None:
    """The method that a checkpoint folder names, or that reads its `model_type` of transformers; None when neither."""
    try:
        config = json.loads((members(folder)[0] / CONFIG).read_text())
    except (OSError, ValueError):
        return None  # the loader raises an error that says what is wrong
    if not isinstance(config, dict):
        return None
    return config.get("method") or MODEL_TYPES.get(config.get("model_type", ""))


def about(folder: Path) -> dict[str, str]:
    """How a checkpoint, or the first member of an ensemble, was trained: method, recipe and its settings, as text."""
    config = json.loads((members(folder)[0] / CONFIG).read_text(encoding="utf-8"))
    settings = config.get("about") or config.get("recipe") or config.get("segue", {}).get("about") or {}
    return {"method": str(method_of(folder))} | {key: str(value) for key, value in settings.items()}
