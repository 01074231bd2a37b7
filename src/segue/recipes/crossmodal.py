"""Training of captions to layouts and layouts to captions.

segue train crossmodal --data DIR --out RUN    your captioned pictures with label maps (see `segue data check`)
segue train crossmodal-scenes --out RUN        the synthetic scenes, at 128 pixels
segue train crossmodal-cocostuff --data DIR    COCO-Stuff with the paper's settings (see COCOSTUFF)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api.illustrator import caption_ids, load_illustrator
from segue.api.models import find
from segue.data.formats import check_pictures, read_pictures
from segue.data.layouts import LayoutBatches, check_layout, resize_layout, to_pixels
from segue.data.made_captions import paraphrases, template_captions
from segue.data.relation_sentences import mirrored_sentence, relation_sentences
from segue.data.tokenizer import CaptionTokenizer
from segue.data.transforms import resize_image
from segue.evaluation.reports.layouts import layout_examples
from segue.methods.crossmodal.boxes import (
    PAD,
    BoxConfig,
    BoxDecoder,
    box_tokens,
    layout_boxes,
    mirrored_boxes,
    paint_boxes,
)
from segue.methods.crossmodal.checkpoint import (
    CrossModalCheckpoint,
    load_boxes,
    load_crossmodal,
    load_quantiser,
    save_boxes,
    save_crossmodal,
    save_quantiser,
)
from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import BINS_PER_CELL, CrossModal, build_crossmodal
from segue.methods.crossmodal.pretrained import load_pretrained_weights, load_vit_and_bert, pretrained_config
from segue.methods.crossmodal.silhouettes import Silhouettes
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.metrics.panoptic import Confusion
from segue.nn.feature_distance import FeatureDistance
from segue.options import NonNegative
from segue.recipes.datasets import begin_run, create_scenes_once
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.recipes.syntic import common_nouns
from segue.training import fit
from segue.training.state import has_state
from segue.types import InputError, PictureSet

System = Literal["full", "one_level", "infonce", "no_align", "separate_attention", "depth4", "depth8", "depth12"]
SYSTEMS: dict[str, dict[str, Any]] = {
    "full": {},
    "one_level": {"classes": 0},
    "infonce": {"contrast": True},
    "no_align": {"align": False},
    "separate_attention": {"attention": "separate"},
    "depth4": {"depth": 4 / 12},
    "depth8": {"depth": 8 / 12},
    "depth12": {"depth": 12 / 12},
}  # depth: as a share of the settings' own, which stands for the paper's 12 layers
CAPTIONS_PER_LAYOUT = 4  # in a batch; their layout is encoded once for all of them
QUANTISER_LR = 2e-3
DROP_IMAGE = 0.75  # drawing from a caption needs no picture, and a picture alone says most of its layout
DOMAIN_AXES, NEAR = 48, 0.995  # principal axes of the training's features; the share of val that is not far
WORD_CONTEXT = 0.7  # of the box decoder: without it left and right stayed at chance
BOX_BATCH = 4  # batches of the joint model are one of the box decoder, whose sequences are short
VitAndBert = tuple[Any, Any, CaptionTokenizer]  # of `load_vit_and_bert`


@dataclass(frozen=True, kw_only=True)
class CrossModalSettings(TrainSettings):
    """Settings of a training: of the quantiser first, then of the box decoder, then of the joint model.

    The quantiser takes twice the batch size (as it trains on crops), its own learning rate and no weight decay.

    Attributes:
        out: folder of the run; its quantiser trains in out/vq, its box decoder in out/boxes.
        data: folder with captioned pictures and label maps, in any layout that `segue data check` knows.
        system: the method or an ablation of it.
        image_size: side of the square that layouts and pictures are resized to, in pixels.
        factor: pixels that a layout token spans.
        width: channels of the streams.
        depth: layers of the streams; the systems depth4, depth8 and depth12 have 4/12, 8/12 and all of them.
        vq_steps: optimiser steps of the quantiser.
        vq_context: channels of the quantiser's convolution of pixels before its cells, 0 for none: cells that see
            their rim say its shape better.
        box_steps: optimiser steps of the box decoder.
        steps: optimiser steps of the joint model.
        batch_size: layouts in a step, over all processes.
        lr: peak learning rate of the joint model; wide models need less.
        template_captions: pictures with a label map and no caption get sentences made from the map by template, as
            training text; without it they are left out.
        paraphrases: so many other wordings of each caption, by rule, from which drawing learns too.
        vit: a ViT of `transformers` to initialise the cell stream from, by its id on the hub or a folder; with bert.
            Width, depth and heads are then theirs, and its patch must be factor.
        bert: a BERT to initialise the word stream from, whose tokenizer is used; with vit.
        init: a trained model to go on from, by its bundled name or a folder, with its quantiser and its tokenizer; one
            of a single level learns boxes.
        vq: a finished quantiser to use (a run's folder vq/best), instead of training one.
        boxes: a finished box decoder to use (a run's folder boxes/best), instead of training one.
    """

    system: System = "full"
    image_size: int = 128
    factor: int = 8
    width: int = 96
    depth: int = 3
    vq_steps: int = 800
    vq_context: int = 0
    box_steps: int = 1600
    steps: int = 2400
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.995
    template_captions: bool = False
    paraphrases: NonNegative = 0
    evaluations: int = 8
    vit: str = ""
    bert: str = ""
    init: str = ""
    vq: Path | None = None
    boxes: Path | None = None


LOCAL = ("vq", "boxes")  # paths, which don't change what is trained
CROSSMODAL = CrossModalSettings(out=Path("runs/crossmodal"), data=Path("data"))
COCOSTUFF = CrossModalSettings(  # 512 pixels, ViT-B/16, BERT-base, AdamW at 5e-5 and 100 epochs are the paper's
    out=Path("runs/crossmodal-cocostuff"),
    data=Path("cocostuff"),
    image_size=512,
    factor=16,
    width=256,  # of the box decoder; the streams have the width and depth of the two encoders
    vit="google/vit-base-patch16-224",
    bert="google-bert/bert-base-uncased",
    lr=5e-5,
    batch_size=64,  # not in the paper
    steps=100 * 118_287 // 64,  # 100 epochs of train2017
    vq_steps=20_000,
    box_steps=50_000,
    ema=0.9995,
    evaluations=100,
)
SCENES = CrossModalSettings(out=Path("runs/crossmodal-scenes"), data=Path("runs/data/scenes"), half=True)


@dataclass(frozen=True)
class CaptionedLayouts:
    """A split in memory.

    layouts: (N, S, S) uint8. images: (N, S, S, 3) uint8. captions: those of each layout. prompts: for each layout its
    captions and sentences of its relations; drawing is trained on the prompts, captioning on the captions.
    classes: names of the layouts' classes, in order.
    """

    layouts: NDArray[np.uint8]
    images: NDArray[np.uint8]
    captions: list[tuple[str, ...]]
    prompts: list[tuple[str, ...]]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """N, the number of layouts."""
        return len(self.layouts)


def train_crossmodal(settings: CrossModalSettings = CROSSMODAL) -> Path:
    """Train on captioned pictures with label maps; returns the checkpoint's folder.

    Raises InputError for data that can't be read, and settings that don't fit each other.
    """
    begin_run(settings)
    return train_model(settings, read_split(settings, "train"), read_split(settings, "val"))


def train_crossmodal_scenes(settings: CrossModalSettings = SCENES) -> Path:
    """Train on the synthetic scenes, drawing them first where settings.data is not there yet."""
    create_scenes_once(settings.data)
    return train_crossmodal(settings)


def train_crossmodal_cocostuff(settings: CrossModalSettings = COCOSTUFF) -> Path:
    """Train on COCO-Stuff with the paper's settings. Pictures take 0.8 MB of memory each, layouts 0.3 MB."""
    return train_crossmodal(settings)


def train_model(settings: CrossModalSettings, train: CaptionedLayouts, val: CaptionedLayouts) -> Path:
    """Train on splits in memory; returns the checkpoint's folder."""
    print(f"{settings.data}: {len(train)} train, {len(val)} val, {len(train.classes)} classes")
    pretrained = _load_pretrained(settings)
    start = _load_start(settings, train)
    if start is not None:
        quantiser, tokenizer = start.quantiser, start.tokenizer
        config = replace(start.model.config, classes=len(train.classes), drop_image=DROP_IMAGE)
    else:
        quantiser = train_quantiser(settings, train, val)
        tokenizer = pretrained[2] if pretrained else CaptionTokenizer.learn(chain(*train.prompts))
        longest = max(tokenizer.encode(list(prompts), 512)[0].shape[1] for prompts in train.prompts)
        config = model_config(settings, quantiser.config.codes, len(train.classes), tokenizer, longest, pretrained)
    boxes = train_boxes(settings, config, tokenizer, train, val) if config.classes else None
    torch.manual_seed(settings.seed)
    model = build_crossmodal(config)
    if pretrained:
        load_pretrained_weights(model, *pretrained[:2])
    if start is not None:
        _continue_from(model, start.model)
    about = {
        "recipe": "segue train crossmodal",
        **dataset_name(settings.data),
        **settings_as_text(settings, *LOCAL),
        "nouns": common_nouns(list(chain(*train.captions))),
    }
    silhouettes = Silhouettes.collect(train.layouts, settings.seed) if boxes else None
    checkpoint = CrossModalCheckpoint(
        model, quantiser, tokenizer, classes=train.classes, about=about, boxes=boxes, silhouettes=silhouettes
    )
    batches, val_batches = (_batches(checkpoint, split, settings.seed) for split in (train, val))

    def save(network: Any, folder: Path) -> None:
        measured = replace(checkpoint, model=network, domain=measure_domain(network, train, val))
        save_crossmodal(measured, folder, half=settings.half)

    fit(model, batches, out=settings.out, options=fit_options(settings), save=save,
        evaluate=partial(_validation_losses, batches=val_batches), monitor="gain",
        about=settings_as_text(settings, *LOCAL),
        illustrate=partial(_illustrate, val=val, device=settings.device), record=partial(keep_settings, settings),
        resume=settings.resume and has_state(settings.out / "state"))  # fmt: skip
    return settings.out / "best"


def _illustrate(folder: Path, val: CaptionedLayouts, device: str) -> str:
    return layout_examples(load_illustrator(folder, device=device), list(val.layouts), val.captions)


@torch.no_grad()
def measure_domain(model: CrossModal, train: CaptionedLayouts, val: CaptionedLayouts) -> FeatureDistance:
    """How far pictures lie from the training's, with the limit from val."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    features = [
        torch.cat([model.picture_features(to_pixels(part).to(device)).cpu() for part in _parts(split.images)])
        for split in (train, val)
    ]
    model.train(training)
    return FeatureDistance.fit(*features, axes=DOMAIN_AXES, near=NEAR)


def _parts(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return np.array_split(images, -(-len(images) // 32))


def model_config(
    settings: CrossModalSettings,
    codes: int,
    classes: int,
    tokenizer: CaptionTokenizer | None = None,
    longest: int = 0,
    pretrained: VitAndBert | None = None,
) -> CrossModalConfig:
    """The model's configuration by the settings and the data. codes: of the quantiser. classes: of the layouts.

    tokenizer: None for a model without captions. longest: tokens of the longest caption, with its end.
    """
    cells = settings.image_size // settings.factor
    changes = dict(SYSTEMS[settings.system])
    share = changes.pop("depth", 1)
    sizes: dict[str, Any] = {"codes": codes, "grid": (cells, cells), "max_words": min(longest + 2, 130)}
    sizes |= {"classes": changes.pop("classes", classes), "drop_image": DROP_IMAGE}
    if tokenizer is not None:
        sizes |= {"pad": tokenizer.pad, "start": tokenizer.start, "end": tokenizer.end}
    else:
        sizes |= {"start": 0, "end": 0}  # tokens of the vocabulary of one that stands for none
    if pretrained:
        return pretrained_config(pretrained[0], pretrained[1], **sizes, **changes)
    return CrossModalConfig(
        patch=settings.factor, vocabulary=1 if tokenizer is None else len(tokenizer), width=settings.width,
        heads=settings.width // 32, depth=max(1, round(settings.depth * share)), **sizes, **changes,
    )  # fmt: skip


def _load_pretrained(settings: CrossModalSettings) -> VitAndBert | None:
    """The models to initialise from. Raises InputError when they don't fit the settings."""
    if not (settings.vit or settings.bert):
        return None
    if not (settings.vit and settings.bert) or settings.system.startswith("depth"):
        raise InputError(
            f"got vit {settings.vit!r} and bert {settings.bert!r} for the system {settings.system}, expected both, and "
            "a system that keeps their depth"
        )
    vit, bert, tokenizer = load_vit_and_bert(settings.vit, settings.bert)
    if vit.config.patch_size != settings.factor:
        raise InputError(f"{settings.vit}: its patches span {vit.config.patch_size} pixels; give --factor the same")
    return vit, bert, tokenizer


def _load_start(settings: CrossModalSettings, train: CaptionedLayouts) -> CrossModalCheckpoint | None:
    """The checkpoint of settings.init. Raises InputError for one of other layouts, and settings that are against it."""
    if not settings.init:
        return None
    start = load_crossmodal(find(settings.init))
    if start.classes != train.classes:
        raise InputError(
            f"{settings.init}: draws {len(start.classes)} other classes than the {len(train.classes)} here"
        )
    theirs, side = start.model.config, settings.image_size // settings.factor
    if theirs.grid != (side, side) or start.quantiser.config.factor != settings.factor:
        raise InputError(
            f"{settings.init}: draws {theirs.grid} cells of {start.quantiser.config.factor} pixels; give the "
            "image-size and factor that make the same"
        )
    if settings.vit or settings.bert or settings.vq or settings.system != "full":
        raise InputError(
            "init: a training that goes on from a checkpoint has its shape; leave vit, bert, vq, system out"
        )
    return start


def _continue_from(model: CrossModal, start: CrossModal) -> None:
    """Copy all weights of `start`. Where it knows no boxes, theirs begin at zero, so that at first nothing changes."""
    missing, foreign = model.load_state_dict(start.state_dict(), strict=False)
    fresh = [name for name, _ in model.named_parameters() if name.startswith("cell_embedding.box_embedding.")]
    if foreign or (missing and missing != fresh):
        raise InputError(f"init: its weights don't fit: {', '.join([*missing, *foreign][:4])}")
    if missing and model.cell_embedding.box_embedding is not None:
        torch.nn.init.zeros_(model.cell_embedding.box_embedding.cells.weight)


def read_split(settings: CrossModalSettings, split: str) -> CaptionedLayouts:
    """A split of settings.data at the training size, all read before anything is computed.

    Raises InputError for data that can't be read, unless settings.on_bad is "skip", and for a split without examples.
    """
    pictures = check_pictures(read_pictures(settings.data, split, settings.on_bad), settings.on_bad)
    return captioned_layouts(pictures, settings, split)


def captioned_layouts(pictures: PictureSet, settings: CrossModalSettings, split: str) -> CaptionedLayouts:
    """The pictures that have both a label map and a caption, at the training size.

    split: its name, for errors. Raises InputError when there is no such picture.
    """
    size = (settings.image_size, settings.image_size)
    layouts, images, captions, prompts = [], [], [], []
    for place, picture in enumerate(pictures.pictures):
        if picture.label_map is None or not (picture.captions or settings.template_captions):
            continue
        labels = picture.label_map()
        check_layout(labels, len(pictures.classes), picture.name)
        texts = picture.captions or template_captions(labels, pictures.classes)
        if not texts:
            continue
        others = (paraphrases(text, settings.paraphrases, [place, i]) for i, text in enumerate(texts))
        layouts.append(resize_layout(labels, size))
        images.append(resize_image(picture.load(), size))
        captions.append(texts)
        prompts.append(texts + relation_sentences(picture) + tuple(chain(*others)))
    if not layouts:
        raise InputError(
            f"{settings.data}, {split}: no picture has both a label map and a caption (see `segue data check`); "
            "--template-captions makes captions of label maps"
        )
    return CaptionedLayouts(np.stack(layouts), np.stack(images), captions, prompts, pictures.classes)


# --- the quantiser


@dataclass(frozen=True)
class _LayoutCrops:
    """Batches of square crops of layouts for the quantiser, of half a side where that is a whole number of cells.

    The quantiser is convolutional, so a quarter of the pixels costs a quarter and teaches nearly as much.
    """

    layouts: NDArray[np.uint8]
    factor: int
    seed: int

    def __len__(self) -> int:
        return len(self.layouts)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """In every other epoch the crops are mirrored: a layout alone says nothing of left and right."""
        size = self.layouts.shape[1]
        side = size // 2 if size // 2 % self.factor == 0 else size
        crops = []
        for epoch, i in keys:
            y, x = np.random.default_rng([self.seed, epoch, i]).integers(0, size - side + 1, 2)
            crops.append(self.layouts[i, y : y + side, x : x + side][:, :: -1 if epoch % 2 else 1])
        return {"layout": torch.from_numpy(np.stack(crops))}


def train_quantiser(settings: CrossModalSettings, train: CaptionedLayouts, val: CaptionedLayouts) -> LayoutVQ:
    """The quantiser of settings.vq, or one trained here; a resumed run keeps the one that it has trained.

    Raises InputError when settings.vq is a quantiser of other layouts.
    """
    if settings.vq is not None:
        return _checked(load_quantiser(settings.vq), settings, len(train.classes))
    out = settings.out / "vq"
    resumed = settings.resume and has_state(out / "state")
    if not (resumed and has_state(settings.out / "state")):  # else it is finished
        torch.manual_seed(settings.seed)
        quantiser = LayoutVQ(VQConfig(len(train.classes), settings.factor, context=settings.vq_context))
        options = fit_options(
            settings, steps=settings.vq_steps, batch_size=2 * settings.batch_size, lr=QUANTISER_LR, weight_decay=0.0
        )
        fit(quantiser, _LayoutCrops(train.layouts, settings.factor, settings.seed), out=out, options=options,
            save=save_quantiser, evaluate=partial(reconstruction_scores, split=val), monitor="miou",
            about={"factor": str(settings.factor)}, record=partial(keep_settings, settings),
            resume=resumed)  # fmt: skip
    return load_quantiser(out / "best")


def _checked(quantiser: LayoutVQ, settings: CrossModalSettings, classes: int) -> LayoutVQ:
    """The quantiser itself. Raises InputError if it was trained on other classes, or cells of another size."""
    if (quantiser.config.classes, quantiser.config.factor) != (classes, settings.factor):
        raise InputError(
            f"{settings.vq}: a quantiser of {quantiser.config.classes} classes with cells of "
            f"{quantiser.config.factor} pixels, expected {classes} and {settings.factor}; leave --vq out to train one"
        )
    return quantiser


@torch.inference_mode()
def reconstruction_scores(quantiser: Any, split: CaptionedLayouts) -> dict[str, float]:
    """Layouts after the quantiser against the same before: mean IoU over the classes present, and pixel accuracy."""
    classes = len(split.classes)
    total, device = Confusion(np.zeros((classes, classes), np.int64)), quantiser.head.weight.device
    for part in _parts(split.layouts):
        decoded = quantiser.decode(quantiser.encode(torch.from_numpy(part).to(device))).cpu().numpy()
        total += Confusion.of(decoded.reshape(-1, decoded.shape[-1]), part.reshape(-1, part.shape[-1]), classes)
    scores = total.scores(empty="skip")
    return {"miou": scores["miou"], "accuracy": scores["pixel_accuracy"]}


# --- the box decoder


@dataclass(frozen=True)
class _BoxBatches:
    """Batches of layouts' boxes with a prompt of each.

    boxes: for each layout its boxes, (R, 5). prompts: for each layout its prompts. encode: prompts to token ids (B, T).
    sides: as most prompts name neither left nor right, a layout with some that do gets one of them half of the times;
    half of the layouts are mirrored with their prompt, and the batch has the prompts with the sides exchanged too.
    """

    boxes: Sequence[NDArray[np.int64]]
    prompts: Sequence[Sequence[str]]
    config: BoxConfig
    encode: Callable[[Sequence[str]], Tensor]
    seed: int
    sides: bool = False

    def __len__(self) -> int:
        return len(self.boxes)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Padding that all have is cut off."""
        prompts, boxes = zip(*(self._example(epoch, i) for epoch, i in keys), strict=True)
        tokens = torch.stack([box_tokens(each, self.config) for each in boxes])
        batch = {"boxes": tokens[:, : int((tokens != PAD).sum(1).max())]}
        if not self.sides:
            return batch | {"ids": self.encode(prompts)}
        ids, swapped = self.encode([*prompts, *map(mirrored_sentence, prompts)]).chunk(2)
        return batch | {"ids": ids, "swapped_ids": swapped}

    def _example(self, epoch: int, i: int) -> tuple[str, NDArray[np.int64]]:
        rng, boxes, prompts = np.random.default_rng([self.seed, epoch, i]), self.boxes[i], list(self.prompts[i])
        if self.sides and rng.random() < 0.5:
            prompts = [one for one in prompts if mirrored_sentence(one) != one] or prompts
        prompt = prompts[int(rng.integers(len(prompts)))]
        if self.sides and rng.random() < 0.5:
            return mirrored_sentence(prompt), mirrored_boxes(boxes, self.config.bins)
        return prompt, boxes


def train_boxes(
    settings: CrossModalSettings,
    model: CrossModalConfig,
    tokenizer: CaptionTokenizer,
    train: CaptionedLayouts,
    val: CaptionedLayouts,
) -> BoxDecoder:
    """The box decoder of settings.boxes, or one trained here; a resumed run keeps the one that it has trained.

    model: the joint model's configuration. Raises InputError when settings.boxes is one of other captions or layouts.
    """
    config = BoxConfig(
        classes=model.classes, bins=BINS_PER_CELL * model.grid[0], vocabulary=model.vocabulary,
        max_words=model.max_words, pad=model.pad, width=settings.width, heads=settings.width // 32,
        word_context=WORD_CONTEXT,
    )  # fmt: skip
    if settings.boxes is not None:
        boxes = load_boxes(settings.boxes)
        if replace(boxes.config, word_context=config.word_context) != config:
            raise InputError(f"{settings.boxes}: a box decoder of other captions or layouts; leave --boxes out")
        return boxes
    out = settings.out / "boxes"
    resumed = settings.resume and has_state(out / "state")
    if not (resumed and has_state(settings.out / "state")):  # else it is finished
        torch.manual_seed(settings.seed)
        batches = _box_batches(train, config, tokenizer, model, settings.seed, sides=True)
        val_batches = _box_batches(val, config, tokenizer, model, settings.seed)
        options = fit_options(settings, steps=settings.box_steps, batch_size=BOX_BATCH * settings.batch_size)
        fit(BoxDecoder(config), batches, out=out, options=options, save=save_boxes,
            evaluate=partial(_box_losses, batches=val_batches), monitor="gain",
            about=settings_as_text(settings, *LOCAL), record=partial(keep_settings, settings),
            resume=resumed)  # fmt: skip
    return load_boxes(out / "best")


def _box_batches(
    split: CaptionedLayouts,
    config: BoxConfig,
    tokenizer: CaptionTokenizer,
    model: CrossModalConfig,
    seed: int,
    *,
    sides: bool = False,
) -> _BoxBatches:
    boxes = [layout_boxes(one, config.bins, config.max_boxes) for one in split.layouts]
    return _BoxBatches(boxes, split.prompts, config, partial(caption_ids, tokenizer, model), seed, sides)


def _box_losses(boxes: Any, batches: _BoxBatches) -> dict[str, float]:
    """The loss on up to 512 validation layouts, and "gain", its negative."""
    keys = [(0, i) for i in range(min(len(batches), 512))]
    device, total = boxes.head.weight.device, 0.0
    with torch.no_grad():
        for part in (keys[i : i + 64] for i in range(0, len(keys), 64)):
            batch = {name: value.to(device) for name, value in batches.collate(part).items()}
            total += len(part) * float(boxes.training_step(batch)["loss"])
    return {"loss": total / len(keys), "gain": -total / len(keys)}


# --- the joint model


@torch.no_grad()
def _batches(checkpoint: CrossModalCheckpoint, split: CaptionedLayouts, seed: int) -> LayoutBatches:
    parts = np.array_split(split.layouts, -(-len(split) // 64))
    codes = torch.cat([checkpoint.quantiser.encode(torch.from_numpy(part)) for part in parts]).short()
    config, boxes = checkpoint.model.config, None
    ids, prompts = (
        [padded_ids(checkpoint.tokenizer, config, texts) for texts in each] for each in (split.captions, split.prompts)
    )
    if checkpoint.boxes is not None:
        bins, most = checkpoint.boxes.config.bins, checkpoint.boxes.config.max_boxes
        boxes = np.stack([paint_boxes(layout_boxes(one, bins, most), bins) for one in split.layouts])
    return LayoutBatches(
        codes, ids, images=split.images, seed=seed, prompt_ids=prompts, captions_per_layout=CAPTIONS_PER_LAYOUT,
        boxes=boxes,
    )  # fmt: skip


def padded_ids(tokenizer: CaptionTokenizer, config: CrossModalConfig, texts: Sequence[str]) -> Tensor:
    """(n, max_words) int64 token ids of captions."""
    ids = caption_ids(tokenizer, config, texts)
    return torch.nn.functional.pad(ids, (0, config.max_words - ids.shape[1]), value=config.pad)


def _validation_losses(model: Any, batches: LayoutBatches) -> dict[str, float]:
    """The loss terms on up to 256 validation layouts, and "gain", the negative loss, to be maximised."""
    total: Counter[str] = Counter()
    keys = [(0, i) for i in range(min(len(batches), 256))]
    device = next(model.parameters()).device
    for part in (keys[i : i + 32] for i in range(0, len(keys), 32)):
        batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batches.collate(part).items()}
        total.update({name: len(part) * float(term) for name, term in model.training_step(batch).items()})
    means = {name: value / len(keys) for name, value in total.items()}
    return {**means, "gain": -means["loss"]}
