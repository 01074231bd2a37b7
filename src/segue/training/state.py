"""Resumable training state (weights, optimizer, EMA), written atomically: a folder for each saved step.

    OUT/state/current                             the name of the valid folder, replaced atomically
    OUT/state/step-00000200/tensors.safetensors   task, optimizer and averaged weights
    OUT/state/step-00000200/state.json            metadata: step, best value, options

A kill at any instruction leaves either the old state valid or the new one: a folder that `current` does not
name is ignored when reading and deleted by the next save. Nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from segue.files import empty_folder, save_tensors, write_text
from segue.types import InputError

Metadata = dict[str, Any]


def has_state(folder: Path) -> bool:
    """Whether a complete state can be read from `folder`."""
    return (folder / "current").is_file()


def begun_parts(out: Path) -> list[Path]:
    """The folders with a state in that of a run: `out` itself, and those of parts such as a fold or a quantiser."""
    return [state.parent for state in (out / "state", *sorted(out.glob("*/state"))) if has_state(state)]


def write_state(folder: Path, step: int, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write the state of `step`, make it the valid one, delete the others. metadata: plain JSON."""
    new = folder / f"step-{step:08d}"
    if has_state(folder) and _current(folder) == new:
        return
    empty_folder(new)
    save_tensors(
        {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()},
        new / "tensors.safetensors",
    )
    (new / "state.json").write_text(json.dumps(metadata, indent=1))
    write_text(folder / "current", new.name + "\n")
    remove_others(folder)


def remove_others(folder: Path) -> None:
    """Delete the states that are not the valid one: older ones, and one whose writing was stopped."""
    for other in folder.glob("step-*"):
        if other != _current(folder):
            shutil.rmtree(other)


def read_state(folder: Path) -> tuple[dict[str, Tensor], Metadata]:
    """Read the valid state: its tensors (on the CPU) and its metadata.

    Raises InputError when `folder` holds none.
    """
    if not has_state(folder):
        raise InputError(
            f"{folder}: there is no saved state to resume from; start the run without --resume, "
            "or name the folder of a run that was interrupted after its first evaluation"
        )
    return load_file(_current(folder) / "tensors.safetensors"), read_metadata(folder)


def read_metadata(folder: Path) -> Metadata:
    """The metadata of the valid state, without its tensors; empty where `folder` holds no state."""
    return json.loads((_current(folder) / "state.json").read_text()) if has_state(folder) else {}


def pack_tensors(task: nn.Module, optimizer: Optimizer, average: nn.Module | None) -> dict[str, Tensor]:
    """All tensors of a run under one flat set of names: task.*, average.*, optimizer.INDEX.*."""
    tensors = {f"task.{name}": t for name, t in task.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": t for name, t in average.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in slots.items()}
    return tensors


def unpack_tensors(
    tensors: Mapping[str, Tensor], task: nn.Module, optimizer: Optimizer, average: nn.Module | None
) -> None:
    """Load the tensors of `pack_tensors`, in place.

    Raises InputError when they belong to another model.
    """
    try:
        task.load_state_dict(_with_prefix("task.", tensors))
        if average is not None:
            average.load_state_dict(_with_prefix("average.", tensors))
    except RuntimeError as error:
        raise InputError(
            "the saved state is of another model than the one to train; build it as the first run did, "
            f"or train into another folder. {error}"
        ) from error
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _with_prefix("optimizer.", tensors).items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _current(folder: Path) -> Path:
    return folder / (folder / "current").read_text().strip()


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
