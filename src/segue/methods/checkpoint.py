"""One checkpoint format for every method: a folder with config.json, model.safetensors and, if any, a tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segue.files import replace_folder
from segue.types import InputError
from segue.weights import CONFIG, WEIGHTS

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
T = TypeVar("T")


def write_checkpoint(
    folder: Path,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    extra: Path | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the folder whole or not at all; one that is there is replaced. Files of the folder `extra` come along.

    half: store floating-point tensors as float16, in half the space; integers stay integers.
    """

    def write(fresh: Path) -> None:
        if extra is not None:
            shutil.copytree(extra, fresh, dirs_exist_ok=True)
        save_file({name: _stored(tensor, half) for name, tensor in tensors.items()}, fresh / WEIGHTS)
        (fresh / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        # The mode of `extra` comes along, and safetensors writes for the owner alone: a server may be another user.
        fresh.chmod(0o755)
        for file in fresh.iterdir():
            file.chmod(0o644)

    replace_folder(folder, write)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.half() if half and tensor.is_floating_point() else tensor
    return tensor.detach().cpu().contiguous()


def checkpoint_in(folder: Path) -> Path:
    """The checkpoint in a training's run folder, its best/ or else its last/; any other folder as it is."""
    if (folder / CONFIG).exists():
        return folder
    return next((part for name in ("best", "last") if ((part := folder / name) / CONFIG).exists()), folder)


def read_config(folder: Path, methods: Sequence[str], parts: Sequence[str] = ()) -> dict[str, Any]:
    """The config.json of a checkpoint.

    methods: those of which it must be. parts: what it must hold besides.
    Raises InputError when it is missing, unreadable, of another method or lacks a part.
    """
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no {CONFIG} there; a checkpoint is a folder with it and {WEIGHTS}") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); copy the checkpoint again") from error
    method = config.get("method") if isinstance(config, dict) else None
    if method not in methods:
        raise InputError(
            f"{folder}: a checkpoint of the method {method!r}, expected one of {', '.join(methods)}; name another model"
        )
    if missing := [part for part in parts if part not in config]:
        raise InputError(f"{path}: lacks {', '.join(missing)}; copy the checkpoint again")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint. A pickle is never opened: it can run whatever its maker wrote into it.

    Raises InputError when they are missing, broken or in a pickle.
    """
    path = folder / WEIGHTS
    if not path.exists() and (pickles := [file.name for file in sorted(folder.glob("*")) if file.suffix in PICKLES]):
        raise InputError(
            f"{folder}: the weights are in {pickles[0]}, a pickle, which can run code and is never opened; if you "
            f"trust its maker, write its tensors to {WEIGHTS} by safetensors.torch.save_file"
        )
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError, OSError) as error:
        size = f"{path.stat().st_size} bytes" if path.exists() else "missing"
        raise InputError(f"{path}: weights can't be read ({size}: {error}); copy the checkpoint again") from error


def dataclass_from_json(kind: type[T], values: Any, where: str | Path) -> T:
    """A dataclass from the JSON object that `dataclasses.asdict` made; lists become tuples.

    where: the folder, to begin the message with. Raises InputError for unknown or missing fields.
    """
    known: Sequence[Any] = fields(kind)  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise InputError(f"{where}: {CONFIG} has a {type(values).__name__} for {kind.__name__}, expected an object")
    if unknown := sorted(set(values) - {field.name for field in known}):
        raise InputError(
            f"{where}: {CONFIG} has {', '.join(unknown)}, which this version of Segue doesn't know; update it"
        )
    required = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in required if name not in values]:
        raise InputError(f"{where}: {CONFIG} lacks {', '.join(missing)}; copy the checkpoint again")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def fill_module(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path, unused: Sequence[str] = ()
) -> None:
    """Load a module's state dict, whatever the floating-point type that it was stored in.

    where: the folder, to begin the message with. unused: beginnings of the names that the module need not have.
    Raises InputError that names a missing tensor, one too many, or one of another shape.
    """
    wanted = module.state_dict()
    if missing := sorted(set(wanted) - set(tensors)):
        raise InputError(
            f"{where}: the weights lack {len(missing)} tensors, such as {missing[0]}; copy the checkpoint again"
        )
    if odd := sorted(name for name in set(tensors) - set(wanted) if not name.startswith(tuple(unused))):
        raise InputError(
            f"{where}: the weights have {len(odd)} tensors too many, such as {odd[0]}; {CONFIG} describes another model"
        )
    if odd := sorted(name for name, value in wanted.items() if value.shape != tensors[name].shape):
        got, expected = tuple(tensors[odd[0]].shape), tuple(wanted[odd[0]].shape)
        raise InputError(
            f"{where}: {odd[0]} has shape {got}, {CONFIG} describes {expected}; the two files don't belong together"
        )
    module.load_state_dict({name: tensors[name] for name in wanted})
