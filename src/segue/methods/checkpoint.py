"""One checkpoint format for every method: a folder with config.json, model.safetensors and, if any, a tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segue.configs import read_json
from segue.files import replace_folder, replacing, save_tensors
from segue.nn.building import read_shapes, sized_by
from segue.options import check_value
from segue.types import InputError
from segue.weights import CONFIG, WEIGHTS

STEP, PACKED_FROM = "#step", 4096  # end of the name of a row's steps; how many values a matrix has that is packed
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
M = TypeVar("M", bound=nn.Module)


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
        save_tensors({name: _stored(tensor, half) for name, tensor in tensors.items()}, fresh / WEIGHTS)
        (fresh / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        # The mode of `extra` comes along, and safetensors writes for the owner alone: a server may be another user.
        fresh.chmod(0o755)
        for file in fresh.iterdir():
            file.chmod(0o644)

    replace_folder(folder, write)


def pack_checkpoint(folder: Path) -> None:
    """Store the matrices of a checkpoint in 8 bits, a quarter of float32's space, for a model that comes with Segue.

    A row's values move by less than .4% of its largest. Smaller tensors and integers stay as they are.
    Raises InputError for a folder without readable weights.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in read_tensors(folder).items():
        if tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() >= PACKED_FROM:
            stored[name], stored[name + STEP] = in_8_bits(tensor)
        else:
            stored[name] = _stored(tensor, half=True)
    with replacing(folder / WEIGHTS) as fresh:
        save_tensors(stored, fresh)
        fresh.chmod(0o644)


def in_8_bits(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, ...) floats as int8, and each row's step (N,) float16: x is about int8 x step."""
    rows = x.detach().cpu().float().flatten(1)
    step = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=1e-7).half()
    return (rows / step.float()).round().clamp(-127, 127).to(torch.int8).view(x.shape), step[:, 0]


def from_8_bits(packed: Tensor, step: Tensor) -> Tensor:
    """The float32 values of what `in_8_bits` made."""
    return packed.float() * step.float().view(-1, *[1] * (packed.dim() - 1))


def _unpacked(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """With the matrices of `pack_checkpoint` as float32. Raises InputError for steps that belong to nothing."""
    for step in [name for name in tensors if name.endswith(STEP)]:
        name, steps = step.removesuffix(STEP), tensors.pop(step)
        packed = tensors.get(name)
        if (
            packed is None
            or packed.dtype != torch.int8
            or steps.shape != packed.shape[:1]
            or not steps.is_floating_point()
        ):
            raise InputError(f"{path}: {step} is not the step of 8-bit rows; copy the checkpoint again")
        tensors[name] = from_8_bits(packed, steps)
    return tensors


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.half() if half and tensor.is_floating_point() else tensor
    return tensor.detach().cpu().contiguous()


def checkpoint_in(folder: Path) -> Path:
    """The checkpoint in a training's run folder, its best/ or else its last/; any other folder as it is."""
    if (folder / CONFIG).exists():
        return folder
    return next((part for name in ("best", "last") if ((part := folder / name) / CONFIG).exists()), folder)


def read_config(folder: Path, methods: Sequence[str], parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json of a checkpoint.

    methods: those of which it must be. parts: what it must hold besides, name to type, see
    `segue.options.check_value`; what may be None may be missing. Lists among them become tuples.
    Raises InputError when it is missing, unreadable, of another method, or a part is missing or of another type.
    """
    config = read_json(folder / CONFIG)
    method = config.get("method")
    if method not in methods:
        raise InputError(
            f"{folder}: a checkpoint of the method {method!r:.60}, expected one of {', '.join(methods)}; "
            "name another model"
        )
    parts = {**(parts or {}), "about": dict | None}
    optional = {name for name, hint in parts.items() if NoneType in get_args(hint)}
    if missing := [part for part in parts if part not in config and part not in optional]:
        raise InputError(f"{folder / CONFIG}: lacks {', '.join(missing)}; copy the checkpoint again")
    for name, hint in parts.items():
        check_value(f"{folder / CONFIG}: {name}", config.get(name), hint)
    return {name: tuple(x) if name in parts and isinstance(x, list) else x for name, x in config.items()}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint. A pickle is never opened: it can run whatever its maker wrote into it.

    Raises InputError when they are missing, broken, in a pickle, or hold NaN or infinity.
    """
    path = folder / WEIGHTS
    if not path.exists() and (pickles := [file.name for file in sorted(folder.glob("*")) if file.suffix in PICKLES]):
        raise InputError(
            f"{folder}: the weights are in {pickles[0]}, a pickle, which can run code and is never opened; if you "
            f"trust its maker, write its tensors to {WEIGHTS} by safetensors.torch.save_file"
        )
    read_shapes(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, AttributeError) as error:  # KeyError: a type that torch has not
        raise InputError(f"{path}: weights can't be read ({error}); copy the checkpoint again") from error
    if odd := [name for name, tensor in tensors.items() if not _finite(tensor)]:
        raise InputError(
            f"{path}: {len(odd)} of {len(tensors)} tensors hold NaN or infinity, such as {odd[0]}; their training "
            "diverged or the file is broken: take an earlier checkpoint"
        )
    return _unpacked(tensors, path)


def _finite(x: Tensor) -> bool:
    """Whether a tensor has no NaN and no infinity: by its sum, which takes no memory; all where that fails."""
    return not x.is_floating_point() or bool(x.sum(dtype=torch.float32).isfinite() or x.isfinite().all())


def build(make: Callable[[], M], tensors: Mapping[str, Tensor], where: str | Path) -> M:
    """The network that `make` builds, of a size that the tensors have; `fill_module` is next.

    where: the folder, to begin the message with. Raises InputError for a larger one, and what torch refuses.
    """
    try:
        with sized_by({name: tuple(tensor.shape) for name, tensor in tensors.items()}, where):
            return make()
    except InputError:
        raise
    except (ValueError, RuntimeError, ArithmeticError, IndexError) as error:  # sizes that don't go together
        raise InputError(f"{where}: {CONFIG} describes no network that can be built ({error})") from error


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
    if odd := sorted(n for n, x in wanted.items() if tensors[n].is_floating_point() != x.is_floating_point()):
        raise InputError(f"{where}: {odd[0]} has the type {tensors[odd[0]].dtype}, expected {wanted[odd[0]].dtype}")
    module.load_state_dict({name: tensors[name] for name in wanted})
