"""Experiments with note-guided segmentation.

segue train reclmis --data DIR --out runs/mine          your own data in the LViT layout (see `segue data check`)
segue train reclmis-chest --out runs/reclmis-chest      the embedded chest phantoms
    1,200 steps of 16 pictures at 96 pixels. The bundled checkpoint came from it (--evaluations 6), in 23 minutes
    with one thread on a busy 2-core machine. Its score stands in results/reclmis_chest_full.csv: Dice .90.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from segue.api import ENSEMBLE, Member, Segmenter
from segue.data.medical.lvit import read_lvit, splits
from segue.data.medical.note_batches import ImageNoteBatches, load_examples
from segue.data.transforms import Preprocessing, augment
from segue.encoders.text.clip import ClipText
from segue.encoders.text.contract import TextEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallText
from segue.evaluation.notes import evaluate
from segue.files import write_text
from segue.methods import segmenters
from segue.methods.reclmis.config import SIZES, RecLMISConfig, ablate_config
from segue.methods.segmenters import Network, Saved
from segue.methods.unet import UNetConfig
from segue.metrics.calibration import fit_temperature
from segue.recipes.datasets import create_once
from segue.recipes.settings import dataset_name, evaluation_interval, settings_as_text
from segue.synthetic.chest import make_chest
from segue.training import FitOptions, fit
from segue.training.state import has_state
from segue.types import Example, InputError

System = Literal["full", "ci_clr", "ci_cvr", "ci", "early_fusion", "text_blind", "unet"]


@dataclass(frozen=True)
class Settings:
    """One training of a segmenter.

    Attributes:
        out: folder of the run: best/, last/, history and TensorBoard.
        data: folder in the LViT layout.
        system: the method, an ablation of it or a rival; text_blind and unet read no notes.
        size: "segue" (the default, light) or "faithful" (the paper's).
        text: "small" (trained along), "minilm" (extra towers), or "clip:ID-OR-FOLDER".
        image_size: side of the square that the network sees, in pixels.
        steps: optimiser steps.
        batch_size: pictures a step, over all processes.
        accumulate: micro-batches a step.
        lr: peak learning rate, reached after a warm-up of a tenth of the steps, then cosine.
        weight_decay: AdamW's.
        ema: decay of the weights' moving average, 0 for none.
        silence: share of notes left out in training, so that the model also works without a note.
        augmented: flips with sides swapped, small turns, contrast, blur.
        evaluations: how many times the validation split is scored; the best weights are kept.
        patience: evaluations without gain before stopping early, 0 for never.
        seed: of weights, order and augmentation.
        folds: > 1 trains that many models by patient, on train and validation together, and averages them.
        on_bad: what to do with an unreadable example: "stop" before training, or "skip" and say so.
        resume: continue the run in `out`.
    """

    out: Path
    data: Path
    system: System = "full"
    size: Literal["segue", "faithful"] = "segue"
    text: str = "small"
    image_size: int = 224
    steps: int = 4000
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    silence: float = 0.05
    augmented: bool = True
    evaluations: int = 10
    patience: int = 0
    seed: int = 0
    folds: int = 0
    on_bad: Literal["stop", "skip"] = "stop"
    resume: bool = False


def reclmis(settings: Settings, network: RecLMISConfig | UNetConfig | None = None) -> Path:
    """Train on data in the LViT layout; returns the checkpoint's folder. `network` overrides system and size."""
    found = splits(settings.data)
    if "train" not in found:
        raise InputError(
            f"{settings.data}: found the splits {', '.join(found) or 'none'}, expected at least Train_Folder"
        )
    shrunk = {
        split: load_examples(read_lvit(settings.data, split), settings.image_size, settings.on_bad)
        for split in found
        if split in ("train", "val")
    }
    print(
        f"{settings.data}: " + ", ".join(f"{len(e)} {s}" for s, e in shrunk.items()) + f", at {settings.image_size} px"
    )
    config = network or network_config(settings)
    if settings.folds > 1:
        return _train_folds(settings, config, [e for part in shrunk.values() for e in part])
    if "val" in shrunk:
        return _train(settings, config, shrunk["train"], shrunk["val"])
    inside, outside = next(iter(folds_by_group(shrunk["train"], 10, settings.seed)))
    return _train(settings, config, inside, outside)


def reclmis_chest(settings: Settings, network: RecLMISConfig | UNetConfig | None = None) -> Path:
    """Train on the sketchbook's chest phantoms, drawing them first where settings.data is not there yet."""
    draw_once(settings.data)
    return reclmis(settings, network)


def draw_once(folder: Path, style: str = "a") -> Path:
    """Draw the default chest phantoms there if they are not; processes that ask together draw them once."""
    return create_once(folder, lambda out: make_chest(out, style=style))


RECLMIS = Settings(out=Path("runs/reclmis"), data=Path("data"))
CHEST = Settings(out=Path("runs/reclmis-chest"), data=Path("runs/data/chest"), image_size=96, steps=1200, ema=0.99)


def network_config(settings: Settings) -> RecLMISConfig | UNetConfig:
    """The network that the settings name."""
    if settings.system == "unet":
        return UNetConfig()
    return ablate_config(SIZES[settings.size], settings.system)


def build_text_encoder(source: str, notes: Sequence[str]) -> TextEncoder:
    """A text tower by name; the small one gets its word pieces from the notes."""
    if source == "small":
        return SmallText(SmallText.train_tokenizer(notes))
    if source == "minilm":
        return MiniLM()
    if source.startswith("clip:"):
        return ClipText(source.removeprefix("clip:"))
    raise InputError(f'text tower {source!r}: expected "small", "minilm" or "clip:ID-OR-FOLDER"')


def folds_by_group(examples: Sequence[Example], k: int, seed: int) -> list[tuple[list[Example], list[Example]]]:
    """k (rest, held out) pairs; no group (patient) stands on both sides of one."""
    groups = sorted({e.group for e in examples})
    if len(groups) < k:
        raise InputError(f"{len(groups)} patients can't be divided into {k} folds; ask for at most {len(groups)}")
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = {groups[g]: rank % k for rank, g in enumerate(order)}
    return [
        ([e for e in examples if fold[e.group] != i], [e for e in examples if fold[e.group] == i]) for i in range(k)
    ]


def _train_folds(settings: Settings, config: Any, examples: list[Example]) -> Path:
    for i, (inside, outside) in enumerate(folds_by_group(examples, settings.folds, settings.seed)):
        out = settings.out / f"fold-{i}"
        if not (out / "last").exists():
            resume = settings.resume and has_state(out / "state")
            _train(replace(settings, out=out, resume=resume), config, inside, outside)
    members = [f"fold-{i}/best" for i in range(settings.folds)]
    write_text(settings.out / ENSEMBLE, json.dumps({"members": members}, indent=2) + "\n")
    return settings.out


def _train(settings: Settings, config: Any, train: list[Example], val: list[Example]) -> Path:
    torch.manual_seed(settings.seed)
    reads = getattr(config, "interaction", "none") != "none"
    text = build_text_encoder(settings.text, [e.note for e in train if e.note]) if reads else None
    preprocessing, network = Preprocessing(size=settings.image_size), segmenters.build(config, text)
    if settings.image_size % network.stride:
        nearest = max(1, round(settings.image_size / network.stride)) * network.stride
        raise InputError(
            f"image_size: got {settings.image_size}, expected a multiple of {network.stride} for this network; "
            f"for instance {nearest}"
        )
    batches = ImageNoteBatches(
        train,
        preprocessing,
        settings.seed,
        augment if settings.augmented else None,
        settings.silence if reads else 0.0,
    )
    fit(
        network,
        batches,
        out=settings.out,
        options=FitOptions(
            steps=settings.steps,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=settings.steps // 10,
            ema=settings.ema,
            evaluate_every=evaluation_interval(settings.steps, settings.evaluations),
            patience=settings.patience,
            seed=settings.seed,
        ),
        save=partial(_save, settings=settings, preprocessing=preprocessing, val=val),
        evaluate=_validator(preprocessing, val),
        monitor="dice",
        about=settings_as_text(settings),
        resume=settings.resume,
    )
    return settings.out / "best"


def _validator(preprocessing: Preprocessing, val: list[Example]) -> Callable[[nn.Module], dict[str, float]]:
    def validate(network: Any) -> dict[str, float]:
        training = network.training
        network.eval()
        result = evaluate(Segmenter([Member(network)], preprocessing, _device(network)), val, empty="one")
        network.train(training)
        return {k: result[k] for k in ("dice", "iou", "miou", "class_miou", "ece")}

    return validate


def _save(network: Any, folder: Path, settings: Settings, preprocessing: Preprocessing, val: list[Example]) -> None:
    about = {"recipe": "segue train reclmis", **dataset_name(settings.data), **settings_as_text(settings)}
    temperature = calibrate(network, preprocessing, val)
    segmenters.save(Saved(network, preprocessing, temperature, about), folder)


@torch.no_grad()
def calibrate(network: Network, preprocessing: Preprocessing, val: list[Example]) -> float:
    """The temperature that makes the probabilities honest on the validation split."""
    training, logits, truth = network.training, [], []
    network.eval()
    for i in range(0, len(val), 16):
        part = val[i : i + 16]
        x = preprocessing.to_tensor([e.image for e in part]).to(_device(network))
        logits.append(network(x, [e.note for e in part]).float().cpu()[:, 0])
        truth.append(torch.from_numpy(np.stack([e.mask for e in part if e.mask is not None])))
    network.train(training)
    return fit_temperature(torch.cat(logits), torch.cat(truth))


def _device(network: nn.Module) -> str:
    return str(next(network.parameters()).device)
