"""One checkpoint format for every method: a folder with config.json, model.safetensors and, if any, a tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segue.files import replace_folder
from segue.types import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def bundled() -> dict[str, Path]:
    """The checkpoints that ship inside the package, by name."""
    home = Path(str(resources.files("segue"))) / "checkpoints"
    return {p.name: p for p in sorted(home.iterdir()) if (p / CONFIG).exists()} if home.is_dir() else {}


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


def kept_in(folder: Path) -> Path:
    """The checkpoint in a training's run folder, its best/ or else its last/; any other folder as it is."""
    if (folder / CONFIG).exists():
        return folder
    return next((part for name in ("best", "last") if ((part := folder / name) / CONFIG).exists()), folder)


def read_config(folder: Path, methods: list[str], parts: Sequence[str] = ()) -> dict[str, Any]:
    """The config.json of a checkpoint whose method is one of `methods`. parts: what it must hold besides."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
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
    """The weights of a checkpoint. A pickle is never opened: it can run whatever its maker wrote into it."""
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
