"""Training of a dual encoder on captioned images.

segue train dual-encoder --data DIR --image efficientnet-lite0 --text minilm    projection heads on two frozen encoders:
                                                                                minutes on a CPU
segue train dual-encoder --data DIR                                             two small encoders from scratch
segue train dual-encoder-photos --data FLICKR8K                                 the first of these with settings for
                                                                                photographs: the bundled photos-encoder
segue train dual-encoder-scenes                                                 the same on synthetic scenes; the
                                                                                bundled scenes-encoder came from it

Frozen encoders read every image and caption once; their features stay in --cache, for the next run too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from numpy.typing import NDArray
from torch import Tensor

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, show_progress, text_items
from segue.encoders.class_names import TEMPLATES, classifier_of
from segue.encoders.dual_encoder import DOMAIN_SIDE, DualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image import build_image_encoder
from segue.encoders.text import build_text_encoder
from segue.evaluation.reports.retrieval import retrieval_examples
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.model import ClassDistillation, DualEncoderTask
from segue.metrics.retrieval import recall_at_k
from segue.nn.devices import resolve_device
from segue.nn.feature_distance import FeatureDistance
from segue.nn.preprocessing import reduce_image
from segue.recipes.datasets import begin_run, create_scenes_once
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.types import InputError, Picture, PictureSet

_LEFT_OR_RIGHT = re.compile(r"\b(left|right)", re.IGNORECASE)
View = Literal["whole", "mirrored", "reduced"] | int  # of an image: an integer is the number of a crop
DOMAIN_AXES, NEAR = 144, 0.995  # principal axes of the training's features; the share of val that is not far
_BATCH_SIZE = {"images": 32, "texts": 1024}  # of frozen encoders


@dataclass(frozen=True, kw_only=True)
class DualEncoderSettings(TrainSettings):
    """One training of a dual encoder. `batch_size` counts image-text pairs: the other pairs are the negatives.

    Attributes:
        data: folder with captioned images in any format that Segue reads, with a train and a val split.
        image: "small" (trained along), "efficientnet-lite0" (extra `offline`), or "clip:ID-OR-FOLDER" (CLIP or SigLIP).
        text: "small" (trained along), "minilm" (extra `offline`), or "clip:ID-OR-FOLDER"; the pretrained stay frozen.
        freeze: keep a pretrained image encoder frozen, and compute its features once.
        image_size: side of the image encoder's square input, in pixels; by default the encoder's own.
        width: size of the joint space.
        hidden: width of the projection heads' hidden layer, 0 for linear heads.
        dropout: in the projection heads.
        hard_negatives: weight of the hinge on the hardest negatives, 0 for none.
        flips: mirror half of the images, never one whose caption says left or right.
        crops: further views of each image: random crops of 40 to 90 % of its area, drawn once.
        label_smoothing: of the contrastive loss.
        distillation: weight of the cross-entropy between the names that the image encoder's own classifier gives an
            image (ImageNet's 1,000) and those that the dual encoder gives it; 0 for none. EfficientNet only.
        class_names: share of those names in an image's vector where they surprise; 0 for none. Needs distillation.
        vocabulary: the largest vocabulary of the small text encoder's tokenizer.
        cache: folder for the features of frozen encoders.
    """

    image: str = "small"
    text: str = "small"
    freeze: bool = True
    image_size: Annotated[int, Ge(1)] | None = None
    width: int = 256
    hidden: int = 1024
    dropout: float = 0.2
    hard_negatives: float = 0.0
    flips: bool = True
    crops: Annotated[int, Ge(0)] = 0
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    distillation: Annotated[float, Ge(0)] = 0.0
    class_names: Annotated[float, Interval(ge=0, le=10)] = 0.0
    vocabulary: int = 2000
    steps: int = 600
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 0.1
    cache: Path = Path("runs/features")


DUAL_ENCODER = DualEncoderSettings(out=Path("runs/dual-encoder"), data=Path("data"))
SCENES = DualEncoderSettings(
    out=Path("runs/scenes-encoder"),
    data=Path("runs/data/scenes"),
    image_size=128,
    steps=4000,
    batch_size=64,
    evaluations=8,
    half=True,
)
PHOTOS = DualEncoderSettings(
    out=Path("runs/photos-encoder"),
    data=Path("data/flickr8k"),
    image="efficientnet-lite0",
    text="minilm",
    hidden=768,
    dropout=0.3,
    crops=1,
    label_smoothing=0.1,
    distillation=0.5,
    class_names=0.7,
    steps=800,
    half=True,
)


def train_dual_encoder(settings: DualEncoderSettings = DUAL_ENCODER) -> Path:
    """Train on captioned images in any format; returns the checkpoint's folder."""
    from segue.data.formats import read_pictures

    begin_run(settings)
    train, val = (read_pictures(settings.data, split, settings.on_bad) for split in ("train", "val"))
    return train_on_pictures(settings, train, val)


def train_dual_encoder_scenes(settings: DualEncoderSettings = SCENES) -> Path:
    """Train on synthetic scenes, which are drawn first where settings.data is not there yet."""
    create_scenes_once(settings.data)
    return train_dual_encoder(settings)


def train_dual_encoder_photos(settings: DualEncoderSettings = PHOTOS) -> Path:
    """Train projection heads for photographs on two frozen encoders; the bundled photos-encoder came from it."""
    return train_dual_encoder(settings)


def train_on_pictures(settings: DualEncoderSettings, train: PictureSet, val: PictureSet) -> Path:
    """Train on these images; the best of `evaluations` checkpoints, by the mean of all recalls on val, is kept.

    Raises InputError when images can't be read and on_bad is "stop", and for a split with fewer than two.
    """
    if settings.class_names and not settings.distillation:
        raise InputError(
            f"class_names: got {settings.class_names} without distillation, which reads the names; "
            "pass --distillation .5"
        )
    torch.manual_seed(settings.seed)
    model = build_dual_encoder(settings, [caption for picture in train.pictures for caption in picture.captions])
    train_set, val_set = (
        CaptionedImages.of(pictures, settings.on_bad, name) for pictures, name in ((train, "train"), (val, "val"))
    )
    cache = FeatureCache(model.to(resolve_device(settings.device)), settings.cache)
    val_features = cache.images(val_set), cache.texts(val_set)
    model.domain = measure_domain(cache, train_set, val_set)
    task = DualEncoderTask(
        model,
        hard_negatives=settings.hard_negatives,
        label_smoothing=settings.label_smoothing,
        distillation=class_distillation(model, settings.distillation) if settings.distillation else None,
    )
    fit(
        task,
        ImageTextBatches(train_set, cache, settings.seed, settings.flips, settings.crops),
        out=settings.out,
        options=fit_options(settings),
        save=partial(_save, settings=settings),
        evaluate=lambda task: recalls(cast(DualEncoderTask, task).model, val_set, *val_features),
        monitor="mean_recall",
        about=settings_as_text(settings),
        illustrate=lambda folder: retrieval_examples(
            load_dual_encoder(folder, device=settings.device), val_set.pictures
        ),
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    return settings.out / "best"


def measure_domain(cache: FeatureCache, train: CaptionedImages, val: CaptionedImages) -> FeatureDistance | None:
    """How far pictures lie from the training's, with the limit from val; None where the image encoder is trained."""
    stores = [cache.images(one, "reduced") for one in (train, val)]
    features = [torch.from_numpy(np.array(store.rows())).float() for store in stores if store is not None]
    if len(features) < len(stores):
        return None
    return FeatureDistance.fit(*features, axes=DOMAIN_AXES, near=NEAR)


def build_dual_encoder(settings: DualEncoderSettings, captions: Sequence[str]) -> VisionTextDualEncoder:
    """A dual encoder with fresh projection heads; the tokenizer of a small text encoder is trained on the captions."""
    image = build_image_encoder(settings.image, size=settings.image_size, frozen=settings.freeze)
    pooling: Literal["mean", "last"] = "last" if settings.text.startswith("clip:") else "mean"
    config = DualEncoderConfig(
        settings.width, settings.hidden, settings.dropout, pooling=pooling, class_names=settings.class_names
    )
    text = build_text_encoder(settings.text, captions, vocabulary=settings.vocabulary, max_tokens=48)
    return VisionTextDualEncoder(config, image, text)


def class_distillation(model: VisionTextDualEncoder, weight: float) -> ClassDistillation:
    """The names of the image encoder's own classifier, read by the frozen text encoder in every template.

    Raises InputError for encoders that have no classifier, or are trained.
    """
    classifier = classifier_of(model.image_encoder)
    if not model.text_encoder.frozen:
        raise InputError("distillation: expected a frozen text encoder, such as minilm; leave it at 0 for others")
    texts = [_text_features(model, [t.format(name) for name in classifier.names]) for t in TEMPLATES]
    return ClassDistillation(weight, classifier.weight, classifier.bias, torch.from_numpy(np.stack(texts)))


@dataclass(frozen=True)
class CaptionedImages:
    """The images of a split that have captions.

    captions: of all images, one after another. image_index: (captions,) int64, the image of each caption.
    split: its name, for messages and the cache.
    """

    pictures: list[Picture]
    captions: list[str]
    image_index: NDArray[np.int64]
    split: str

    @staticmethod
    def of(pictures: PictureSet, on_bad: str, split: str) -> CaptionedImages:
        """Those of a set that can be read.

        Raises InputError when some can't and on_bad is "stop", and when fewer than two are left.
        """
        captioned = [picture for picture in pictures.pictures if any(c.strip() for c in picture.captions)]
        bad = _unreadable(captioned)
        if bad and on_bad == "stop":
            raise InputError(
                f"{split}: {len(bad)} of {len(captioned)} pictures can't be read: {'; '.join(list(bad.values())[:3])}. "
                "Mend them, or pass --on-bad skip"
            )
        if bad:
            print(f"{split}: skipped {len(bad)} pictures that can't be read: {', '.join(list(bad)[:5])}")
        good = [picture for picture in captioned if picture.name not in bad]
        if len(good) < 2:
            raise InputError(f"{split}: {len(good)} pictures with captions, expected at least 2; check the data set")
        pairs = [(i, caption) for i, picture in enumerate(good) for caption in picture.captions if caption.strip()]
        return CaptionedImages(good, [c for _, c in pairs], np.array([i for i, _ in pairs]), split)

    @cached_property
    def captions_of(self) -> list[NDArray[np.int64]]:
        """For each image the positions of its captions."""
        cuts = np.searchsorted(self.image_index, np.arange(1, len(self.pictures)))
        return np.split(np.arange(len(self.captions)), cuts)


def _unreadable(pictures: Sequence[Picture]) -> dict[str, str]:
    bad = {}
    for picture in pictures:
        try:
            picture.load()
        except InputError as error:
            bad[picture.name] = str(error)
    return bad


class FeatureCache:
    """The features of a split by the frozen encoders of a dual encoder, computed once and kept on disk."""

    def __init__(self, model: VisionTextDualEncoder, folder: Path) -> None:
        self.model, self.folder = model, folder

    def images(self, captioned: CaptionedImages, view: View = "whole") -> EmbeddingStore | None:
        """(images, C) pooled features of a view, or None where the image encoder is trained."""
        encoder = self.model.image_encoder
        if not encoder.frozen:
            return None
        # Small pictures are the same when reduced: then the store is that of the whole ones.
        name = captioned.split if view in ("whole", "reduced") else f"{captioned.split}-{view}"
        items = [
            _image_item(picture, partial(_seen, view=view, index=i)) for i, picture in enumerate(captioned.pictures)
        ]
        return self._store(name, "images", items, encoder, partial(_image_features, self.model))

    def texts(self, captioned: CaptionedImages) -> EmbeddingStore | None:
        """(captions, C) pooled features, or None where the text encoder is trained."""
        encoder = self.model.text_encoder
        if not encoder.frozen:
            return None
        names = (f"{captioned.pictures[o].name}#{i}" for i, o in enumerate(captioned.image_index))
        items = text_items(zip(names, captioned.captions, strict=True))
        return self._store(captioned.split, "texts", items, encoder, partial(_text_features, self.model))

    def _store(self, name: str, kind: str, items: list[Item], encoder: Any, compute: Any) -> EmbeddingStore:
        plan = StorePlan(encoder.fingerprint, kind, encoder.width, shard_rows=1024, batch_size=_BATCH_SIZE[kind])
        pooling = self.model.config.pooling if kind == "texts" else ""
        identity = str([plan, encoder.config(), pooling, [(item.name, item.content_key) for item in items]])
        folder = self.folder / f"{name}-{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        if not folder.exists():
            print(f"{name}: reading {len(items):,} {kind} with the frozen encoder, once, to {folder}", flush=True)
        return fill_store(folder, items, compute, plan, progress=show_progress, wait=True)


def _image_item(picture: Picture, seen: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Item:
    def load() -> NDArray[np.uint8]:
        return seen(picture.load())

    pixels = load()
    return Item(picture.name, hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest(), load)


def _seen(image: NDArray[np.uint8], *, view: View, index: int) -> NDArray[np.uint8]:
    """A view of an image (H, W, 3): "whole", "mirrored", "reduced" to the size at which its distance is measured, or a
    crop by its number from 0, another for each index."""
    if view == "whole":
        return image
    if view == "reduced":
        return reduce_image(image, DOMAIN_SIDE)
    if view == "mirrored":
        return np.ascontiguousarray(image[:, ::-1])
    rng = np.random.default_rng([view, index])
    share = np.sqrt(rng.uniform(0.4, 0.9))
    height, width = (max(1, round(side * share)) for side in image.shape[:2])
    top, left = (rng.integers(side - part + 1) for side, part in zip(image.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


@torch.no_grad()
def _image_features(model: VisionTextDualEncoder, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    pixels = model.image_encoder.preprocess(images).to(_device(model))
    features: NDArray[np.float32] = model.image_encoder(pixels).pooled.float().cpu().numpy()
    return features


@torch.no_grad()
def _text_features(model: VisionTextDualEncoder, texts: list[str]) -> NDArray[np.float32]:
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # batches of one length need little padding
    batches = (model.text_encoder.tokenize([texts[i] for i in order[j : j + 64]]) for j in range(0, len(order), 64))
    device = _device(model)
    rows = torch.cat([model.encode_text(ids.to(device), mask.to(device)).float().cpu() for ids, mask in batches])
    features: NDArray[np.float32] = rows[torch.argsort(torch.tensor(order))].numpy()
    return features


def _device(model: DualEncoder) -> torch.device:
    return next(model.parameters()).device


class ImageTextBatches:
    """One caption of every image, drawn anew each epoch; a pure function of the keys."""

    def __init__(self, captioned: CaptionedImages, cache: FeatureCache, seed: int, flips: bool, crops: int = 0) -> None:
        self.captioned, self.model, self.seed = captioned, cache.model, seed
        self.flips, self.crops = flips, crops
        self.images, self.texts = cache.images(captioned), cache.texts(captioned)
        self.mirrored = cache.images(captioned, "mirrored") if flips else None
        self.cropped = [cache.images(captioned, number) for number in range(crops)]

    def __len__(self) -> int:
        return len(self.captioned.pictures)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch that `DualEncoderTask.training_step` takes."""
        drawn = [self._draw(epoch, index) for epoch, index in keys]
        images, captions = (np.array([one[i] for one in drawn]) for i in (0, 1))
        views = [view for _, _, view in drawn]
        image = self._pixels(images, views) if self.images is None else self._features(self.images, images, views)
        if self.texts is None:
            text: Any = self.model.text_encoder.tokenize([self.captioned.captions[i] for i in captions])
        else:
            text = torch.from_numpy(self.texts.take(captions)).float()
        return {"image": image, "text": text, "image_index": torch.from_numpy(images)}

    def _draw(self, epoch: int, index: int) -> tuple[int, int, View]:
        """The positions of an image and of one of its captions, and how the image is seen."""
        rng = np.random.default_rng([self.seed, epoch, index])
        caption = int(rng.choice(self.captioned.captions_of[index]))
        mirror = self.flips and rng.random() < 0.5 and not _LEFT_OR_RIGHT.search(self.captioned.captions[caption])
        crop = int(rng.integers(-1 - self.flips, self.crops)) if self.crops else -1  # each view equally often
        return index, caption, crop if crop >= 0 else "mirrored" if mirror else "whole"

    def _features(self, whole: EmbeddingStore, images: NDArray[np.int64], views: Sequence[View]) -> Tensor:
        rows = whole.take(images)
        stores = {"mirrored": self.mirrored} | dict(enumerate(self.cropped))
        for view, store in stores.items():
            inside = np.array([one == view for one in views])
            if store is not None and inside.any():
                rows[inside] = store.take(images[inside])
        return torch.from_numpy(rows).float()

    def _pixels(self, images: NDArray[np.int64], views: Sequence[View]) -> Tensor:
        pictures = (self.captioned.pictures[i].load() for i in images)
        seen = [_seen(x, view=view, index=int(i)) for x, view, i in zip(pictures, views, images, strict=True)]
        return self.model.image_encoder.preprocess(seen)


def recalls(
    model: VisionTextDualEncoder,
    captioned: CaptionedImages,
    images: EmbeddingStore | None,
    texts: EmbeddingStore | None,
) -> dict[str, float]:
    """Recall at 1, 5 and 10 both ways, in [0, 1], and their mean.

    images, texts: the features of frozen encoders; None reads the images or captions anew.
    """
    pictures = captioned.pictures
    v = embed_pictures(model, pictures).numpy() if images is None else _project(model.image_projection, images)
    t = model.embed_texts(captioned.captions).numpy() if texts is None else _project(model.text_projection, texts)
    recall = recall_at_k(v, t, captioned.image_index)
    return recall | {"mean_recall": sum(recall.values()) / len(recall)}


def embed_pictures(model: DualEncoder, pictures: Sequence[Picture], chunk: int = 256) -> Tensor:
    """(N, D) of N pictures, of which `chunk` are in memory at a time; see `DualEncoder.embed_images`."""
    chunks = (pictures[i : i + chunk] for i in range(0, len(pictures), chunk))
    return torch.cat([model.embed_images([picture.load() for picture in part]) for part in chunks])


@torch.no_grad()
def _project(head: torch.nn.Module, store: EmbeddingStore) -> NDArray[np.float32]:
    device = next(head.parameters()).device
    rows = (head(torch.from_numpy(np.array(part)).float().to(device)) for _, part in store.chunks(4096))
    projected: NDArray[np.float32] = F.normalize(torch.cat([row.float() for row in rows]), dim=-1).cpu().numpy()
    return projected


def _save(task: Any, folder: Path, settings: DualEncoderSettings) -> None:
    task.name_classes()
    about = {"recipe": "segue train dual-encoder", **settings_as_text(settings), **dataset_name(settings.data)}
    save_dual_encoder(task.model, folder, about, half=settings.half)
