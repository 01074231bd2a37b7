"""The checkpoint folders of models, and the metadata in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from segue.configs import read_json
from segue.methods.checkpoint import checkpoint_in
from segue.options import Dtype, check_value
from segue.types import InputError
from segue.weights import CONFIG, bundled, resolve_weights

ENSEMBLE = "ensemble.json"
FLOAT32_ONLY = ("cocu", "crossmodal", "sgdiff")  # methods whose networks bf16 makes no faster, as small as they are
MODEL_TYPES = {"groupvit": "cocu"}  # of transformers' config.json -> our method


def find(name_or_path: str | Path) -> Path:
    """The checkpoint folder of a bundled name, a path or a hub id owner/name[@revision], which is fetched.

    Of a training's run folder it is best/, or last/ where there is no best.
    Raises InputError that lists the bundled names, and when the hub has no such repository.
    """
    return checkpoint_in(resolve_weights(name_or_path).folder())


def members(folder: Path) -> list[Path]:
    """The checkpoint folder itself, or those of an ensemble (a folder of folds).

    Raises InputError for an ensemble.json that can't be read, or names no folders beside it.
    """
    if not (folder / ENSEMBLE).exists():
        return [folder]
    names: Any = read_json(folder / ENSEMBLE).get("members")
    check_value(f"{folder / ENSEMBLE}: members", names, Annotated[tuple[str, ...], MinLen(1)])
    if outside := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise InputError(f"{folder / ENSEMBLE}: {outside[0]!r:.60} is not the name of a folder below it")
    return [folder / name for name in names]


def method_of(folder: Path) -> str | None:
    """The method that a checkpoint folder names, or that reads its `model_type` of transformers; None when neither."""
    try:
        config = read_json(members(folder)[0] / CONFIG)
    except InputError:
        return None  # the loader raises an error that says what is wrong
    method, model_type = config.get("method"), config.get("model_type")
    if isinstance(method, str) and method:
        return method
    return MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None


def check_dtype(method: str | None, dtype: Dtype) -> None:
    """Raise InputError for bf16 of a method that computes in float32 only."""
    check_value("dtype", dtype, Dtype)
    if method in FLOAT32_ONLY and dtype == "bf16":
        raise InputError(f"dtype: got bf16, but models of the method {method} compute in float32; leave it out")


def is_synthetic(folder: Path) -> bool:
    """Whether a bundled model learned from synthetic pictures only, of scenes or of chests."""
    return folder in bundled().values() and folder.name.endswith(("-scenes", "-chest"))


def about(folder: Path) -> dict[str, str]:
    """How a checkpoint, or the first member of an ensemble, was trained: method, recipe and its settings, as text."""
    config = read_json(members(folder)[0] / CONFIG)
    own = config.get("segue")
    settings = config.get("about") or (own.get("about") if isinstance(own, dict) else None) or {}
    check_value(f"{folder}: about", settings, dict)
    return {"method": str(method_of(folder))} | {key: str(value) for key, value in settings.items()}
