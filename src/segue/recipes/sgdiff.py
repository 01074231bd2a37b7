"""Training of SGDiff: from pictures whose captions name regions to grounded captions around a box.

segue train sgdiff-scenes            on synthetic scenes, about 25 minutes on two cores
segue train sgdiff --data DIR        on any pictures with captions and regions that Segue reads

Two stages, as in the paper: captions and the adaptor first, then everything. A caption whose phrases are not marked
(COCO's) gets them by its nouns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from segue.api.describer import load_describer
from segue.api.models import find
from segue.data.formats import read_pictures
from segue.data.formats.names import link
from segue.evaluation.grounded_captions import fit_scores, score_model
from segue.evaluation.reports.grounded_captions import grounded_examples
from segue.methods.sgdiff.batches import TrainingExample, collate
from segue.methods.sgdiff.checkpoint import restore, save
from segue.methods.sgdiff.config import SGDiffConfig, ablate_config
from segue.methods.sgdiff.graph import SPATIAL
from segue.methods.sgdiff.lexicon import Lexicon, build_lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.stages import CaptionStage, JointStage, has_caption_stage
from segue.metrics.acceptance import calibrate
from segue.recipes.datasets import begin_run
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.training.state import has_state
from segue.types import InputError, Picture, PictureSet

PULLED = 4  # pictures of which the gradients of the loss's terms are told


@dataclass(frozen=True, kw_only=True)
class SGDiffSettings(TrainSettings):
    """One training of SGDiff. `out` also gets captions/, the run of the first stage.

    Attributes:
        data: folder with pictures, captions and regions in any format that Segue reads, with train and val.
        steps: optimiser steps of the second stage.
        batch_size: pictures in a step, over all processes.
        evaluations: how many times each stage is scored on val; the best weights are kept.
        patience: evaluations of a stage without gain before stopping it early, 0 for never.
        system: "full", or an ablation by its name in the results.
        size: side of the network's input pictures, in pixels.
        widths: channels of the backbone at strides 2, 4, 8 and 16.
        channels: of the pixel decoder.
        width: of the transformer.
        blocks: of the transformer.
        max_words: the most words of a caption.
        caption_steps: optimiser steps of the first stage, which trains captions and the adaptor only; 0 leaves it out.
        rows: captions, with a prompt each, that a picture gives a step; its features are computed once for all.
        prompt: whose box is the prompt in training: of the caption's "first" noun, or of "any" of its objects.
        min_count: a word that occurs less often in the captions is unknown.
        lambda_adaptor: lambda_1 of Eq. 13.
        lambda_mecl: lambda_2 of Eq. 13.
        picture: captions read the whole picture as well, not its graph alone.
        time_warp: analog bits are noised where it teaches.
        mecl_masks: what stands for a mask in MECL: its node's "graph" state, or the mask head's last "query".
        mecl_words: whether MECL trains the caption's stream ("joint") or reads it only ("detached").
        mecl_by_noise: a row counts in MECL by the share of its caption that its noise leaves known.
        apart: in the second stage the gradients of backbone, masks and MECL are clipped apart from the captions', and
            the backbone learns at a tenth of the rate.
        val_pictures: of the validation split that are scored in training.
        start: a bundled model or checkpoint whose picture side (backbone, nodes, adaptor, masks) is taken over with its
            sizes and words, and stays as it is: only captions are trained, several times as fast.
        teacher: a finished first stage of --system autoregressive, of the same data and sizes (captions/best of its
            run). The first stage learns its captions in the place of people's: distillation.
        captions: a finished first stage to use, instead of training one: a run's folder captions/best, or captions/last
            if it only segments; its network may differ in MECL's weights, which only the second stage trains.
    """

    steps: int = 1000
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    evaluations: int = 2
    system: str = "full"
    size: int = 128
    widths: tuple[int, int, int, int] = (32, 64, 96, 128)
    channels: int = 64
    width: int = 160
    blocks: int = 3
    max_words: int = 20
    caption_steps: int = 1000
    rows: int = 4
    prompt: Literal["first", "any"] = "any"
    min_count: int = 1
    lambda_adaptor: float = 2.0
    lambda_mecl: float = 1.0
    picture: bool = False
    time_warp: bool = False
    mecl_masks: Literal["graph", "query"] = "graph"
    mecl_words: Literal["joint", "detached"] = "joint"
    mecl_by_noise: bool = False
    apart: bool = False
    val_pictures: int = 100
    start: str | None = None
    teacher: Path | None = None
    captions: Path | None = None


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
COCO = SGDiffSettings(  # the paper's settings; 60 and 60 epochs of Karpathy's 113,287 pictures
    out=Path("runs/sgdiff-coco"),
    data=Path("coco"),
    size=1024,
    widths=(64, 96, 192, 384),
    channels=256,
    width=512,
    blocks=6,
    batch_size=16,
    rows=1,
    lr=1e-4,
    weight_decay=0.05,
    caption_steps=424_800,
    steps=424_800,
    prompt="first",
    min_count=5,
    evaluations=60,
    val_pictures=500,
    on_bad="skip",
)


def train_sgdiff(settings: SGDiffSettings = SGDIFF) -> Path:
    """Train on pictures in any format; returns the checkpoint's folder.

    Raises InputError when the data or the settings can't be used.
    """
    begin_run(settings)
    train, val = (read_pictures(settings.data, split, settings.on_bad) for split in ("train", "val"))
    folder = train_on_pictures(settings, train, val)
    calibrate_scores(folder, with_named_regions(val, "val")[: settings.val_pictures])
    return folder


def calibrate_scores(folder: Path, pictures: Sequence[Picture]) -> None:
    """Fit what a trained model's scores mean on pictures of val, if it writes captions; says where it can't."""
    model, _ = restore(folder)
    if model.config.generates_captions:
        calibrate(folder, lambda: fit_scores(model, pictures), "its scores are no probabilities")


def train_sgdiff_scenes(settings: SGDiffSettings = SCENES) -> Path:
    """Train on synthetic scenes; as `train_sgdiff`. Raises InputError also where they are not drawn yet."""
    if not settings.data.is_dir():
        raise InputError(
            f"{settings.data}: no such folder; draw it first: segue data make scenes --out {settings.data}"
        )
    return train_sgdiff(settings)


def train_sgdiff_coco(settings: SGDiffSettings = COCO) -> Path:
    """Train on COCO's panoptic segments and captions with the paper's settings; as `train_sgdiff`.

    data: annotations/ with captions_*.json, panoptic_*.json and their PNGs, or dataset_coco.json of Karpathy beside
    them. The paper's Swin backbone and large-scale jittering are not in it: the network's own backbone is trained.
    """
    return train_sgdiff(settings)


def train_on_pictures(settings: SGDiffSettings, train: PictureSet, val: PictureSet) -> Path:
    """Train on these pictures in two stages; the best evaluation on val is kept, of an adaptor alone the last.

    Raises InputError as `train_sgdiff`.
    """
    train_pictures, val_pictures = with_named_regions(train, "train"), with_named_regions(val, "val")
    config, lexicon = config_of(settings), build_lexicon(train_pictures, settings.min_count, SPATIAL)
    started = None if settings.start is None else restore(find(settings.start))[0]
    if started is not None:
        config = ablate_config(replace(started.config, **_losses(settings)), settings.system)
        lexicon = replace(started.lexicon, nouns=lexicon.nouns)
    batches = SGDiffBatches(train_pictures, lexicon, config, settings)
    run = partial(_run_stage, batches=batches, held_out=val_pictures[: settings.val_pictures])
    torch.manual_seed(settings.seed)
    model, first = SGDiff(config, lexicon), settings.out / "captions"
    keep = take_over_pictures(model, started) if started is not None else ()
    steps = stage_steps(settings)
    if settings.captions is not None:
        _load_first_stage(model, settings.captions)
    elif 1 in steps:
        second = settings.resume and has_state(settings.out / "state")
        if not second:  # else the first stage is finished
            teacher = None if settings.teacher is None else restore(settings.teacher)[0]
            run(CaptionStage(model, keep, teacher), settings, steps=steps[1], out=first)
        model = restore(first / ("best" if config.generates_captions else "last"))[0]
        keep = model.picture_side().values() if started is not None else ()
        settings = replace(settings, resume=second)
    run(JointStage(model, keep, apart=settings.apart), settings, steps=steps[2], out=settings.out)
    return settings.out / "best"


def take_over_pictures(model: SGDiff, started: SGDiff) -> Iterable[nn.Module]:
    """Load the picture side of a trained model into another of the same sizes; returns its parts.

    How its graph reads captions is a start for the other's, where both do.
    """
    for name in ("graph_layers", "graph_norm"):
        ours, theirs = getattr(model.transformer, name), getattr(started.transformer, name)
        if ours is not None and theirs is not None and ours.state_dict().keys() == theirs.state_dict().keys():
            ours.load_state_dict(theirs.state_dict())
    for name, part in (parts := model.picture_side()).items():
        part.load_state_dict(started.get_submodule(name).state_dict())
    return parts.values()


def _load_first_stage(model: SGDiff, captions: Path) -> None:
    """Load the weights of a finished first stage, without MECL's, which it did not train.

    Raises InputError when the words, the classes or the rest of the network differ.
    """
    trained, _ = restore(captions)
    theirs = {k: v for k, v in trained.state_dict().items() if not k.startswith("mecl.")}
    ours = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("mecl.")}
    if trained.lexicon != model.lexicon or {k: v.shape for k, v in theirs.items()} != ours:
        raise InputError(
            f"{captions}: a first stage with other words, classes or sizes; use one of the same data and settings"
        )
    model.load_state_dict(theirs, strict=False)


def stage_steps(settings: SGDiffSettings) -> dict[int, int]:
    """Stage (1 or 2) -> its steps; without captions and adaptor the first has nothing to train and is left out.

    A system that only segments trains its adaptor in the first, so that its masks get as many steps as the others'.
    """
    if settings.caption_steps and has_caption_stage(config_of(settings)):
        return {1: settings.caption_steps, 2: settings.steps}
    return {2: settings.steps}


def config_of(settings: SGDiffSettings) -> SGDiffConfig:
    """The network's configuration with the switches of the settings' system. Raises InputError for another system."""
    sizes = ("size", "widths", "channels", "width", "blocks", "max_words")
    given = {name: getattr(settings, name) for name in sizes} | _losses(settings)
    return ablate_config(SGDiffConfig(**given, feed_forward=2 * settings.width), settings.system)


def _losses(settings: SGDiffSettings) -> dict[str, Any]:
    """The settings of the configuration that shape the losses, the noise and what captions read, not the sizes."""
    names = ("picture", "lambda_adaptor", "lambda_mecl", "time_warp", "mecl_masks", "mecl_words", "mecl_by_noise")
    return {name: getattr(settings, name) for name in names}


def _run_stage(
    stage: CaptionStage | JointStage,
    settings: SGDiffSettings,
    *,
    steps: int,
    out: Path,
    batches: SGDiffBatches,
    held_out: Sequence[Picture],
) -> None:
    joint = isinstance(stage, JointStage)
    pulled = batches.collate([(0, i % len(batches)) for i in range(min(PULLED, settings.batch_size))])
    scored = joint or batches.config.generates_captions  # an adaptor alone has no score
    fit(
        stage,
        batches,
        out=out,
        options=fit_options(settings, steps=steps, seed=settings.seed + 1000 * (2 if joint else 1)),
        save=partial(_save, settings=settings, half=settings.half and joint),
        evaluate=partial(_evaluate, pictures=held_out, batch=pulled) if scored else None,
        monitor="score",
        about=settings_as_text(settings, "captions"),
        illustrate=partial(_illustrate, pictures=held_out, device=settings.device) if joint else None,
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )


def _illustrate(folder: Path, pictures: Sequence[Picture], device: str) -> str:
    return grounded_examples(load_describer(folder, device=device), pictures)


def _evaluate(stage: nn.Module, pictures: Sequence[Picture], batch: dict[str, Tensor]) -> dict[str, float]:
    """Scores of one caption a picture, and the sum of CIDEr and mask IoU, which selects the best weights.

    In the second stage also how strongly each term of the loss pulls on a batch of the training.
    """
    model = cast(CaptionStage | JointStage, stage).model
    found = score_model(model, pictures, "first", num=1, java=False, masks=isinstance(stage, JointStage))
    found |= {"score": found.get("cider", 0.0) + found.get("mask_iou", 0.0)}
    if isinstance(stage, JointStage):
        found |= stage.term_gradients(send_to_device(batch, next(model.parameters()).device))
    return found


def _save(stage: nn.Module, folder: Path, settings: SGDiffSettings, half: bool) -> None:
    about = {"recipe": "segue train sgdiff", **dataset_name(settings.data), **settings_as_text(settings, "captions")}
    save(cast(CaptionStage | JointStage, stage).model, folder, about, half=half)


def with_named_regions(pictures: PictureSet, split: str) -> list[Picture]:
    """The pictures with a caption that names a region; where no phrases are marked, they are found by nouns.

    split: its name, for the message. Raises InputError when there is no such picture.
    """
    linked = (_linked(picture) for picture in pictures.pictures)
    good = [p for p in linked if any(phrase.regions for phrase in p.phrases)]
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
    usable = {i for i, r in enumerate(picture.regions) if not r.crowd and r.box[2] > 0 and r.box[3] > 0}
    return replace(
        picture, phrases=tuple(replace(p, regions=tuple(r for r in p.regions if r in usable)) for p in found)
    )


class SGDiffBatches:
    """Captions and prompts of every picture, drawn anew each epoch; a pure function of the keys."""

    def __init__(
        self, pictures: Sequence[Picture], lexicon: Lexicon, config: SGDiffConfig, settings: SGDiffSettings
    ) -> None:
        self.pictures, self.lexicon, self.config = pictures, lexicon, config
        self.seed, self.prompt, self.rows = settings.seed, settings.prompt, settings.rows

    def __len__(self) -> int:
        return len(self.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that a stage's `training_step` takes."""
        examples = [TrainingExample(self.pictures[i].load(), self.pictures[i]) for _, i in keys]
        rngs = [np.random.default_rng([self.seed, *key, row]) for key in keys for row in range(self.rows)]
        return collate(examples, self.lexicon, self.config, rngs, self.prompt)
