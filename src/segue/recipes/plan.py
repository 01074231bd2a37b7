"""What a training will take, in hours and in memory, measured on a few steps of it: `segue data plan`.

A step of n pictures takes a + b n seconds and holds c + d n bytes. Both lines are drawn through two small steps, of 2
and 6 pictures, or of 2 and 1 where 6 need more memory than there is, and read off at the batch that a process will
have. What is held is counted, not looked up: the weights, their gradients and the optimiser's averages, and what the
forward pass keeps for the backward pass; so it is the same on any machine.

A recipe joins by a line in PLANNERS: a function from its settings to a `Workload`. `segue train RECIPE --dry-run` tells
the plan for the settings that it is given, beside what the data check finds.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from segue.nn.devices import autocast, resolve_device
from segue.options import Dtype
from segue.recipes import RECIPES
from segue.recipes.datasets import check_data, check_extras, check_run_folder, count_splits
from segue.recipes.settings import TrainSettings
from segue.types import InputError

PLANNERS: dict[str, str] = {  # recipe -> function that plans it
    "cocu": "segue.recipes.cocu_plan:plan_cocu",
    "cocu-cc3m": "segue.recipes.cocu_plan:plan_cocu",
    "cocu-cc12m": "segue.recipes.cocu_plan:plan_cocu",
    "cocu-photos": "segue.recipes.cocu_plan:plan_cocu",
    "cocu-scenes": "segue.recipes.cocu_plan:plan_cocu",
    "crossmodal": "segue.recipes.crossmodal_plan:plan_crossmodal",
    "crossmodal-cocostuff": "segue.recipes.crossmodal_plan:plan_crossmodal",
    "crossmodal-scenes": "segue.recipes.crossmodal_plan:plan_crossmodal",
    "reclmis": "segue.recipes.reclmis:plan_reclmis",
    "reclmis-chest": "segue.recipes.reclmis:plan_reclmis",
    "reclmis-mosmed": "segue.recipes.reclmis_paper:plan_mosmed",
    "reclmis-qata": "segue.recipes.reclmis_paper:plan_qata",
    "sgdiff": "segue.recipes.sgdiff_plan:plan_sgdiff",
    "sgdiff-coco": "segue.recipes.sgdiff_plan:plan_sgdiff",
    "sgdiff-scenes": "segue.recipes.sgdiff_plan:plan_sgdiff",
    "syntic": "segue.recipes.syntic_plan:plan_syntic",
    "syntic-cc3m-zeroshot": "segue.recipes.syntic_plan:plan_syntic",
    "syntic-coco": "segue.recipes.syntic_plan:plan_syntic",
    "syntic-flickr30k": "segue.recipes.syntic_plan:plan_syntic",
    "syntic-photos": "segue.recipes.syntic_plan:plan_syntic",
    "syntic-scenes": "segue.recipes.syntic_plan:plan_syntic",
}
DRAWN_FIRST = (
    "cocu-scenes",
    "crossmodal-scenes",
    "dual-encoder-scenes",
    "reclmis-chest",
)  # recipes that draw their data
SIZES = (2, 6)  # pictures of the two steps that are measured
TRIES = 2  # of each; the faster one counts
ROOM = 1.5  # of the memory that the backward pass needs, for what is held for a moment


class Workload(NamedTuple):
    """A training. examples: pictures of an epoch. batch_size: over all processes. averaged: a moving average is kept.
    task: what the loop trains. batch: makes the batch of the first n examples. chosen: settings that were read off the
    data, and by what.
    """

    examples: int
    steps: int
    batch_size: int
    averaged: bool
    task: nn.Module
    batch: Callable[[int], Any]
    chosen: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default, which nobody changes


def plan_training(
    recipe: str, data: Path, *, processes: int = 1, workers: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """Measure a recipe with its own settings on a data set.

    processes: that will train together, each on a device like this one. workers: that make batches for each of them; 0:
    the process itself does. device: on which the steps are measured.
    Returns what the command prints: hours of all steps, seconds of one, gigabytes of a process's device.
    Raises InputError for a recipe without a planner, data that can't be used, and a batch that can't be divided.
    """
    if recipe not in PLANNERS:
        raise InputError(f"recipe {recipe!r}: no plan can be made of it; expected one of {', '.join(PLANNERS)}")
    settings = replace(recipe_settings(recipe), data=data)
    return {"recipe": recipe} | _plan(recipe, settings, processes, workers, device)


def recipe_settings(recipe: str) -> TrainSettings:
    """The settings that are the recipe."""
    found: TrainSettings = signature(resolve_name(RECIPES[recipe])).parameters["settings"].default
    return found


def dry_run(recipe: str, settings: TrainSettings) -> dict[str, Any]:
    """Look at a training before it is started: what the data check finds, and the plan where the recipe has a planner.

    Nothing is written into the run's folder. Returns what `segue train RECIPE --dry-run` prints.
    Raises InputError for what the training would refuse at its start.
    """
    device = resolve_device(settings.device)
    check_run_folder(settings)
    check_extras(settings)
    found = {"recipe": recipe, "out": str(settings.out), "data": str(settings.data), "device": device}
    if recipe in DRAWN_FIRST and not settings.data.exists():
        return found | {"data": f"{settings.data}, which is drawn first", "steps": settings.steps}
    if not settings.data.exists():
        raise InputError(f"{settings.data}: no such folder or file; name the data by --data")
    checked = check_data(settings)
    found |= count_splits(settings) | {kind: checked[kind] or "none" for kind in ("errors", "warnings")}
    if recipe not in PLANNERS:
        plan = {"steps": settings.steps, "batch_size": settings.batch_size}
        return found | plan | {"not_measured": "hours and memory, for which this recipe has no planner"}
    return found | _plan(recipe, settings, 1, settings.workers, device)


def _plan(recipe: str, settings: TrainSettings, processes: int, workers: int, device: str) -> dict[str, Any]:
    work: Workload = resolve_name(PLANNERS[recipe])(settings)
    share, rest = divmod(work.batch_size, processes)
    if rest:
        raise InputError(
            f"processes: got {processes}, by which the batch of {work.batch_size} pictures can't be divided"
        )
    loading, computing, held = _measure(work, device, settings.precision)
    step = max(computing(share), loading(share) / max(workers, 1) if workers else computing(share) + loading(share))
    return {
        **work.chosen,
        "pictures": work.examples,
        "steps": work.steps,
        "batch_of_a_process": share,
        "seconds_a_step": round(step, 3),
        "hours": round(step * work.steps / 3600, 2),
        "seconds_to_load_a_batch": round(loading(share), 3),
        "memory_gb": round((_weights(work) + held(share)) / 1e9, 3),
        "measured_on": f"{device}, {torch.get_num_threads()} threads" if device == "cpu" else device,
        "not_counted": "validation, the optimiser, what a step holds for a moment, and the exchange between processes",
    }


Line = Callable[[int], float]


def _line(sizes: list[int], values: list[float]) -> Line:
    """The line through the values at two sizes, never falling and never below 0."""
    slope = max(0.0, (values[1] - values[0]) / (sizes[1] - sizes[0]))
    return lambda count: max(0.0, values[0] + slope * (count - sizes[0]))


def _measure(work: Workload, device: str, precision: Dtype) -> tuple[Line, Line, Line]:
    """Seconds to make a batch, seconds to train on it, and bytes kept for the backward pass, by its pictures."""
    task = work.task.to(device).train()
    sizes, (few, more) = list[int](), SIZES
    loading, computing, held = list[float](), list[float](), list[float]()
    for count in (few, more):
        if held and ROOM * held[0] * more / few > _free_memory(device):
            count = few // 2 or more
        sizes.append(count)
        start = time.perf_counter()
        batch = send_to_device(work.batch(count), device)
        loading.append(time.perf_counter() - start)
        computing.append(min(_seconds(task, batch, device, precision) for _ in range(TRIES)))
        held.append(float(_kept(task, batch, precision)))
    return _line(sizes, loading), _line(sizes, computing), _line(sizes, held)


def _free_memory(device: str) -> float:
    """Bytes that a device has left; of a CPU where the system tells, else infinity."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    told = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", told.read_text()) if told.exists() else None
    return math.inf if found is None else 1024.0 * int(found[1])


def _seconds(task: nn.Module, batch: Any, device: str, precision: Dtype) -> float:
    start = time.perf_counter()
    _loss(task, batch, precision).backward()
    if device != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def _loss(task: Any, batch: Any, precision: Dtype) -> Tensor:
    kind = next(task.parameters()).device.type
    with autocast(kind, precision):  # as the loop does
        loss: Tensor = task.training_step(batch)["loss"]
    return loss


def _kept(task: nn.Module, batch: Any, precision: Dtype) -> int:
    """Bytes of the tensors that a forward pass keeps, the weights left out."""
    own = {p.untyped_storage().data_ptr() for p in task.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(task, batch, precision)  # held until all is counted, so that no address is used twice
    total = sum(kept.values())
    del loss
    return total


def _weights(work: Workload) -> int:
    """Bytes of the weights, their gradients, AdamW's two averages, and the moving average."""
    own = sum(p.numel() * p.element_size() for p in work.task.parameters())
    return own * (5 if work.averaged else 4)
