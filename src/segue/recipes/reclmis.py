"""Training of note-guided segmentation (RecLMIS, its ablations and its baselines).

segue train reclmis --data DIR --out runs/mine          your own data in the LViT layout (see `segue data check`)
segue train reclmis-chest --out runs/reclmis-chest      synthetic chest phantoms
    1,200 steps of 16 images at 96 pixels. The bundled checkpoint came from it (--evaluations 6), in 23 minutes
    with one thread on a busy 2-core machine. Its score is in results/reclmis_chest_full.csv: Dice .90.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn

from segue.api.models import ENSEMBLE
from segue.api.segmenter import Member, Segmenter
from segue.data.medical.lvit import read_lvit, splits
from segue.data.medical.note_batches import ImageNoteBatches, load_examples
from segue.data.transforms import augment
from segue.evaluation.notes import evaluate
from segue.files import write_text
from segue.methods.reclmis.model import RecLMIS
from segue.methods.reclmis.released import ReleasedConfig
from segue.methods.segmenters import NetworkConfig, SavedSegmenter, SegmenterTask, build_segmenter, save_segmenter
from segue.metrics.calibration import fit_temperature
from segue.nn.preprocessing import Preprocessing
from segue.options import Share
from segue.recipes.datasets import check_data, create_once
from segue.recipes.reclmis_options import NetworkSettings, network_config, reads_notes, text_encoder
from segue.recipes.settings import dataset_name, fit_options, settings_as_text
from segue.synthetic.chest import make_chest
from segue.training import fit
from segue.training.state import has_state
from segue.types import Example, InputError


@dataclass(frozen=True, kw_only=True)
class RecLMISSettings(NetworkSettings):
    """One training of a segmenter.

    Attributes:
        data: folder in the LViT layout.
        text_dropout: share of notes left out in training, so that the model also works without a note.
        augmented: flips with sides swapped, small rotations, contrast, blur.
        warmup: share of the steps in which the learning rate rises; then it falls as a cosine.
        folds: > 1 trains that many models by patient, on train and validation together, and averages them.
    """

    steps: int = 4000
    batch_size: int = 16
    lr: float = 1e-3
    text_dropout: float = 0.05
    augmented: bool = True
    evaluations: int = 10
    warmup: Share = 0.1
    folds: int = 0


RECLMIS = RecLMISSettings(out=Path("runs/reclmis"), data=Path("data"))
CHEST = RecLMISSettings(out=Path("runs/reclmis-chest"), data=Path("runs/data/chest"), image_size=96, steps=1200)


def train_reclmis(settings: RecLMISSettings = RECLMIS) -> Path:
    """Train on data in the LViT layout; returns the checkpoint's folder.

    Raises InputError when there is no training split or an example can't be read.
    """
    return train_network(settings, network_config(settings))


def train_network(settings: RecLMISSettings, network: NetworkConfig) -> Path:
    """As `train_reclmis`, with a network of its own in the place of the one of the system and size.

    Raises InputError when there is no training split or an example can't be read.
    """
    found = splits(settings.data)
    if "train" not in found:
        raise InputError(
            f"{settings.data}: found the splits {', '.join(found) or 'none'}, expected at least Train_Folder"
        )
    check_data(settings)
    examples = {}
    for split in (split for split in found if split in ("train", "val")):
        records = read_lvit(settings.data, split, settings.on_bad)
        examples[split] = load_examples(records, settings.image_size, settings.on_bad, labelled=True)
    counts = ", ".join(f"{len(part)} {split}" for split, part in examples.items())
    print(f"{settings.data}: {counts}, at {settings.image_size} px")
    if settings.folds > 1:
        return _train_folds(settings, network, [e for part in examples.values() for e in part])
    if "val" in examples:
        return _train(settings, network, examples["train"], examples["val"])
    return _train(settings, network, *hold_out(examples["train"], settings))


def train_reclmis_chest(settings: RecLMISSettings = CHEST) -> Path:
    """Train on synthetic chest phantoms, which are drawn first where settings.data is not there yet."""
    create_chest_once(settings.data)
    return train_reclmis(settings)


def create_chest_once(folder: Path, style: str = "a") -> Path:
    """Draw the default chest phantoms into the folder if they aren't there; concurrent processes draw them once."""
    return create_once(folder, lambda out: make_chest(out, style=style))


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


def _train_folds(settings: RecLMISSettings, config: NetworkConfig, examples: list[Example]) -> Path:
    for i, (train, val) in enumerate(folds_by_group(examples, settings.folds, settings.seed)):
        out = settings.out / f"fold-{i}"
        _train(replace(settings, out=out, resume=settings.resume and has_state(out / "state")), config, train, val)
    members = [f"fold-{i}/best" for i in range(settings.folds)]
    write_text(settings.out / ENSEMBLE, json.dumps({"members": members}, indent=2) + "\n")
    return settings.out


def _train(settings: RecLMISSettings, config: NetworkConfig, train: list[Example], val: list[Example]) -> Path:
    torch.manual_seed(settings.seed)
    notes = [e.note for e in train if e.note]
    if reads_notes(config) and not notes:
        raise InputError(
            f"{settings.data}: the notes of all {len(train)} training pictures are empty, and {settings.system} learns "
            "from notes; write some, or train --system text_blind or unet"
        )
    network = build_segmenter(config, text_encoder(settings, config, notes))
    as_released = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} if isinstance(config, ReleasedConfig) else {}
    preprocessing = Preprocessing(size=settings.image_size, **as_released)
    _check_image_size(settings.image_size, network.stride)
    augmentation, text_dropout = (
        augment if settings.augmented else None,
        settings.text_dropout if reads_notes(config) else 0.0,
    )
    fit(
        SegmenterTask(network, round(settings.ramp * settings.steps * settings.accumulate)),
        ImageNoteBatches(train, preprocessing, settings.seed, augmentation, text_dropout),
        out=settings.out,
        options=fit_options(settings, warmup=round(settings.warmup * settings.steps)),
        save=partial(_save, settings=settings, preprocessing=preprocessing, val=val),
        evaluate=_validator(preprocessing, val),
        monitor="dice",
        about=settings_as_text(settings),
        resume=settings.resume,
    )
    return settings.out / "best"


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


def _validator(preprocessing: Preprocessing, val: list[Example]) -> Callable[[nn.Module], dict[str, float]]:
    """Scores on the validation split, and how strongly each term of RecLMIS' loss pulls at the features there."""
    pulled = ImageNoteBatches(val, preprocessing).collate([(0, i) for i in range(min(16, len(val)))])

    def validate(task: nn.Module) -> dict[str, float]:
        training = task.training
        task.eval()
        member = _member(task)
        result = evaluate(Segmenter([member], preprocessing, _device(task)), val, empty="one")
        metrics = {k: result[k] for k in ("dice", "iou", "miou", "class_miou", "ece")}
        if isinstance(member.network, RecLMIS):
            metrics |= member.network.term_gradients(send_to_device(pulled, _device(task)), member.cache)
        task.train(training)
        return metrics

    return validate


def _save(
    task: nn.Module, folder: Path, settings: RecLMISSettings, preprocessing: Preprocessing, val: list[Example]
) -> None:
    about = {"recipe": "segue train reclmis", **dataset_name(settings.data), **settings_as_text(settings)}
    training = task.training
    temperature = calibrate(_member(task.eval()), preprocessing, val)
    task.train(training)
    saved = SavedSegmenter(_member(task).network, preprocessing, temperature, about)
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


def _device(module: nn.Module) -> str:
    return str(next(module.parameters()).device)
