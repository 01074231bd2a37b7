"""Drawing sentences and telling layouts.

segue train crossmodal --data DIR --out RUN    your captioned pictures with label maps (see `segue data check`)
segue train crossmodal-scenes --out RUN        the embedded scenes, at 128 pixels
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.illustrator import caption_ids
from segue.data.formats import check_pictures, read_pictures
from segue.data.layouts import LayoutBatches, check_layout, resize_layout
from segue.data.relation_sentences import relation_sentences
from segue.data.tokenizer import CaptionTokenizer
from segue.data.transforms import resize_image
from segue.methods.crossmodal.checkpoint import Saved, restore_vq, save, save_vq
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import build_crossmodal
from segue.methods.crossmodal.start import config_for, load_starting_weights, read_start
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.metrics.panoptic import Confusion
from segue.recipes.datasets import create_scenes_once
from segue.recipes.settings import dataset_name, evaluation_interval, settings_as_text
from segue.recipes.syntic import nouns
from segue.training import FitOptions, fit
from segue.training.state import has_state
from segue.types import InputError, PictureSet

System = Literal["full", "no_align", "separate_attention", "depth4", "depth8", "depth12"]
SYSTEMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_align": {"align": False},
    "separate_attention": {"attention": "separate"},
    "depth4": {"depth": 4 / 12},
    "depth8": {"depth": 8 / 12},
    "depth12": {"depth": 12 / 12},
}  # depth: as a share of the settings' own, which stands for the paper's 12 layers
CAPTIONS = 4  # in which a layout is told each step; it is read once for all


@dataclass(frozen=True)
class Settings:
    """One training, of the quantiser and then of the streams.

    Attributes:
        out: folder of the run; its quantiser trains in out/vq.
        data: folder with captioned pictures and label maps, in any layout that `segue data check` knows.
        system: the method or an ablation of it.
        image_size: side of the square that layouts and pictures are brought to, in pixels.
        factor: pixels that a layout token spans.
        width: channels of the streams.
        depth: layers of the streams; the systems depth4, depth8 and depth12 have 4/12, 8/12 and all of them.
        vq_steps: optimiser steps of the quantiser.
        steps: optimiser steps of the streams.
        batch_size: layouts a step, over all processes; the quantiser takes twice as many, as it sees cuts of them.
        lr: the streams' peak learning rate, after a warm-up of a tenth of the steps, then cosine; wide ones want less.
            The quantiser's is 2e-3.
        weight_decay: AdamW's.
        ema: decay of the weights' moving average, 0 for none.
        evaluations: how many times the validation loss is taken; the best weights are kept.
        seed: of weights, order and masks.
        vit: a ViT of `transformers` to start the cells' stream from, by its id on the hub or a folder; with bert.
            Width, depth and heads are then theirs, and its patch must be factor.
        bert: a BERT to start the words' stream from, whose tokenizer is used; with vit.
        vq: a finished quantiser to use (a run's folder vq/last), instead of training one.
        on_bad: what to do with an unreadable picture: "stop" before training, or "skip" and say so.
        half: store the checkpoint as float16.
        resume: continue the run in `out`.
    """

    out: Path
    data: Path
    system: System = "full"
    image_size: int = 128
    factor: int = 8
    width: int = 96
    depth: int = 3
    vq_steps: int = 800
    steps: int = 2400
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    ema: float = 0.995
    evaluations: int = 8
    seed: int = 0
    vit: str = ""
    bert: str = ""
    vq: Path | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    half: bool = False
    resume: bool = False


CROSSMODAL = Settings(out=Path("runs/crossmodal"), data=Path("data"))
SCENES = Settings(out=Path("runs/crossmodal-scenes"), data=Path("runs/data/scenes"), half=True)


@dataclass(frozen=True)
class Told:
    """A split in memory. layouts: (N, S, S) uint8. images: (N, S, S, 3) uint8. captions: a list for each.

    asks: for each its captions, and sentences of its relations; drawing learns from these, telling from the captions.
    """

    layouts: NDArray[np.uint8]
    images: NDArray[np.uint8]
    captions: list[tuple[str, ...]]
    asks: list[tuple[str, ...]]
    classes: tuple[str, ...]


def crossmodal(settings: Settings) -> Path:
    """Train on captioned pictures with label maps; returns the checkpoint's folder."""
    return train_on(settings, *(read_told(settings, split) for split in ("train", "val")))


def train_on(settings: Settings, train: Told, val: Told) -> Path:
    """Train on what is read already; returns the checkpoint's folder."""
    print(f"{settings.data}: {len(train.layouts)} train, {len(val.layouts)} val, {len(train.classes)} classes")
    start = _start(settings)
    vq = quantiser(settings, train, val)
    words = start[2] if start else CaptionTokenizer.learn(c for told in train.asks for c in told)
    torch.manual_seed(settings.seed)
    longest = max(words.encode(list(asks), 512)[0].shape[1] for asks in train.asks)
    ends = (words.pad, words.start, words.end)
    config = config_of(settings, vq.config.codes, vocabulary=len(words), longest=longest, ends=ends, start=start)
    model = build_crossmodal(config)
    if start:
        load_starting_weights(model, start[0], start[1])
    spoken = nouns(list(chain(*train.captions)))
    about = {
        "recipe": "segue train crossmodal",
        **dataset_name(settings.data),
        **settings_as_text(settings, "vq"),
        "nouns": spoken,
    }
    saved = Saved(model, vq, words, train.classes, about)
    batches, held = (_batches(saved, told, settings.seed) for told in (train, val))

    def write(network: Any, folder: Path) -> None:
        save(replace(saved, model=network), folder, half=settings.half)

    options = fit_options(settings, settings.steps)
    fit(model, batches, out=settings.out, options=options, save=write, evaluate=partial(_losses, held=held),
        monitor="gain", about=settings_as_text(settings, "vq"),
        resume=settings.resume and has_state(settings.out / "state"))  # fmt: skip
    return settings.out / "best"


def crossmodal_scenes(settings: Settings) -> Path:
    """Train on the sketchbook's scenes, drawing them first where settings.data is not there yet."""
    create_scenes_once(settings.data)
    return crossmodal(settings)


def config_of(
    settings: Settings,
    codes: int,
    *,
    vocabulary: int,
    longest: int,
    ends: tuple[int, int, int],
    start: tuple[Any, Any, CaptionTokenizer] | None = None,
) -> CrossModalConfig:
    """The configuration that the settings name, with the sizes that the data ask for.

    ends: the tokens that pad, start and end a caption. start: of `read_start`.
    """
    cells = settings.image_size // settings.factor
    changes = dict(SYSTEMS[settings.system])
    share = changes.pop("depth", 1)
    sizes: dict[str, Any] = {"codes": codes, "grid": (cells, cells), "max_words": min(longest + 2, 130)}
    sizes |= dict(zip(("pad", "start", "end"), ends, strict=True))
    if start:
        return config_for(start[0], start[1], **sizes, **changes)
    return CrossModalConfig(
        patch=settings.factor, vocabulary=vocabulary, width=settings.width, heads=settings.width // 32,
        depth=max(1, round(settings.depth * share)), **sizes, **changes,
    )  # fmt: skip


def _start(settings: Settings) -> tuple[Any, Any, CaptionTokenizer] | None:
    """The models that the settings start from; InputError if they can't."""
    if not (settings.vit or settings.bert):
        return None
    if not (settings.vit and settings.bert) or settings.system.startswith("depth"):
        raise InputError(
            f"got vit {settings.vit!r} and bert {settings.bert!r} for the system {settings.system}, expected both, and "
            "a system that keeps their depth"
        )
    vit, bert, words = read_start(settings.vit, settings.bert)
    if vit.config.patch_size != settings.factor:
        raise InputError(f"{settings.vit}: its patches span {vit.config.patch_size} pixels; give --factor the same")
    return vit, bert, words


def read_told(settings: Settings, split: str) -> Told:
    """A split's layouts, pictures and captions at the training size, all read before anything is computed."""
    found = check_pictures(read_pictures(settings.data, split, settings.on_bad), settings.on_bad)
    return gather_told(found, settings.image_size, f"{settings.data}, {split}")


def gather_told(found: PictureSet, size: int, where: str) -> Told:
    """The pictures that have both a label map and a caption. Raises InputError when there is none."""
    layouts, images, captions, asks = [], [], [], []
    for picture in found.pictures:
        if picture.label_map is None or not picture.captions:
            continue
        labels = picture.label_map()
        check_layout(labels, len(found.classes), picture.name)
        layouts.append(resize_layout(labels, (size, size)))
        images.append(resize_image(picture.load(), (size, size)))
        captions.append(picture.captions)
        asks.append(picture.captions + relation_sentences(picture))
    if not layouts:
        raise InputError(f"{where}: no picture has both a label map and a caption (see `segue data check`)")
    return Told(np.stack(layouts), np.stack(images), captions, asks, found.classes)


@dataclass(frozen=True)
class _Layouts:
    """Batches of square cuts of bare layouts, half a side where that is whole cells, for the quantiser.

    It is convolutional, so a quarter of the pixels costs a quarter and teaches nearly as much.
    """

    layouts: NDArray[np.uint8]
    factor: int
    seed: int

    def __len__(self) -> int:
        return len(self.layouts)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Every other layout is mirrored, by its epoch: a layout has no left and right of its own."""
        size = self.layouts.shape[1]
        side = size // 2 if size // 2 % self.factor == 0 else size
        chosen = []
        for epoch, i in keys:
            y, x = np.random.default_rng([self.seed, epoch, i]).integers(0, size - side + 1, 2)
            chosen.append(self.layouts[i, y : y + side, x : x + side][:, :: -1 if epoch % 2 else 1])
        return {"layout": torch.from_numpy(np.stack(chosen))}


def quantiser(settings: Settings, train: Told, val: Told) -> LayoutVQ:
    """The quantiser that the settings name, or one trained here, or what a resumed run has of it."""
    if settings.vq is not None:
        return _fitting(restore_vq(settings.vq), settings, len(train.classes))
    out = settings.out / "vq"
    under_way = settings.resume and has_state(out / "state")
    if not (under_way and has_state(settings.out / "state")):  # then it is finished
        torch.manual_seed(settings.seed)
        vq = LayoutVQ(VQConfig(len(train.classes), settings.factor))
        options = replace(
            fit_options(settings, settings.vq_steps), batch_size=2 * settings.batch_size, lr=2e-3, weight_decay=0.0
        )
        fit(vq, _Layouts(train.layouts, settings.factor, settings.seed), out=out, options=options, save=save_vq,
            evaluate=partial(reconstruction, told=val), monitor="miou",
            about={"factor": str(settings.factor)}, resume=under_way)  # fmt: skip
    return restore_vq(out / "best")


def _fitting(vq: LayoutVQ, settings: Settings, classes: int) -> LayoutVQ:
    """The quantiser itself; InputError if it was not trained on as many classes with cells of the same size."""
    if (vq.config.classes, vq.config.factor) != (classes, settings.factor):
        raise InputError(
            f"{settings.vq}: a quantiser of {vq.config.classes} classes with cells of {vq.config.factor} pixels, "
            f"expected {classes} and {settings.factor}; leave --vq out to train one"
        )
    return vq


def fit_options(settings: Settings, steps: int) -> FitOptions:
    """How the quantiser, the streams and what they are measured against train."""
    return FitOptions(
        steps=steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        warmup=steps // 10,
        ema=settings.ema,
        evaluate_every=evaluation_interval(steps, settings.evaluations),
        seed=settings.seed,
        clip_norm=1.0,
    )


@torch.inference_mode()
def reconstruction(vq: Any, told: Told) -> dict[str, float]:
    """How well layouts survive their tokens: mean IoU over the classes that are there, and pixel accuracy."""
    table, classes = Confusion(np.zeros((len(told.classes),) * 2, np.int64)), len(told.classes)
    for part in np.array_split(told.layouts, -(-len(told.layouts) // 32)):
        again = vq.decode(vq.encode(torch.from_numpy(part).to(vq.head.weight.device))).cpu().numpy()
        table += Confusion.of(again.reshape(-1, again.shape[-1]), part.reshape(-1, part.shape[-1]), classes)
    scores = table.scores(empty="skip")
    return {"miou": scores["miou"], "accuracy": scores["pixel_accuracy"]}


@torch.no_grad()
def _batches(saved: Saved, told: Told, seed: int) -> LayoutBatches:
    codes = [
        saved.vq.encode(torch.from_numpy(part)) for part in np.array_split(told.layouts, -(-len(told.layouts) // 64))
    ]
    longest = saved.model.config.max_words
    ids, asks = (
        [_padded(caption_ids(saved, said), longest, saved.model.config.pad) for said in each]
        for each in (told.captions, told.asks)
    )
    return LayoutBatches(torch.cat(codes).short(), ids, told.images, seed, asks, CAPTIONS)


def _padded(ids: Tensor, length: int, pad: int) -> Tensor:
    return torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=pad)


def _losses(model: Any, held: LayoutBatches) -> dict[str, float]:
    """The loss terms on held-out layouts, up to 256 of them, and "gain", the negative loss, to be maximised."""
    total: Counter[str] = Counter()
    rows = [(0, i) for i in range(min(len(held), 256))]
    parts = [rows[i : i + 32] for i in range(0, len(rows), 32)]
    device = next(model.parameters()).device
    for part in parts:
        batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in held.collate(part).items()}
        total.update({name: len(part) * float(term) for name, term in model.training_step(batch).items()})
    means = {name: value / len(rows) for name, value in total.items()}
    return {**means, "gain": -means["loss"]}
