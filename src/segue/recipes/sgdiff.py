"""Experiments with SGDiff: pictures whose captions name regions -> captions with masks around a box.

segue train sgdiff-scenes            on the drawn scenes, about 25 minutes on two cores
segue train sgdiff --data DIR        on any pictures with captions and regions that Segue reads

Two stages, as in the paper: captions and the adaptor first, then everything. A caption whose phrases are not marked
(COCO's) gets them by its nouns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from segue.data.formats import read_pictures
from segue.data.formats.names import link
from segue.evaluation.grounded_captions import score_stories
from segue.methods.sgdiff.batches import Example, collate
from segue.methods.sgdiff.checkpoint import restore, save
from segue.methods.sgdiff.config import SGDiffConfig, ablate_config
from segue.methods.sgdiff.graph import SPATIAL
from segue.methods.sgdiff.lexicon import Lexicon, lexicon_of
from segue.methods.sgdiff.model import SGDiff, build_sgdiff
from segue.recipes.settings import dataset_name, evaluation_interval, settings_as_text
from segue.training import FitOptions, fit
from segue.training.state import has_state
from segue.types import InputError, Picture, PictureSet


@dataclass(frozen=True)
class SGDiffSettings:
    """One training of SGDiff.

    Attributes:
        out: folder of the run: best/, last/, history and TensorBoard; captions/ has those of the first stage.
        data: folder with pictures, captions and regions in any format that Segue reads, with train and val.
        system: full, or an ablation by its name in the results.
        size: side of the pictures that the network sees, in pixels.
        widths: channels of the backbone at strides 2, 4, 8 and 16.
        channels: of the pixel decoder.
        width: of the transformer.
        blocks: of the transformer.
        length: the most words of a caption.
        caption_steps: optimiser steps of the first stage, which has captions and the adaptor only.
        steps: optimiser steps of the second stage.
        batch_size: pictures a step.
        rows: captions with a prompt that each of them gives a step; the picture is looked at once for all.
        lr: peak learning rate, reached after a warm-up of a tenth of the steps, then cosine.
        weight_decay: AdamW's.
        ema: decay of the weights' moving average, 0 for none.
        prompt: whose box is the prompt while training: of the caption's "first" noun, or of "any" of its objects.
        min_count: a word that the captions say less often is unknown.
        lambda_adaptor: lambda_1 of Eq. 13.
        lambda_mecl: lambda_2 of Eq. 13.
        evaluations: how many times a stage is scored on val; the best weights are kept.
        val_pictures: of the validation split that are scored while training.
        workers: processes that make batches.
        seed: of weights, order, captions and prompts.
        on_bad: what to do with annotations that can't be used: "stop", or "skip" and say so.
        captions: a finished first stage to use, instead of training one: a run's folder captions/best, or captions/last
            if it only outlines; its network may differ in MECL's weights, which only the second stage trains.
        half: store the checkpoint as float16.
        resume: continue the run in `out`.
    """

    out: Path
    data: Path
    system: str = "full"
    size: int = 128
    widths: tuple[int, int, int, int] = (32, 64, 96, 128)
    channels: int = 64
    width: int = 160
    blocks: int = 3
    length: int = 20
    caption_steps: int = 1000
    steps: int = 1000
    batch_size: int = 16
    rows: int = 4
    lr: float = 2e-3
    weight_decay: float = 0.05
    ema: float = 0.99
    prompt: Literal["first", "any"] = "any"
    min_count: int = 1
    lambda_adaptor: float = 2.0
    lambda_mecl: float = 1.0
    evaluations: int = 2
    val_pictures: int = 100
    workers: int = 0
    seed: int = 0
    on_bad: Literal["stop", "skip"] = "stop"
    captions: Path | None = None
    half: bool = False
    resume: bool = False


SGDIFF = SGDiffSettings(out=Path("runs/sgdiff"), data=Path("data"), min_count=5)
SCENES = SGDiffSettings(
    out=Path("runs/sgdiff-scenes"),
    data=Path("runs/data/scenes"),
    widths=(16, 32, 64, 96),
    channels=32,
    width=128,
    blocks=2,
    caption_steps=2500,
    steps=2000,
    half=True,
)


def sgdiff(settings: SGDiffSettings = SGDIFF) -> Path:
    """Train on pictures in any format; returns the checkpoint's folder."""
    return train_sgdiff(settings, *(read_pictures(settings.data, part, settings.on_bad) for part in ("train", "val")))


def sgdiff_scenes(settings: SGDiffSettings = SCENES) -> Path:
    """Train on the sketchbook's scenes."""
    if not settings.data.is_dir():
        raise InputError(
            f"{settings.data}: no such folder; draw it first: segue data make scenes --out {settings.data}"
        )
    return sgdiff(settings)


def train_sgdiff(settings: SGDiffSettings, train: PictureSet, val: PictureSet) -> Path:
    """Train on these pictures in two stages; the best evaluation on val is kept, of an adaptor alone the last."""
    seen, held_out = usable(train, "train"), usable(val, "val")
    batches = _Batches(seen, lexicon_of(seen, settings.min_count, SPATIAL), config_of(settings), settings)
    torch.manual_seed(settings.seed)
    model, first = build_sgdiff(batches.config, batches.lexicon), settings.out / "captions"
    stages = staged(settings)
    if settings.captions is not None:
        _take_over(model, settings.captions)
    elif 1 in stages:
        if not (settings.resume and (first / "last").exists()):
            _stage(model, 1, stages[1], first, batches, held_out, settings)
        model = restore(first / ("best" if batches.config.tells else "last"))[0]
        settings = replace(settings, resume=settings.resume and has_state(settings.out / "state"))
    _stage(model, 2, stages[2], settings.out, batches, held_out, settings)
    return settings.out / "best"


def _take_over(model: SGDiff, captions: Path) -> None:
    """The weights of a finished first stage, but MECL's, which it did not train.

    Raises InputError when the words, the classes or the rest of the network are others.
    """
    trained, _ = restore(captions)
    theirs = {k: v for k, v in trained.state_dict().items() if not k.startswith("contrast.")}
    ours = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("contrast.")}
    if trained.lexicon != model.lexicon or {k: v.shape for k, v in theirs.items()} != ours:
        raise InputError(
            f"{captions}: a first stage with other words, classes or sizes; use one of the same data and settings"
        )
    model.load_state_dict(theirs, strict=False)


def staged(settings: SGDiffSettings) -> dict[int, int]:
    """The steps of each stage; without captions and adaptor the first has nothing to learn.

    A system that only outlines learns its adaptor in the first, so that masks get as many steps as in the others.
    """
    c = config_of(settings)
    if settings.caption_steps and (c.tells or c.filters or c.ranks):
        return {1: settings.caption_steps, 2: settings.steps}
    return {2: settings.steps}


def config_of(settings: SGDiffSettings) -> SGDiffConfig:
    """The network's shape, and the switches of its system."""
    shared = {f.name for f in fields(SGDiffConfig)} & {f.name for f in fields(SGDiffSettings)}
    given = {name: getattr(settings, name) for name in shared}
    return ablate_config(SGDiffConfig(**given, feed=2 * settings.width), settings.system)


def _stage(
    model: SGDiff,
    stage: int,
    steps: int,
    out: Path,
    batches: _Batches,
    held_out: Sequence[Picture],
    settings: SGDiffSettings,
) -> None:
    model.begin_stage(stage)
    judged = stage == 2 or model.config.tells  # an adaptor alone tells nothing
    fit(
        model,
        batches,
        out=out,
        options=FitOptions(
            steps=steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=steps // 10,
            ema=settings.ema,
            evaluate_every=evaluation_interval(steps, settings.evaluations),
            seed=settings.seed + 1000 * stage,
            clip_norm=1.0,
            workers=settings.workers,
        ),
        save=partial(_save, settings=settings, half=settings.half and stage == 2),
        evaluate=partial(_evaluate, pictures=held_out[: settings.val_pictures]) if judged else None,
        monitor="score",
        about=settings_as_text(settings, "captions"),
        resume=settings.resume,
    )


def _evaluate(task: nn.Module, pictures: Sequence[Picture]) -> dict[str, float]:
    """Scores of one story a picture, and the sum of CIDEr and mask IoU, by which a stage is judged."""
    model = cast(SGDiff, task)
    found = score_stories(model, pictures, "first", top=1, java=False, outlines=model.stage == 2)
    return found | {"score": found.get("cider", 0.0) + found.get("mask_iou", 0.0)}


def _save(task: nn.Module, folder: Path, settings: SGDiffSettings, half: bool) -> None:
    about = {"recipe": "segue train sgdiff", **dataset_name(settings.data), **settings_as_text(settings, "captions")}
    save(cast(SGDiff, task), folder, about, half=half)


def usable(pictures: PictureSet, split: str) -> list[Picture]:
    """The pictures that tell something of an object, their captions' phrases found by nouns where none are marked.

    Raises InputError when there is none.
    """
    named = (_linked(picture) for picture in pictures.pictures)
    good = [p for p in named if any(phrase.regions for phrase in p.phrases)]
    if not good:
        raise InputError(
            f"{split}: none of {len(pictures.pictures)} pictures has a caption that names one of its regions; expected "
            "captions and instances or panoptic segments, such as COCO's"
        )
    return good


def _linked(picture: Picture) -> Picture:
    """The picture with phrases; none of them points to a crowd or to a region without area, which no graph has."""
    found = picture.phrases
    if not found and picture.regions:
        found = tuple(p for i, caption in enumerate(picture.captions) for p in link(caption, picture.regions, i))
    whole = {i for i, r in enumerate(picture.regions) if not r.crowd and r.box[2] > 0 and r.box[3] > 0}
    return replace(picture, phrases=tuple(replace(p, regions=tuple(r for r in p.regions if r in whole)) for p in found))


class _Batches:
    """Captions and prompts of every picture, drawn anew each epoch; a pure function of the keys."""

    def __init__(
        self, pictures: Sequence[Picture], lexicon: Lexicon, config: SGDiffConfig, settings: SGDiffSettings
    ) -> None:
        self.pictures, self.lexicon, self.config = pictures, lexicon, config
        self.seed, self.prompt, self.rows = settings.seed, settings.prompt, settings.rows

    def __len__(self) -> int:
        return len(self.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that `SGDiff.training_step` takes."""
        examples = [Example(self.pictures[i].load(), self.pictures[i]) for _, i in keys]
        rngs: list[Any] = [np.random.default_rng([self.seed, *key, row]) for key in keys for row in range(self.rows)]
        return collate(examples, self.lexicon, self.config, rngs, self.prompt)
