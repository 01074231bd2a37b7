"""Training of note-guided segmentation (RecLMIS, its ablations and its baselines).

segue train reclmis --data DIR --out runs/mine          your own data in the LViT layout (see `segue data check`)
segue train reclmis-chest --out runs/reclmis-chest      synthetic chest phantoms
    1,200 steps of 16 images at 96 pixels. The bundled checkpoint came from it (--evaluations 6), in 23 minutes
    with one thread on a busy 2-core machine. Its score is in results/reclmis_chest_full.csv: Dice .90.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn

from segue.api.models import ENSEMBLE
from segue.api.segmenter import Member, Segmenter, load_segmenter
from segue.configs import read_json
from segue.data.medical.lvit import ImageNoteRecord, read_lvit, splits
from segue.data.medical.note_batches import ImageNoteBatches, load_examples
from segue.data.medical.views import RandomViews
from segue.data.transforms import Augment, augment
from segue.encoders.image.pyramid import build_pyramid
from segue.evaluation.notes import evaluate
from segue.evaluation.reports.notes import note_examples
from segue.files import write_text
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.reclmis.model import RecLMIS
from segue.methods.reclmis.released import ReleasedConfig
from segue.methods.segmenters import (
    Network,
    NetworkConfig,
    SavedSegmenter,
    SegmenterTask,
    build_segmenter,
    save_segmenter,
)
from segue.metrics.calibration import fit_temperature
from segue.nn.feature_distance import FeatureDistance
from segue.nn.preprocessing import Preprocessing
from segue.options import SegmentOptions
from segue.recipes.datasets import begin_run, create_once
from segue.recipes.plan import Workload
from segue.recipes.reclmis_options import AUTO, network_config, reads_notes, text_encoder
from segue.recipes.reclmis_options import RecLMISSettings as RecLMISSettings
from segue.recipes.reclmis_plan import CHOSEN, PLAN, choose, seconds_a_step, steps_within, take_fingerprint, write_plan
from segue.recipes.settings import dataset_name, fit_options, keep_settings, settings_as_text
from segue.synthetic.chest import make_chest
from segue.training import fit
from segue.training.state import has_state
from segue.types import Example, InputError

PLANNED = 64  # pictures that `plan_reclmis` reads
DOMAIN_AXES, DOMAIN_PICTURES, DOMAIN_VIEWS = 32, 500, 2  # of the distance from the training's pictures
STEPS = "steps.json"  # in the folder of a run whose steps were chosen by its minutes
VISION = "network.encoder.pyramid."  # the beginning of the names of the pretrained weights


RECLMIS = RecLMISSettings(
    out=Path("runs/reclmis"),
    data=Path("data"),
    system="auto",
    vision="auto",
    image_size=AUTO,
    patches="auto",
    steps=AUTO,
    batch_size=AUTO,
    augmentation="auto",
    vision_lr=0.0,
    parts=0.3,
)
CHEST = RecLMISSettings(out=Path("runs/reclmis-chest"), data=Path("runs/data/chest"), image_size=96, steps=1200)


def train_reclmis(settings: RecLMISSettings = RECLMIS) -> Path:
    """Train on data in the LViT layout; returns the checkpoint's folder.

    Raises InputError when there is no training split or an example can't be read.
    """
    return train_network(settings)


def train_network(settings: RecLMISSettings, network: NetworkConfig | None = None) -> Path:
    """As `train_reclmis`, with a network of its own in the place of the one of the system and size, if given.

    Raises InputError when there is no training split or an example can't be read.
    """
    found = splits(settings.data)
    if "train" not in found:
        raise InputError(
            f"{settings.data}: found the splits {', '.join(found) or 'none'}, expected at least Train_Folder"
        )
    _check_folds(settings)
    begin_run(settings)
    records = {split: read_lvit(settings.data, split, settings.on_bad) for split in found if split in ("train", "val")}
    settings = planned(settings, records["train"])
    network = network or network_config(settings)
    size = None if settings.patches == "yes" else settings.image_size
    examples = {split: load_examples(part, size, settings.on_bad, labelled=True) for split, part in records.items()}
    counts = ", ".join(f"{len(part)} {split}" for split, part in examples.items())
    kind = "patches of " if settings.patches == "yes" else ""
    print(f"{settings.data}: {counts}, at {kind}{settings.image_size} px")
    if settings.folds > 1:
        return _train_folds(settings, network, [e for part in examples.values() for e in part])
    parts = (examples["train"], examples["val"]) if "val" in examples else hold_out(examples["train"], settings)
    return _train(settings, network, *parts)


def planned(settings: RecLMISSettings, records: Sequence[ImageNoteRecord]) -> RecLMISSettings:
    """The settings with what was left to the plan, but for the steps; of a run that goes on, those of its beginning.

    Raises InputError for what is given for a run that goes on and differs from its plan.
    """
    named = (settings.system, settings.vision, settings.patches, settings.augmentation)
    if AUTO not in (settings.image_size, settings.batch_size, settings.steps) and "auto" not in named:
        return settings
    if settings.resume and (settings.out / PLAN).exists():
        return _as_planned(settings, read_json(settings.out / PLAN).get("chosen") or {})
    found = take_fingerprint(records)
    settings = choose(settings, found)
    write_plan(settings.out, settings, found)
    return settings


def _as_planned(settings: RecLMISSettings, chosen: dict[str, Any]) -> RecLMISSettings:
    chosen = {name: chosen[name] for name in CHOSEN if chosen.get(name) not in (None, "auto")}
    for name, value in chosen.items():
        given = getattr(settings, name)
        if given not in (None, AUTO, "auto", value):
            raise InputError(
                f"{name}: got {given}, but the plan of the run in {settings.out} has {value}; resume it with that, "
                "or train into another folder"
            )
    return replace(settings, **chosen)


def plan_reclmis(settings: RecLMISSettings) -> Workload:
    """The workload of a training, with what it would choose for the data (see `reclmis_plan`).

    Raises InputError when there is no training split or an example can't be read.
    """
    records = read_lvit(settings.data, "train", "skip")
    found = take_fingerprint(records)
    settings = choose(settings, found)
    size = None if settings.patches == "yes" else settings.image_size
    train = load_examples(records[:PLANNED], size, "skip", labelled=True)
    task, batches = build_task(settings, network_config(settings), train)
    steps = settings.steps
    if steps == AUTO:
        seconds = seconds_a_step(task, batches, settings)
        steps = steps_within(settings.minutes, seconds, len(records), settings.batch_size)
    return Workload(
        examples=len(records),
        steps=steps,
        batch_size=settings.batch_size,
        averaged=settings.ema > 0,
        task=task,
        batch=lambda count: batches.collate([(0, i % len(batches)) for i in range(count)]),
        chosen={name: getattr(settings, name) for name in CHOSEN} | {"found": asdict(found)},
    )


def train_reclmis_chest(settings: RecLMISSettings = CHEST) -> Path:
    """Train on synthetic chest phantoms, which are drawn first where settings.data is not there yet."""
    create_chest_once(settings.data)
    return train_reclmis(settings)


def create_chest_once(folder: Path) -> Path:
    """Draw the default chest phantoms into the folder if they aren't there; concurrent processes draw them once."""
    return create_once(folder, make_chest)


def folds_by_group(examples: Sequence[Example], k: int, seed: int) -> list[tuple[list[Example], list[Example]]]:
    """k pairs (train, validation); no group (patient) is in both parts of one.

    Raises InputError when there are fewer groups than folds.
    """
    groups = sorted({e.group for e in examples})
    if len(groups) < k:
        raise InputError(f"{len(groups)} patients can't be divided into {k} folds; ask for at most {len(groups)}")
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = {groups[g]: rank % k for rank, g in enumerate(order)}
    return [
        ([e for e in examples if fold[e.group] != i], [e for e in examples if fold[e.group] == i]) for i in range(k)
    ]


def hold_out(examples: Sequence[Example], settings: RecLMISSettings) -> tuple[list[Example], list[Example]]:
    """(train, validation) where there is no Val_Folder: a tenth of the patients, at least one, validates.

    Raises InputError when all examples are of one patient.
    """
    patients = len({e.group for e in examples})
    if patients < 2:
        raise InputError(
            f"{settings.data}: no Val_Folder, and all {len(examples)} training pictures are of one patient, so "
            "none can be held out to validate; add a Val_Folder"
        )
    train, val = folds_by_group(examples, min(10, patients), settings.seed)[0]
    held_out = len({e.group for e in val})
    print(f"{settings.data}: no Val_Folder; {len(val)} pictures of {held_out} of {patients} patients validate")
    return train, val


def _check_folds(settings: RecLMISSettings) -> None:
    if settings.resume and settings.folds > 1 and has_state(settings.out / "state"):
        raise InputError(
            f"folds: got {settings.folds}, but the run in {settings.out} has none; resume it without --folds, "
            "or train into another folder"
        )


def _train_folds(settings: RecLMISSettings, config: NetworkConfig, examples: list[Example]) -> Path:
    each = replace(settings, minutes=settings.minutes / settings.folds)
    for i, (train, val) in enumerate(folds_by_group(examples, settings.folds, settings.seed)):
        out = settings.out / f"fold-{i}"
        fold = replace(each, out=out, resume=settings.resume and has_state(out / "state"))
        _train(fold, config, train, val, whole=settings)
    members = [f"fold-{i}/best" for i in range(settings.folds)]
    write_text(settings.out / ENSEMBLE, json.dumps({"members": members}, indent=2) + "\n")
    return settings.out


def _train(
    settings: RecLMISSettings,
    config: NetworkConfig,
    train: list[Example],
    val: list[Example],
    whole: RecLMISSettings | None = None,
) -> Path:
    """Train one network. whole: the settings of the run of which this is a fold."""
    task, batches = build_task(settings, config, train)
    settings = _with_steps(settings, task, batches)
    window = settings.image_size if settings.patches == "yes" else None
    views, preprocessing = views_to_validate(val, settings), batches.preprocessing
    fit(
        task,
        batches,
        out=settings.out,
        options=fit_options(settings, warmup=round(settings.warmup * settings.steps)),
        save=partial(_save, settings=settings, preprocessing=preprocessing, train=train, val=val, views=views),
        evaluate=_validator(preprocessing, val, views, window),
        monitor="dice",
        about=settings_as_text(settings),
        illustrate=lambda folder: note_examples(load_segmenter(folder, device=_device(task)), val),
        record=partial(keep_settings, whole or settings),  # with what the plan chose
        resume=settings.resume,
    )
    return settings.out / "best"


def build_task(
    settings: RecLMISSettings, config: NetworkConfig, train: list[Example]
) -> tuple[SegmenterTask, ImageNoteBatches]:
    """A fresh network as a task of the training loop, and its batches.

    Raises InputError when a method that reads notes has none, and for an image size that the network can't halve.
    """
    torch.manual_seed(settings.seed)
    notes = [e.note for e in train if e.note]
    if reads_notes(config) and not notes:
        raise InputError(
            f"{settings.data}: the notes of all {len(train)} training pictures are empty, and {settings.system} learns "
            "from notes; write some, or train --system text_blind or unet"
        )
    text = text_encoder(settings, config, notes)
    vision = None
    if settings.vision != "none" and isinstance(config, RecLMISConfig):
        vision = build_pyramid(settings.vision, frozen=settings.vision_lr == 0)
    preprocessing = replace(Preprocessing() if vision is None else vision.preprocessing, size=settings.image_size)
    if isinstance(config, ReleasedConfig):
        preprocessing = replace(preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    network = build_segmenter(config, text, vision=vision)
    cast(Any, network).to(memory_format=torch.channels_last)
    _check_image_size(settings.image_size, network.stride)
    batches = ImageNoteBatches(
        train,
        preprocessing,
        settings.seed,
        augmentation(settings),
        text_dropout=settings.text_dropout if reads_notes(config) else 0.0,
        parts=settings.parts if reads_notes(config) and settings.patches != "yes" else 0.0,
    )
    if settings.ramp and not settings.steps:
        raise InputError("ramp: given, but the steps are left to the plan; pass --steps")
    rising = round(settings.ramp * settings.steps * settings.accumulate)
    return SegmenterTask(network, {VISION: settings.vision_lr} if vision is not None else {}, rising), batches


def augmentation(settings: RecLMISSettings) -> Augment | None:
    """The augmentation that the settings name; for patches it also chooses the window."""
    patches = settings.patches == "yes"
    if settings.augmentation == "strong":
        return RandomViews(settings.image_size, patches)
    if patches:
        return RandomViews(settings.image_size, patches, strength=0.5 if settings.augmentation == "light" else 0.0)
    return augment if settings.augmentation == "light" else None


def views_to_validate(val: Sequence[Example], settings: RecLMISSettings) -> list[Example]:
    """The validation pictures as the network sees them, (S, S): whole, or a window of each."""
    if settings.patches != "yes":
        return list(val)
    window = RandomViews(settings.image_size, patches=True, strength=0.0)
    return [window(example, np.random.default_rng(place)) for place, example in enumerate(val)]


def _with_steps(settings: RecLMISSettings, task: SegmenterTask, batches: ImageNoteBatches) -> RecLMISSettings:
    """The settings with the steps that fit into the minutes, where it has none; says what was chosen."""
    if settings.steps != AUTO:
        return settings
    path = settings.out / STEPS
    if settings.resume and path.exists():
        return replace(settings, steps=int(read_json(path)["steps"]))
    seconds = seconds_a_step(task, batches, settings)
    steps = steps_within(settings.minutes, seconds, len(batches), settings.batch_size)
    write_text(path, json.dumps({"steps": steps, "seconds_a_step": round(seconds, 4)}) + "\n")
    patches = "windows" if settings.patches == "yes" else "pictures"
    print(
        f"{settings.out}: {steps} steps of {settings.batch_size} {patches} of {settings.image_size} px, about "
        f"{steps * seconds / 60:.0f} minutes on this {_device(task)}; vision {settings.vision}, "
        f"augmentation {settings.augmentation}. Another budget: --minutes, or --steps"
    )
    return replace(settings, steps=steps)


def _check_image_size(size: int, stride: int) -> None:
    if size % stride:
        raise InputError(
            f"image_size: got {size}, expected a multiple of {stride} for this network; "
            f"for instance {max(1, round(size / stride)) * stride}"
        )


def _member(task: nn.Module) -> Member:
    """The network of a `SegmenterTask` as a predictor's, with the task's own cache of notes."""
    segmenter = cast(SegmenterTask, task)
    return Member(segmenter.network, cache=segmenter.cache)


def _validator(
    preprocessing: Preprocessing, val: list[Example], views: list[Example], window: int | None
) -> Callable[[nn.Module], dict[str, float]]:
    """Scores on the validation split, and how strongly each term of RecLMIS' loss pulls at the features there."""
    pulled = ImageNoteBatches(views, preprocessing).collate([(0, i) for i in range(min(16, len(views)))])

    def validate(task: nn.Module) -> dict[str, float]:
        training = task.training
        task.eval()
        member = _member(task)
        model = Segmenter([member], preprocessing, _device(task), window=window)
        result = evaluate(model, val, empty="one", options=SegmentOptions(threshold=0.5))  # not calibrated yet
        metrics = {k: result[k] for k in ("dice", "iou", "miou", "class_miou", "ece")}
        if isinstance(member.network, RecLMIS):
            metrics |= member.network.term_gradients(send_to_device(pulled, _device(task)), member.cache)
        task.train(training)
        return metrics

    return validate


def _save(
    task: nn.Module,
    folder: Path,
    settings: RecLMISSettings,
    preprocessing: Preprocessing,
    train: list[Example],
    val: list[Example],
    views: list[Example],
) -> None:
    about = {"recipe": "segue train reclmis", **dataset_name(settings.data), **settings_as_text(settings)}
    training = task.training
    temperature = calibrate(_member(task.eval()), preprocessing, views)
    domain = measure_domain(_member(task).network, preprocessing, train, val)
    task.train(training)
    window = settings.image_size if settings.patches == "yes" else None
    saved = SavedSegmenter(_member(task).network, preprocessing, temperature, about=about, window=window, domain=domain)
    save_segmenter(saved, folder, half=settings.half)


@torch.no_grad()
def calibrate(member: Member, preprocessing: Preprocessing, val: Sequence[Example]) -> float:
    """The temperature that calibrates the probabilities of a network in evaluation mode on the validation split."""
    logits, targets = [], []
    for i in range(0, len(val), 16):
        part = val[i : i + 16]
        x = preprocessing.to_tensor([e.image for e in part]).to(_device(member.network))
        logits.append(member.network(x, [e.note for e in part], member.cache).float().cpu()[:, 0])
        targets.append(torch.from_numpy(np.stack([e.mask for e in part if e.mask is not None])))
    return fit_temperature(torch.cat(logits), torch.cat(targets))


@torch.no_grad()
def measure_domain(
    network: Network, preprocessing: Preprocessing, train: Sequence[Example], val: Sequence[Example]
) -> FeatureDistance | None:
    """How far a picture lies from those of the training, with the limit from val; of each also two random views, as
    the splits may be small. None for the U-Net.
    """
    if not isinstance(network, RecLMIS):
        return None
    view, features = RandomViews(preprocessing.size, strength=0.5), list[torch.Tensor]()
    for part in (train[:DOMAIN_PICTURES], val[:DOMAIN_PICTURES]):
        rows = list[torch.Tensor]()
        for place, example in enumerate(part):
            views = [view(example, np.random.default_rng([place, seed])).image for seed in range(DOMAIN_VIEWS)]
            x = preprocessing.to_tensor([example.image, *views]).to(_device(network))
            rows.append(network.picture_features(x).cpu())
        features.append(torch.cat(rows))
    return FeatureDistance.fit(features[0], features[1], axes=DOMAIN_AXES)


def _device(module: nn.Module) -> str:
    return str(next(module.parameters()).device)
