"""What all trainings can be set to, and those settings as text: stored in the checkpoint and compared on resume."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval
from tyro.conf import arg

from segue.data.check_first import MOST_DECODED
from segue.files import write_text
from segue.nn.devices import resolve_device
from segue.options import RUN_SETTINGS, Dtype, Options, options_as_yaml
from segue.training import FitOptions
from segue.types import InputError
from segue.weights import pinned

LOCAL = ("out", "data", "cache", "resume", "workers", "device", "on_bad", "half")  # they don't change what is trained


OutFolder = Annotated[Path, arg(aliases=("-o",))]


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Options):
    """Settings that every training has, with their bounds; a recipe's own settings extend them.

    checked, decoded: splits that the data check looks at first, and of at most how many pictures it decodes them.

    Attributes:
        out: folder of the run: best/, last/, history and report.
        data: folder with the data.
        steps: optimiser steps.
        batch_size: examples in a step, over all processes.
        accumulate: micro-batches in a step; batch norm and contrastive losses see one of them at a time.
        lr: peak learning rate, reached after the warm-up (usually a tenth of the steps), then cosine to 0.
        weight_decay: weight decay of AdamW.
        clip_norm: largest norm of the gradient; 0 does not clip.
        ema: decay of the moving average of the weights, 0 for none.
        evaluations: how many times the validation split is scored; the best weights are kept.
        patience: evaluations without gain before stopping early, 0 for never.
        workers: data loading processes.
        device: "cpu", "cuda", or "auto": a GPU where there is one. Of several GPUs CUDA_VISIBLE_DEVICES chooses.
        precision: "float32", "bf16", or "auto": bf16 where that is fast, on GPUs and on CPUs with AMX or AVX512-BF16.
        seed: of weights, order and augmentation.
        on_bad: what to do with an example that can't be read: "stop" before training, or "skip" and report it.
        half: store the checkpoint as float16.
        resume: continue the run in `out`; with more steps also past its end, where the learning rate rises again.
    """

    checked: ClassVar[tuple[str, ...]] = ("train", "val")
    decoded: ClassVar[int] = MOST_DECODED

    out: OutFolder
    data: Path
    steps: Annotated[int, Ge(1)]
    batch_size: Annotated[int, Ge(1)]
    lr: Annotated[float, Ge(0)]
    weight_decay: Annotated[float, Ge(0)] = 1e-2
    accumulate: Annotated[int, Ge(1)] = 1
    clip_norm: Annotated[float, Ge(0)] = 0.0
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    evaluations: Annotated[int, Ge(1)] = 5
    patience: Annotated[int, Ge(0)] = 0
    workers: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Dtype = "auto"
    seed: Annotated[int, Ge(0)] = 0
    on_bad: Literal["stop", "skip"] = "stop"
    half: bool = False
    resume: bool = False


FIT = (
    "batch_size",
    "accumulate",
    "lr",
    "weight_decay",
    "clip_norm",
    "ema",
    "patience",
    "seed",
    "workers",
    "device",
    "precision",
)


def fit_options(settings: TrainSettings, **changes: int | float | str) -> FitOptions:
    """The training loop's options. changes: fields of FitOptions that differ from the settings, such as `warmup`.

    Where `changes` has other `steps`, the warm-up and the evaluations follow them.
    Raises InputError for a device that is not there.
    """
    resolve_device(settings.device)
    steps = int(changes.get("steps", settings.steps))
    options: dict[str, Any] = {name: getattr(settings, name) for name in FIT}
    options |= {"steps": steps, "warmup": steps // 10}
    options["evaluate_every"] = evaluation_interval(steps, settings.evaluations)
    return FitOptions(**options | changes)


def settings_as_text(settings: Any, *local: str) -> dict[str, str]:
    """The settings of a recipe by name, as text; a hub id with the commit that was read.

    local: further ones that are left out, such as paths.
    """
    return {name: pinned(str(value)) for name, value in asdict(settings).items() if name not in (*LOCAL, *local)}


def keep_settings(settings: TrainSettings) -> None:
    """Write OUT/run.yaml, by which `segue train RECIPE --config` does the same again; of a resumed run, as a whole."""
    write_text(settings.out / RUN_SETTINGS, options_as_yaml(replace(settings, resume=False)))


def dataset_name(folder: Path) -> dict[str, str]:
    """{"data": the name of a data set's folder or file}, as a checkpoint stores it; never the path to it."""
    return {"data": folder.resolve().name}


def evaluation_interval(steps: int, evaluations: int) -> int:
    """Steps between two evaluations, so that a run of `steps` has `evaluations` of them.

    Raises InputError when evaluations is below 1.
    """
    if evaluations < 1:
        raise InputError(f"evaluations: got {evaluations}, expected 1 or more")
    return max(1, steps // evaluations)
