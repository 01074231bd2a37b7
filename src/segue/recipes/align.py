"""Experiments with image-text pairs: a dual encoder trained on captioned pictures.

segue train align --data DIR --image efficientnet-lite0 --text minilm    heads on two frozen towers: minutes on a CPU
segue train align --data DIR                                             two small towers from scratch
segue train align-scenes                                                 the same on the drawn scenes: pair-scenes

Frozen towers read every picture and caption once; their features stay in --cache, for the next run too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, show_progress, text_items
from segue.encoders.dual_encoder import DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.registry import build_image_encoder
from segue.encoders.text.clip import ClipText
from segue.encoders.text.contract import TextEncoder
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallText
from segue.methods.dual_encoder.checkpoint import save_dual_encoder
from segue.methods.dual_encoder.model import DualEncoderTask
from segue.metrics.retrieval import recall_at
from segue.recipes.datasets import create_scenes_once
from segue.recipes.settings import evaluation_interval, settings_as_text
from segue.training import FitOptions, fit
from segue.types import InputError, Picture, PictureSet

_SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)
_BATCH = {"images": 32, "texts": 1024}  # that a frozen tower reads at once


@dataclass(frozen=True)
class AlignSettings:
    """One training of a dual encoder.

    Attributes:
        out: folder of the run: best/, last/, history and TensorBoard.
        data: folder with captioned pictures in any format that Segue reads, with a train and a val split.
        image: "small" (trained along), "efficientnet-lite0" (extra towers), or "clip:ID-OR-FOLDER" (CLIP or SigLIP).
        text: "small" (trained along), "minilm" (extra towers), or "clip:ID-OR-FOLDER"; the pretrained stay frozen.
        freeze: leave a pretrained image tower as it is, and compute its features once.
        image_size: side of the square that the image tower sees, in pixels; 0 for the tower's own.
        width: size of the joint space.
        hidden: inner layer of the projection heads, 0 for linear heads.
        dropout: in the projection heads.
        hard: weight of the hinge on the hardest rival, 0 for none.
        flips: mirror half of the pictures, never one whose caption says left or right.
        vocabulary: word pieces of the small text tower, at most.
        steps: optimiser steps.
        batch_size: pairs a step, over all processes: each is told from all others.
        lr: peak learning rate, reached after a warm-up of a tenth of the steps, then cosine.
        weight_decay: AdamW's.
        ema: decay of the weights' moving average, 0 for none.
        evaluations: how many times the validation split is scored; the best weights are kept.
        seed: of weights, order, captions and flips.
        on_bad: what to do with a picture that can't be read: "stop" before training, or "skip" and say so.
        cache: folder for the features of frozen towers.
        half: store the checkpoint as float16.
        resume: continue the run in `out`.
    """

    out: Path
    data: Path
    image: str = "small"
    text: str = "small"
    freeze: bool = True
    image_size: int = 0
    width: int = 256
    hidden: int = 1024
    dropout: float = 0.2
    hard: float = 0.0
    flips: bool = True
    vocabulary: int = 2000
    steps: int = 600
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 0.1
    ema: float = 0.99
    evaluations: int = 5
    seed: int = 0
    on_bad: Literal["stop", "skip"] = "stop"
    cache: Path = Path("runs/features")
    half: bool = False
    resume: bool = False


ALIGN = AlignSettings(out=Path("runs/align"), data=Path("data"))
SCENES = AlignSettings(
    out=Path("runs/pair-scenes"),
    data=Path("runs/data/scenes"),
    image_size=128,
    steps=4000,
    batch_size=64,
    lr=1e-3,
    evaluations=8,
    half=True,
)


def align(settings: AlignSettings) -> Path:
    """Train on captioned pictures in any format; returns the checkpoint's folder."""
    from segue.data.formats import read_pictures

    return train_pair(settings, *(read_pictures(settings.data, split) for split in ("train", "val")))


def align_scenes(settings: AlignSettings) -> Path:
    """Train on the sketchbook's scenes, drawing them first where settings.data is not there yet."""
    create_scenes_once(settings.data)
    return align(settings)


def train_pair(settings: AlignSettings, train: PictureSet, val: PictureSet) -> Path:
    """Train on these pictures; the best of `evaluations` checkpoints, by the mean of all recalls on val, is kept."""
    torch.manual_seed(settings.seed)
    pair = build_pair(settings, [caption for picture in train.pictures for caption in picture.captions])
    seen, held_out = (
        Captioned.of(pictures, settings.on_bad, name) for pictures, name in ((train, "train"), (val, "val"))
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    towers = Towers(pair.to(device), settings.cache)
    task, kept = DualEncoderTask(pair, hard=settings.hard), (towers.images(held_out), towers.texts(held_out))
    batches = PairBatches(seen, towers, settings.seed, settings.flips)
    fit(
        task,
        batches,
        out=settings.out,
        options=FitOptions(
            steps=settings.steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=settings.steps // 10,
            ema=settings.ema,
            evaluate_every=evaluation_interval(settings.steps, settings.evaluations),
            seed=settings.seed,
        ),
        save=partial(_save, settings=settings),
        evaluate=lambda task: recalls(cast(DualEncoderTask, task).pair, held_out, *kept),
        monitor="mean_recall",
        about=settings_as_text(settings),
        resume=settings.resume,
    )
    return settings.out / "best"


def build_pair(settings: AlignSettings, captions: Sequence[str]) -> VisionTextDualEncoder:
    """A dual encoder with fresh heads; the small text tower gets its word pieces from the captions."""
    image = build_image_encoder(settings.image, size=settings.image_size or None, frozen=settings.freeze)
    pooling: Literal["mean", "last"] = "last" if settings.text.startswith("clip:") else "mean"
    config = DualEncoderConfig(settings.width, settings.hidden, settings.dropout, pooling=pooling)
    return VisionTextDualEncoder(config, image, _build_text_encoder(settings.text, captions, settings.vocabulary))


def _build_text_encoder(source: str, captions: Sequence[str], vocabulary: int) -> TextEncoder:
    if source == "small":
        return SmallText(SmallText.train_tokenizer(captions, vocabulary), max_tokens=48)
    if source == "minilm":
        return MiniLM()
    if source.startswith("clip:"):
        return ClipText(source.removeprefix("clip:"))
    raise InputError(f'text tower {source!r}: expected "small", "minilm" or "clip:ID-OR-FOLDER"')


@dataclass(frozen=True)
class Captioned:
    """Pictures that have captions, each caption beside the position of its picture. split: their name in the cache."""

    pictures: list[Picture]
    captions: list[str]
    owner: NDArray[np.int64]
    split: str

    @staticmethod
    def of(pictures: PictureSet, on_bad: str, split: str) -> Captioned:
        """Those of a set whose pictures can be read. Raises InputError when some can't and on_bad is "stop"."""
        told = [picture for picture in pictures.pictures if any(c.strip() for c in picture.captions)]
        bad = _unreadable(told)
        if bad and on_bad == "stop":
            raise InputError(
                f"{split}: {len(bad)} of {len(told)} pictures can't be read: {'; '.join(list(bad.values())[:3])}. "
                "Mend them, or pass --on-bad skip"
            )
        if bad:
            print(f"{split}: skipped {len(bad)} pictures that can't be read: {', '.join(list(bad)[:5])}")
        good = [picture for picture in told if picture.name not in bad]
        if len(good) < 2:
            raise InputError(f"{split}: {len(good)} pictures with captions, expected at least 2; check the data set")
        said = [(i, caption) for i, picture in enumerate(good) for caption in picture.captions if caption.strip()]
        return Captioned(good, [c for _, c in said], np.array([i for i, _ in said]), split)

    @cached_property
    def captions_of(self) -> list[NDArray[np.int64]]:
        """For each picture the positions of its captions."""
        cuts = np.searchsorted(self.owner, np.arange(1, len(self.pictures)))
        return np.split(np.arange(len(self.captions)), cuts)


def _unreadable(pictures: Sequence[Picture]) -> dict[str, str]:
    bad = {}
    for picture in pictures:
        try:
            picture.load()
        except InputError as error:
            bad[picture.name] = str(error)
    return bad


class Towers:
    """What the towers of a pair make of a split; frozen ones compute it once and keep it on disk."""

    def __init__(self, pair: VisionTextDualEncoder, cache: Path) -> None:
        self.pair, self.cache = pair, cache

    def images(self, captioned: Captioned, mirrored: bool = False) -> EmbeddingStore | None:
        """(pictures, C) pooled features, or None where the tower is trained."""
        if not self.pair.image.frozen:
            return None
        name = f"{captioned.split}{'-mirrored' if mirrored else ''}"
        items = [_picture_item(picture, mirrored) for picture in captioned.pictures]
        return self._store(name, "images", items, self.pair.image, partial(_read_images, self.pair))

    def texts(self, captioned: Captioned) -> EmbeddingStore | None:
        """(captions, C) features, or None where the tower is trained."""
        if not self.pair.text.frozen:
            return None
        names = (f"{captioned.pictures[o].name}#{i}" for i, o in enumerate(captioned.owner))
        items = text_items(zip(names, captioned.captions, strict=True))
        return self._store(captioned.split, "texts", items, self.pair.text, partial(_read_texts, self.pair))

    def _store(self, name: str, kind: str, items: list[Item], tower: Any, read: Any) -> EmbeddingStore:
        plan = StorePlan(tower.fingerprint, kind, tower.width, shard_rows=1024, batch_size=_BATCH[kind])
        pooling = self.pair.config.pooling if kind == "texts" else ""
        told = str([plan, tower.config(), pooling, [(item.name, item.content_key) for item in items]])
        folder = self.cache / f"{name}-{kind}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        if not folder.exists():
            print(f"{name}: reading {len(items):,} {kind} with the frozen tower, once, to {folder}", flush=True)
        return fill_store(folder, items, read, plan, progress=show_progress, wait=True)


def _picture_item(picture: Picture, mirrored: bool) -> Item:
    def load() -> NDArray[np.uint8]:
        image = picture.load()
        return np.ascontiguousarray(image[:, ::-1]) if mirrored else image

    pixels = load()
    return Item(picture.name, hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest(), load)


@torch.no_grad()
def _read_images(pair: VisionTextDualEncoder, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return pair.image(pair.image.preprocess(images).to(_device(pair))).pooled.float().cpu().numpy()


@torch.no_grad()
def _read_texts(pair: VisionTextDualEncoder, texts: list[str]) -> NDArray[np.float32]:
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # neighbours of one length waste no padding
    parts = (pair.text.tokenize([texts[i] for i in order[j : j + 64]]) for j in range(0, len(order), 64))
    device = _device(pair)
    rows = torch.cat([pair.read_text(ids.to(device), mask.to(device)).float().cpu() for ids, mask in parts])
    return rows[torch.argsort(torch.tensor(order))].numpy()


def _device(pair: DualEncoder) -> torch.device:
    return next(pair.parameters()).device


class PairBatches:
    """One caption of every picture, drawn anew each epoch; a pure function of the keys."""

    def __init__(self, captioned: Captioned, towers: Towers, seed: int, flips: bool) -> None:
        self.captioned, self.pair, self.seed, self.flips = captioned, towers.pair, seed, flips
        self.images, self.texts = towers.images(captioned), towers.texts(captioned)
        self.mirrored = towers.images(captioned, mirrored=True) if flips else None

    def __len__(self) -> int:
        return len(self.captioned.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch that `DualEncoderTask.training_step` takes."""
        drawn = [self._draw(epoch, index) for epoch, index in keys]
        owners, said, mirror = (np.array(column) for column in zip(*drawn, strict=True))
        image = self._pixels(owners, mirror) if self.images is None else self._features(self.images, owners, mirror)
        if self.texts is None:
            text: Any = self.pair.text.tokenize([self.captioned.captions[i] for i in said])
        else:
            text = torch.from_numpy(self.texts.take(said)).float()
        return {"image": image, "text": text, "owner": torch.from_numpy(owners)}

    def _draw(self, epoch: int, index: int) -> tuple[int, int, bool]:
        rng = np.random.default_rng([self.seed, epoch, index])
        said = int(rng.choice(self.captioned.captions_of[index]))
        mirror = self.flips and rng.random() < 0.5 and not _SIDES.search(self.captioned.captions[said])
        return index, said, mirror

    def _features(self, images: EmbeddingStore, owners: NDArray[np.int64], mirror: NDArray[np.bool_]) -> Tensor:
        rows = images.take(owners)
        if self.mirrored is not None and mirror.any():
            rows[mirror] = self.mirrored.take(owners[mirror])
        return torch.from_numpy(rows).float()

    def _pixels(self, owners: NDArray[np.int64], mirror: NDArray[np.bool_]) -> Tensor:
        images = [self.captioned.pictures[i].load() for i in owners]
        flipped = [np.ascontiguousarray(x[:, ::-1]) if m else x for x, m in zip(images, mirror, strict=True)]
        return self.pair.image.preprocess(flipped)


def recalls(
    pair: VisionTextDualEncoder, captioned: Captioned, images: EmbeddingStore | None, texts: EmbeddingStore | None
) -> dict[str, float]:
    """Recall at 1, 5 and 10 both ways, in [0, 1], and their mean; of the towers' features where they are kept."""
    v = _embedded_pictures(pair, captioned) if images is None else _projected(pair.image_head, images)
    t = pair.embed_texts(captioned.captions).numpy() if texts is None else _projected(pair.text_head, texts)
    found = recall_at(v, t, captioned.owner)
    return found | {"mean_recall": sum(found.values()) / len(found)}


def _embedded_pictures(pair: VisionTextDualEncoder, captioned: Captioned, at_once: int = 256) -> NDArray[np.float32]:
    parts = (captioned.pictures[i : i + at_once] for i in range(0, len(captioned.pictures), at_once))
    return torch.cat([pair.embed_images([p.load() for p in part]) for part in parts]).numpy()


@torch.no_grad()
def _projected(head: torch.nn.Module, store: EmbeddingStore) -> NDArray[np.float32]:
    device = next(head.parameters()).device
    rows = (head(torch.from_numpy(np.array(part)).float().to(device)) for _, part in store.chunks(4096))
    return F.normalize(torch.cat([row.float() for row in rows]), dim=-1).cpu().numpy()


def _save(task: Any, folder: Path, settings: AlignSettings) -> None:
    save_dual_encoder(
        task.pair, folder, {"recipe": "segue train align", **settings_as_text(settings)}, half=settings.half
    )
