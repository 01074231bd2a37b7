"""`segue lab bench steps`: what a training step of the papers' recipes takes at its true size, on a CPU.

Each recipe runs by its own training function, with its own settings, on random pictures and with random weights of the
published sizes in the place of what it would download. Two steps of optimisation are taken; what is told is of the
second. A batch that this machine has no memory for is told by the line through two smaller ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from segue.lab.bench.paper_sized import write_clip, write_coco, write_shards, write_vit_and_bert
from segue.lab.bench.weights import DIFFUSION, write_weights
from segue.recipes import cocu, crossmodal, reclmis, reclmis_paper, sgdiff, syntic
from segue.synthetic.chest import make_chest

Train = Callable[[], Path]
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Step(NamedTuple):
    """A stage of a recipe. prepare: makes data and weights in a folder. train: from that folder and the batch, the
    training. stage: which of its optimisers is meant, from 1. batches: two, in the recipe's own unit. whole: the batch
    of a process in the paper.
    """

    prepare: Callable[[Path], Any]
    train: Callable[[Path, int], Train]
    stage: int
    batches: tuple[int, int]
    whole: int


def _qata(folder: Path, batch: int) -> Train:
    settings = replace(reclmis_paper.QATA, text=f"clip:{folder / 'clip'}", steps=2)
    return lambda: reclmis.train_reclmis(_here(settings, folder, batch))  # without its count of the pictures


def _cc3m(folder: Path, batch: int) -> Train:
    clip = folder / "clip"
    settings = replace(cocu.RELEASED, encoder=f"clip:{clip}", tokenizer=str(clip), curated=folder / "curated")
    return lambda: cocu.train_cocu_cc3m(_here(replace(settings, epochs=0, steps=2), folder, batch))


def _syntic(folder: Path, batch: int) -> Train:
    """Two pictures are drawn, in one step of sampling."""
    settings = replace(
        syntic.COCO, encoder=f"clip:{folder / 'clip'}", detector=str(folder / "detr"), pictures=2, support=64, steps=2,
        text_to_image=f"diffusion:{folder / 'diffusion'}", diffusion_steps=1, diffusion_batch=1,
        images=folder / "pictures", cache=folder / "features",
    )  # fmt: skip
    found = replace(_here(settings, folder, batch), data=folder / "data" / "dataset_coco.json")
    return lambda: syntic.train_syntic_coco(found)


def _sgdiff(folder: Path, batch: int) -> Train:
    settings = replace(sgdiff.COCO, caption_steps=2, steps=2)
    return lambda: sgdiff.train_sgdiff_coco(_here(settings, folder, batch))


def _cocostuff(folder: Path, batch: int) -> Train:
    vit, bert = str(folder / "vit"), str(folder / "bert")
    settings = replace(crossmodal.COCOSTUFF, vit=vit, bert=bert, vq_steps=2, box_steps=2, steps=2)
    return lambda: crossmodal.train_crossmodal_cocostuff(_here(settings, folder, batch))


def _here(settings: Any, folder: Path, batch: int) -> Any:
    small = {"batch_size": batch, "evaluations": 1, "workers": 0, "device": "cpu"}
    return replace(settings, data=folder / "data", out=folder / f"run-{batch}", **small)


def _prepare_qata(folder: Path) -> None:
    make_chest(folder / "data", train=8, val=2, test=2, size=224, workers=1)
    write_clip(folder / "clip", 32)


def _prepare_cc3m(folder: Path) -> None:
    write_shards(folder / "data")
    write_clip(folder / "clip", 16)


def _prepare_syntic(folder: Path) -> None:
    write_coco(folder / "data")
    write_clip(folder / "clip", 32)
    write_weights("detr-resnet-50", folder / "detr")
    write_weights(DIFFUSION, folder / "diffusion")


def _prepare_coco(folder: Path) -> None:
    write_coco(folder / "data")


def _prepare_cocostuff(folder: Path) -> None:
    write_coco(folder / "data")
    write_vit_and_bert(folder)


STEPS: dict[str, Step] = {
    "reclmis-qata": Step(_prepare_qata, _qata, 1, (8, 32), 32),
    "cocu-cc3m": Step(_prepare_cc3m, _cc3m, 1, (4, 16), 256),  # of 16 processes
    "syntic-coco": Step(_prepare_syntic, _syntic, 1, (32, 128), 128),
    "sgdiff-coco, captions": Step(_prepare_coco, _sgdiff, 1, (1, 2), 16),
    "sgdiff-coco": Step(_prepare_coco, _sgdiff, 2, (1, 2), 16),
    "crossmodal-cocostuff, quantiser": Step(_prepare_cocostuff, _cocostuff, 1, (1, 2), 64),
    "crossmodal-cocostuff, boxes": Step(_prepare_cocostuff, _cocostuff, 2, (1, 2), 64),
    "crossmodal-cocostuff": Step(_prepare_cocostuff, _cocostuff, 3, (1, 2), 64),
}


def bench_steps(names: tuple[str, ...] = tuple(STEPS)) -> dict[str, Any]:
    """What a training step takes of the papers' recipes and their stages.

    Args:
        names: which of them.
    """
    return {name: measure_step(name) for name in names}


def measure_step(name: str) -> dict[str, float]:
    """Trained millions of parameters; of the larger batch that is run (`batch`) the peak of memory in a step
    (`step_mb`) and CPU seconds of a step (`cpu_s`); the line through both batches (`fixed_mb`, `picture_mb`), and what
    it says of the recipe's own batch (`recipe_batch`, `recipe_gb`). Where the stage is a recipe's last, the run of the
    smaller batch goes to its end, with scores and checkpoint; `run_mb` is its peak outside of that step.

    Memory is above what Python and its libraries hold.
    """
    step = STEPS[name]
    with tempfile.TemporaryDirectory() as folder:
        step.prepare(Path(folder))
        small, large = (_in_a_process(name, folder, batch) for batch in step.batches)
    slope = (large["step_mb"] - small["step_mb"]) / (step.batches[1] - step.batches[0])
    fixed = small["step_mb"] - slope * step.batches[0]
    line = {"fixed_mb": fixed, "picture_mb": slope, "recipe_batch": step.whole}
    return {"batch": step.batches[1]} | small | large | line | {"recipe_gb": (fixed + slope * step.whole) / 1e3}


def _in_a_process(name: str, folder: str, batch: int) -> dict[str, float]:
    code = (
        "import sys; from segue.lab.bench.steps import run_here; run_here(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, name, folder, str(batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Enough(Exception):
    """The stage that is meant has taken its steps."""


class Steps:
    """Watches the optimisers of a process: memory and time of the second step of the one that is meant.

    stage: that one's number, from 1. enough: whether the process ends there. before, highest: the megabytes that it
    held at most when its libraries were loaded, and outside of the second step.
    """

    def __init__(self, stage: int, *, enough: bool) -> None:
        self.stage, self.enough, self.found = stage, enough, dict[str, float]()
        self.before = self.highest = _peak()
        self._seen, self._count = WeakSet[Optimizer](), 0  # not held: their averages are memory
        self._start = 0.0

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        """After each step of any optimiser."""
        peak = _peak()
        first = optimizer not in self._seen
        self._seen.add(optimizer)
        self._count += first
        if self._count != self.stage:
            return
        if first:
            self.highest = max(self.highest, peak)
            RESET.write_text("5")  # from here on the peak is that of the second step
            self._start = time.process_time()
            return
        trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        self.found = {"trained_m": trained / 1e6, "step_mb": peak - self.before}
        self.found["cpu_s"] = time.process_time() - self._start
        if self.enough:
            raise _Enough
        RESET.write_text("5")


def run_here(name: str, folder: str, batch: int) -> None:
    """Train in this process, which is to be a fresh one, and print what a step took as a line of JSON."""
    import transformers  # noqa: F401 - what the libraries hold is not the training's

    step = STEPS[name]
    last = step.stage == max(other.stage for other in STEPS.values() if other.train is step.train)
    steps = Steps(step.stage, enough=not last or batch != step.batches[0])
    with register_optimizer_step_post_hook(steps), suppress(_Enough):
        step.train(Path(folder), batch)()
    if not steps.enough:
        steps.found["run_mb"] = max(steps.highest, _peak()) - steps.before
    print(json.dumps(steps.found))


def _peak() -> float:
    """Megabytes that the process has held at most since the last reset."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found is not None  # for mypy: Linux has it
    return int(found[1]) * 1024 / 1e6
