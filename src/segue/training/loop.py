"""The one training loop: from a task and its batches to a folder of checkpoints.

What happens at a step is a function of (options, step) alone: the learning rate, the examples, and the random
numbers, which are seeded anew at every step (and by rank). A resumed run therefore needs the weights and the
optimizer's averages, but no random state, to continue bit for bit; and W processes train on the batches of one.

OUT/best, OUT/last       checkpoints, written by the caller's `save`
OUT/state                what --resume continues from (see state.py)
OUT/history.jsonl        the training log, and OUT/tensorboard where that is installed (see logger.py)
OUT/report/index.html    curves, settings and examples (see report.py)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, send_to_device
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from segue.files import recover_folder, replace_folder
from segue.nn.devices import autocast
from segue.options import Dtype
from segue.pages.page import RUN_REPORT
from segue.training.logger import Row, TrainingLogger, read_history
from segue.training.report import write_run_report
from segue.training.state import has_state, pack_tensors, read_state, remove_others, unpack_tensors, write_state
from segue.types import InputError

SCHEDULE = ("steps", "warmup", "evaluate_every")  # what a resumed run of more steps may change

Key = tuple[int, int]
Save = Callable[[nn.Module, Path], None]
Evaluate = Callable[[nn.Module], dict[str, float]]
Illustrate = Callable[[Path], str]


class Task(Protocol):
    """What the loop trains: a torch.nn.Module with this method.

    It may have `lr_scale`, see `_optimizer`, and `clip_apart`, beginnings of parameters' names: the gradient of each,
    and of all the rest, is clipped apart, so that none scales down the others' steps.
    """

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        """Return "loss" and any other named terms, all scalars, the same names at every call.

        "loss" is the mean over the batch. The loop averages it over processes and accumulated batches.
        """
        ...


class Batches(Protocol):
    """Where the loop takes its batches from."""

    def __len__(self) -> int:
        """Count the examples."""
        ...

    def collate(self, keys: Sequence[Key]) -> Any:
        """Make the batch of the examples (epoch, index), 0 <= index < len(self).

        A pure function of `keys`: augmentation draws from (seed, epoch, index), so a batch can be made again.
        Tensors may be in nested dicts, lists and tuples; the loop moves them to the device.
        """
        ...


@dataclass(frozen=True)
class FitOptions:
    """How to train. Raises InputError for a value out of range.

    steps: optimizer steps.
    batch_size: examples a step, over all processes and accumulated batches together.
    accumulate: forward and backward passes a step, each with its own share of the batch (micro-batch): batch norm and
    contrastive losses see that share only.
    lr, warmup: the learning rate rises linearly from `first_lr` to `lr` in `warmup` steps, then follows a cosine to
    `last_lr`.
    weight_decay: AdamW's, on weights of two or more dimensions.
    ema: decay of the moving average of the weights, in [0, 1); 0 is off.
    evaluate_every: steps between evaluations; each also saves the state.
    patience: stop after so many evaluations without gain (early stopping); 0 never stops.
    precision: "float32", "bf16" (autocast), or "auto": bf16 where that is fast (`segue.nn.devices`).
    clip_norm: largest norm of the gradient; 0 is off.
    workers: data loading processes, for each training process.
    device: "cpu", or "cuda" or "auto" for what accelerate finds: a GPU where there is one.
    """

    steps: int
    batch_size: int
    accumulate: int = 1
    lr: float = 3e-4
    weight_decay: float = 0.0
    warmup: int = 0
    first_lr: float = 0.0
    last_lr: float = 0.0
    ema: float = 0.0
    evaluate_every: int = 200
    patience: int = 0
    seed: int = 0
    precision: Dtype = "auto"
    clip_norm: float = 0.0
    workers: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "evaluate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        for name in ("lr", "first_lr", "last_lr", "weight_decay", "warmup", "patience", "seed", "clip_norm", "workers"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema: got {self.ema}, expected a decay of 0 (off) or more, below 1, for instance 0.999")
        if self.precision not in ("auto", "float32", "bf16"):
            raise InputError(f"precision: got {self.precision!r}, expected auto, float32 or bf16")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device: got {self.device!r}, expected auto, cpu or cuda")


@dataclass(frozen=True)
class FitResult:
    """The result of a run. best and best_step are None without evaluation; history: the rows of history.jsonl."""

    steps: int
    best: float | None
    best_step: int | None
    history: list[Row]


@dataclass
class Progress:
    """How far a run has come; the same on every process."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0

    def update_best(self, value: float) -> bool:
        """Record an evaluation; returns whether it is the best so far."""
        better = not math.isnan(value) and (self.best is None or value > self.best)
        if better:
            self.best, self.best_step = value, self.step
        self.evaluations_without_gain = 0 if better else self.evaluations_without_gain + 1
        return better

    def should_continue(self, options: FitOptions) -> bool:
        """False after the last step, and when `patience` evaluations in a row brought no gain."""
        return self.step < options.steps and not 0 < options.patience <= self.evaluations_without_gain


def fit(
    task: Task,
    batches: Batches,
    *,
    out: Path,
    options: FitOptions,
    save: Save,
    evaluate: Evaluate | None = None,
    monitor: str = "dice",
    about: Mapping[str, str] | None = None,
    illustrate: Illustrate | None = None,
    record: Callable[[], None] | None = None,
    resume: bool = False,
) -> FitResult:
    """Train `task` in place and write checkpoints into `out`, a folder that all processes share.

    save: writes a checkpoint of a module into the empty folder it is given.
    evaluate: metrics of a module in eval mode, without gradients, every `evaluate_every` steps and at the end.
    It runs on the main process only, so it must not use collectives. With `ema` on, it and `save` get the
    averaged module.
    monitor: the metric whose highest value is the best.
    about: further settings that a resumed run must have too, such as the network's size.
    illustrate: from the folder of the checkpoint that was kept, HTML of some examples for the report at the end.
    record: called on the main process before the first step, when nothing of a resumed run is refused any more; it is
    where settings are kept. A finished run takes no step and keeps what it has.
    resume: continue from `out`/state. The device and the number of workers and processes may differ, and there may be
    more steps, nothing else. With more steps the learning rate follows the longer schedule from where the run stands,
    so it rises once; the weights are not those of a run that had so many steps from the start.

    Afterwards `task` is in eval mode with its last weights, and torch's global random state is changed.
    Raises InputError when `out` holds a state and `resume` is off, holds none and it is on, or holds that of
    another run; FloatingPointError when the loss is not finite.
    """
    if has_state(out / "state") and not resume:
        raise InputError(f"{out}: holds the state of a run; pass --resume to go on with it, or name another folder")
    # Without `cpu`, accelerate doesn't connect the processes that torchrun started on a CPU.
    on_cpu = options.device == "cpu" or not torch.accelerator.is_available()
    accelerator = Accelerator(mixed_precision="no", cpu=on_cpu)
    module = cast(nn.Module, task).to(accelerator.device)
    average = AveragedModel(module, multi_avg_fn=_average(options.ema), use_buffers=True) if options.ema else None
    trainer = _Trainer(accelerator, module, average, options)
    metadata = {"options": asdict(options), "examples": len(batches), "monitor": monitor, "about": dict(about or {})}
    progress = _resume(out, trainer, metadata) if resume else Progress()
    loader = iter(_loader(batches, options, progress.step, accelerator))
    main, result = accelerator.is_main_process, average.module if average else module
    accelerator.wait_for_everyone()
    out.mkdir(parents=True, exist_ok=True)
    if main and record is not None and progress.should_continue(options):
        record()

    with TrainingLogger(out, progress.step, options.steps, main=main) as logger:
        while progress.should_continue(options):
            row = trainer.step(progress.step, loader)
            progress.step += 1
            evaluation_due = progress.step % options.evaluate_every == 0 or progress.step == options.steps
            if evaluation_due and evaluate:
                metrics = _evaluate(result, evaluate, monitor, main)
                row |= {f"evaluate/{name}": value for name, value in metrics.items()}
                if progress.update_best(metrics[monitor]) and main:
                    replace_folder(out / "best", partial(save, result))
                module.train()
            logger.add(row)
            logger.tell(row, monitor, progress.best, progress.best_step, evaluated=evaluation_due)
            if evaluation_due and main:
                metadata["progress"] = asdict(progress)
                write_state(out / "state", progress.step, trainer.tensors(), metadata)
                _draw_report(out)
    logger.end(monitor, progress.best, progress.best_step)
    if main:
        replace_folder(out / "last", partial(save, result.eval()))
        _draw_report(out, illustrate and partial(illustrate, out / ("last" if progress.best is None else "best")))
    module.eval()
    accelerator.wait_for_everyone()
    return FitResult(progress.step, progress.best, progress.best_step, read_history(out))


class _Trainer:
    """One optimiser step: forward and backward over the accumulated batches, update, average."""

    def __init__(
        self, accelerator: Accelerator, module: nn.Module, average: AveragedModel | None, options: FitOptions
    ) -> None:
        self.accelerator, self.module, self.average, self.options = accelerator, module, average, options
        self.model = accelerator.prepare(_Forward(module.train(), accelerator.device.type, options.precision))
        self.optimizer = _optimizer(module, options)

    def step(self, step: int, loader: Iterator[Any]) -> Row:
        """Train one step. step: its number, from 0. Returns its row of the history, where steps count from 1."""
        lr = learning_rate(step, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        torch.manual_seed(_mixed_seed(self.options.seed, step, self.accelerator.process_index))
        self.optimizer.zero_grad()
        terms = self._gradients(step, loader)
        if self.options.clip_norm:
            for parameters in _clipped_together(self.module):
                nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.module)
        return {"step": step + 1, "lr": lr} | {f"train/{name}": value for name, value in terms.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a resumed run needs, by name."""
        return pack_tensors(self.module, self.optimizer, self.average)

    def _gradients(self, step: int, loader: Iterator[Any]) -> dict[str, float]:
        """Accumulate the gradients of one step; return the terms' means over processes and batches."""
        total: Any = 0
        for part in range(1, self.options.accumulate + 1):
            batch = send_to_device(next(loader), self.accelerator.device, non_blocking=True)
            last = part == self.options.accumulate
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = self.model(batch)
                self.accelerator.backward(terms["loss"] / self.options.accumulate)
            total = total + torch.stack([term.detach().float() for term in terms.values()])
        means = self.accelerator.reduce(total / self.options.accumulate, reduction="mean").tolist()
        named = dict(zip(terms, means, strict=True))
        _check_finite(step + 1, named)
        return named


class _Forward(nn.Module):
    """The task's training step as a `forward`, which is what DistributedDataParallel wraps."""

    def __init__(self, task: nn.Module, device_type: str, precision: Dtype) -> None:
        super().__init__()
        self.task, self.device_type, self.precision = task, device_type, precision

    def forward(self, batch: Any) -> dict[str, Tensor]:
        with autocast(self.device_type, self.precision):
            return cast(Task, self.task).training_step(batch)


def learning_rate(step: int, options: FitOptions) -> float:
    """Learning rate of `step`, counted from 0: `warmup` steps of linear rise, then half a cosine."""
    if step < options.warmup:
        return options.first_lr + (options.lr - options.first_lr) * (step + 1) / options.warmup
    done = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.last_lr + (options.lr - options.last_lr) * 0.5 * (1 + math.cos(math.pi * done))


def example_keys(examples: int, seed: int, first: int, count: int) -> list[Key]:
    """`count` keys (epoch, index) from position `first` of the sequence of all epochs, one after another.

    Each epoch holds every example once, in an order that (seed, epoch) decides.
    """
    positions = (divmod(position, examples) for position in range(first, first + count))
    return [(epoch, int(_permutation(examples, seed, epoch)[place])) for epoch, place in positions]


@lru_cache(maxsize=2)
def _permutation(examples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(examples)


def _mixed_seed(*numbers: int) -> int:
    """Mix the numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _loader(batches: Batches, options: FitOptions, step: int, accelerator: Accelerator) -> DataLoader[Any]:
    """Batches of this process from `step` on: each accumulated batch is divided evenly among the processes."""
    world, rank = accelerator.num_processes, accelerator.process_index
    size, rest = divmod(options.batch_size, options.accumulate * world)
    if rest:
        raise InputError(
            f"batch_size: got {options.batch_size}, expected a multiple of accumulate x processes = "
            f"{options.accumulate} x {world}; for instance {(size + 1) * options.accumulate * world}"
        )
    if not len(batches):
        raise InputError("batches: got no example, expected one or more; check the folder and the split")
    slices = range(step * options.accumulate, options.steps * options.accumulate)
    return DataLoader(
        _Keys(),
        batch_sampler=cast(
            Any, (example_keys(len(batches), options.seed, (s * world + rank) * size, size) for s in slices)
        ),
        collate_fn=batches.collate,
        num_workers=options.workers,
        pin_memory=accelerator.device.type == "cuda",
    )


class _Keys(Dataset[Key]):
    """The identity: `collate` makes the batch of the keys."""

    def __getitem__(self, key: Key) -> Key:
        return key


def _clipped_together(module: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of each of the task's `clip_apart`, and all the rest."""
    apart: Sequence[str] = getattr(module, "clip_apart", ())
    found: dict[str | None, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        found.setdefault(next((start for start in apart if name.startswith(start)), None), []).append(parameter)
    return list(found.values())


def _optimizer(module: nn.Module, options: FitOptions) -> torch.optim.AdamW:
    """AdamW; a task's `lr_scale`, {beginning of a parameter's name: factor}, trains parts of it at another rate."""
    scales: Mapping[str, float] = getattr(module, "lr_scale", {})
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = next((scales[start] for start in scales if name.startswith(start)), 1.0)
            groups.setdefault((scale, parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(  # a state is stored in the order of the groups: matrices first
        [
            {"params": groups[key], "lr_scale": key[0], "weight_decay": options.weight_decay if key[1] else 0.0}
            for key in sorted(groups, reverse=True)
        ],
        lr=options.lr,
    )


def _average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Moving average with a lower decay at first, so that a short run forgets its first weights.

    Unlike torch's own, it copies integers instead of averaging them: an index must stay an index.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for a, b in zip(averaged, current, strict=True):
            a.lerp_(b, weight) if a.is_floating_point() else a.copy_(b)

    return update


def _evaluate(module: nn.Module, evaluate: Evaluate, monitor: str, main: bool) -> dict[str, float]:
    """Metrics of the main process, on every process, so that all take the same decisions."""
    shared: list[dict[str, float]] = [{}]
    if main:
        with torch.no_grad():
            shared = [{name: float(value) for name, value in evaluate(module.eval()).items()}]
    metrics: dict[str, float] = broadcast_object_list(shared)[0]
    if monitor not in metrics:
        raise InputError(f"monitor: got {monitor!r}, expected one of what evaluate returns: {', '.join(metrics)}")
    return metrics


def _draw_report(out: Path, illustrate: Callable[[], str] | None = None) -> None:
    """Write the run's report; whatever fails is told and doesn't stop the training, whose weights are saved already."""
    try:
        write_run_report(out)
        if illustrate is not None:
            write_run_report(out, illustrate())
    except Exception as error:  # noqa: BLE001 - a picture of a training isn't worth the training
        warnings.warn(
            f"{out / RUN_REPORT}: could not be drawn ({type(error).__name__}: {error}); the training is whole",
            stacklevel=3,
        )


def _check_finite(step: int, terms: dict[str, float]) -> None:
    if not math.isfinite(terms["loss"]):
        bad = ", ".join(f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value))
        raise FloatingPointError(
            f"step {step}: {bad}; expected finite terms; lower lr, set clip_norm, or look at that batch"
        )


def _resume(out: Path, trainer: _Trainer, metadata: dict[str, Any]) -> Progress:
    """Load the saved state into the trainer, if it is of the same run, or of its beginning."""
    tensors, saved = read_state(out / "state")
    if trainer.accelerator.is_main_process:
        remove_others(out / "state")
    ours, theirs = _comparable(metadata), _comparable(saved)
    longer = ours["steps"] > theirs["steps"]
    for name, value in ours.items():
        if longer and name in SCHEDULE:
            continue
        if value == theirs.get(name):
            continue
        if name not in theirs:
            raise InputError(
                f"{name}: got {value}, but the run in {out} has no such setting: it is of an earlier Segue or another "
                "recipe; finish it with that, or train into another folder"
            )
        raise InputError(
            f"{name}: got {value}, but the run in {out} has {theirs[name]}; "
            "resume it with its own value, or train into another folder"
        )
    unpack_tensors(tensors, trainer.module, trainer.optimizer, trainer.average)
    recover_folder(out / "best")
    progress = Progress(**saved["progress"])
    if longer and trainer.accelerator.is_main_process:
        warnings.warn(
            f"{out}: {ours['steps']} steps in the place of {theirs['steps']}: from step {progress.step} on the "
            "learning rate follows the longer schedule, so it rises once",
            stacklevel=3,
        )
    return replace(progress, evaluations_without_gain=0) if longer else progress


def _comparable(metadata: dict[str, Any]) -> dict[str, Any]:
    """What must not change when a run is resumed; the number of workers and the device may."""
    options = {name: value for name, value in metadata["options"].items() if name not in ("workers", "device")}
    shared = {"examples": metadata["examples"], "monitor": metadata["monitor"]}
    return {**metadata.get("about", {}), **options, **shared}
