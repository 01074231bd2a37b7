"""Training of captioners that learn from text alone (SynTIC).

segue train syntic --data my.txt --encoder ENCODER --images DIR     your captions; DIR: their synthetic images
segue train syntic-scenes                                           the captions of the synthetic scenes
segue train syntic-photos --data my.txt --gap DIR                   for photographs, in hours: the bundled
                                                                    captions-photos came from it
segue train syntic-coco | syntic-flickr30k | syntic-cc3m-zeroshot   the paper's own experiments, on a GPU

A folder as --data is a data set: the captions of its `train` split are read, its pictures are not. What is computed
once (synthetic images, features) is kept in --images and --cache for the next run; a run that was stopped continues.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from numpy.typing import NDArray
from torch import Tensor

from segue.api.captioner import Captioner, load_captioner
from segue.api.embedding import BATCH_SIZES, batch_reader
from segue.configs import keep_in_config
from segue.data.corpus import Corpus, read_corpus
from segue.data.embedding_store import (
    EmbeddingStore,
    Item,
    StorePlan,
    fill_store,
    picture_items,
    show_progress,
    text_items,
)
from segue.data.formats import detect_format, read_pictures
from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.dual_encoder import DualEncoder
from segue.evaluation.captions import fit_consensus, fit_scores, score_features
from segue.evaluation.reports.captions import caption_examples
from segue.files import locked, replacing
from segue.methods.cocu.vocabulary import noun_vocabulary, read_vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import (
    SIZES,
    SupportSet,
    SynticCheckpoint,
    SynticConfig,
    build_syntic,
    optimise_features,
    save_syntic,
    system_config,
)
from segue.methods.syntic.tagging import find_objects, pad_indices
from segue.metrics.acceptance import calibrate
from segue.nn.devices import resolve_device
from segue.recipes.datasets import begin_run
from segue.recipes.detections import detect_once
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings
from segue.synthetic.scenes.scene import THING_CLASSES
from segue.synthetic.text_to_image import StableDiffusion, SyntheticTextToImage, TextToImage, generate_pictures
from segue.training import Batches, fit
from segue.types import InputError, Picture
from segue.weights import pinned

System = Literal[
    "baseline", "fo", "fp", "af", "fo_af", "fp_fo", "fp_af", "full", "clipre", "capdec", "close", "decap", "neighbours"
]  # fmt: skip
RECORDED = (  # settings that the checkpoint names, and that a resumed run must share
    "system", "text_to_image", "pictures", "support", "fo_steps", "fo_lr", "tau", "steps", "batch_size", "lr", "seed",
    "own", "same_picture", "label_smoothing", "noise", "leave_out", "fo_tau", "raw_query",
)  # fmt: skip
Tags = tuple[Tensor, Tensor]  # positions in a list of names (N, K) int64, and which of them are real (N, K) bool


@dataclass(frozen=True, kw_only=True)
class SynticSettings(TrainSettings):
    """Settings of a training. The last weights are kept: where `gap` has pictures, they are scored on the way.

    Raises InputError when patience is not 0.

    Attributes:
        out: folder of the run: last/, history and report.
        data: a file of captions (.txt, .jsonl, .tsv, COCO's or Karpathy's .json, each also .gz), or a data set.
        encoder: the dual encoder: a bundled name, a checkpoint folder, or clip:ID-OR-FOLDER.
        images: folder of the synthetic images; those that it lacks are drawn there.
        text_to_image: what draws them: "synthetic" (scenes; knows only some things), "diffusion:ID-OR-FOLDER", or
            "text": nothing is drawn, and a caption's own feature takes the place of its synthetic image's.
        diffusion_steps: sampling steps of Stable Diffusion.
        diffusion_size: side of its pictures in pixels, a multiple of 8.
        diffusion_precision: "float32", or "float16", which takes half the memory of a GPU; not for a CPU.
        diffusion_batch: captions that it draws at a time; no picture depends on it.
        system: the method, one of its ablations, a method that it is compared with, or "neighbours": the decoder also
            reads the nearest captions of the support set.
        size: of the decoder: "small" (width 128), "compact" (256, two layers), "segue" (256), or "faithful" (768).
        pictures: captions to train on, each with its synthetic image, drawn at random; at most all.
        support: captions of the support set, kept in the checkpoint.
        max_words: leave out longer captions; 0 for none.
        max_tokens: the most tokens of a caption.
        vocabulary: the most tokens of the tokenizer.
        objects: a file of names to look for in pictures, one a line; by default the captions' own nouns.
        detector: what finds objects in the pictures: a DETR by its id on the hub or from a folder, or a YOLOX as an
            .onnx file; without, names are found by image-text similarity.
        fo_steps: updates of each feature by Eq. 2.
        fo_lr: how far Adam moves a coordinate in one of them. The paper has 1e-5 and doesn't say how many steps. What
            matters is lr x steps against a coordinate's root mean square, D ** -.5. The paper's lr moves nothing in 100
            steps: 17 % of the synthetic scenes find their own caption among 1,280 in the first ten, and 19 % after. At
            1e-3, 20 steps bring that to 53 % and 100 steps to 98 % (results/syntic_moves.csv), and captions of unseen
            pictures are best at 100 (results/syntic_scenes.csv, experiment val).
        fo_batch: features in a batch of Eq. 2.
        fo_tau: temperature of Eq. 2.
        raw_query: what looks for the objects in training (Eq. 5) is a feature before Eq. 2, as it is for a picture
            later; the paper's has been moved by it.
        tau: temperature of the projection, Eq. 3.
        noise: standard deviation, by coordinate, of the noise of capdec and close; by default the published one.
        leave_out: for systems that train on projections (Eq. 3): no caption of a training picture's own is in the
            support set when its feature is projected. The paper's are; no picture finds its own captions there later.
        gap: a data set of captioned pictures, on whose split `val` the captions are scored at each evaluation. For the
            system neighbours it also says how a picture's feature differs from its captions' (mean and covariance;
            without, CapDec's noise takes its place), for close the shift.
        own: for the system neighbours: how often a caption is generated from its own feature; else from that of
            another caption of its picture.
        same_picture: for the system neighbours: captions that follow each other, up to five, are taken to be of one
            picture from this cosine on, where the file doesn't say.
        label_smoothing: of Eq. 6.
        steps: optimiser steps of the decoder.
        batch_size: captions in a step, over all processes.
        evaluations: how many times the state is saved, to resume from, and captions of `gap` are scored.
        patience: must be 0, as no evaluation ends a training.
        seed: of weights, order and noise; not of images and features, which all seeds share.
        cache: folder for the features.
    """

    checked: ClassVar[tuple[str, ...]] = ("train",)
    decoded: ClassVar[int] = 0

    encoder: str
    steps: int = 4000
    batch_size: int = 64
    lr: float = 5e-4
    clip_norm: float = 1.0
    images: Path = Path("runs/data/synthetic")
    text_to_image: str = "synthetic"
    diffusion_steps: Annotated[int, Ge(1)] = 20
    diffusion_size: Annotated[int, Ge(8)] = 512
    diffusion_precision: Literal["float32", "float16"] = "float32"
    diffusion_batch: Annotated[int, Ge(1)] = 8
    system: System = "full"
    size: Literal["small", "compact", "segue", "faithful"] = "segue"
    pictures: int = 20_000
    support: int = 50_000
    max_words: int = 0
    max_tokens: int = 40
    vocabulary: int = 10_000
    objects: Path | None = None
    detector: str | None = None
    fo_steps: int = 100
    fo_lr: float = 1e-3
    fo_batch: int = 256
    fo_tau: Annotated[float, Interval(gt=0, le=1000)] = 0.01
    raw_query: bool = False
    tau: float = 0.01
    noise: Annotated[float, Interval(ge=0, le=100)] | None = None
    leave_out: bool = False
    gap: Path | None = None
    own: Annotated[float, Interval(ge=0, le=1)] = 0.5
    same_picture: Annotated[float, Interval(ge=-1, le=1)] = 0.45
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    cache: Path = Path("runs/features")

    def check(self) -> None:
        """Also the settings of this recipe. Raises InputError as the other checks do."""
        super().check()
        if self.patience:
            raise InputError(
                f"patience: got {self.patience}, expected 0: no evaluation ends the training of a captioner"
            )


SYNTIC = SynticSettings(out=Path("runs/syntic"), data=Path("captions.txt"), encoder="scenes-encoder")
SCENES = SynticSettings(
    out=Path("runs/syntic-scenes"),
    data=Path("runs/data/scenes"),
    encoder="scenes-encoder",
    images=Path("runs/data/scenes-synthetic"),
    size="small",
    pictures=12_000,
    support=8000,
    vocabulary=1000,
    steps=3000,
    lr=1e-3,
    half=True,
)
PHOTOS = SynticSettings(
    out=Path("runs/captions-photos"),
    data=Path("captions.txt"),
    encoder="photos-encoder",
    text_to_image="text",
    system="neighbours",
    size="compact",
    pictures=1_000_000,
    support=9000,
    max_tokens=30,
    vocabulary=4000,
    tau=0.02,
    label_smoothing=0.1,
    steps=6000,
    batch_size=128,
    lr=1e-3,
    weight_decay=0.05,
    ema=0.999,
    evaluations=20,
    precision="bf16",
    half=True,
)
# The paper's own experiments. Models, tau, sampling and fo_lr are the paper's. Batch, learning rate, label smoothing
# and epochs are those of DeCap's released training (two processes of 64), which the paper follows.
COCO = SynticSettings(
    out=Path("runs/syntic-coco"),
    data=Path("dataset_coco.json"),
    encoder="clip:openai/clip-vit-base-patch32",
    images=Path("runs/data/syntic-coco"),
    text_to_image="diffusion:stable-diffusion-v1-5/stable-diffusion-v1-5",
    detector="facebook/detr-resnet-50@no_timm",
    size="faithful",
    pictures=1_000_000,
    support=1_000_000,
    fo_lr=1e-5,
    label_smoothing=0.1,
    steps=44_277,  # ten epochs of 566,747 captions
    batch_size=128,
    lr=1e-5,
    weight_decay=0.0,
    clip_norm=0.0,
    ema=0.0,
    evaluations=10,
    precision="float32",
)
FLICKR30K = replace(
    COCO,
    out=Path("runs/syntic-flickr30k"),
    data=Path("dataset_flickr30k.json"),
    images=Path("runs/data/syntic-flickr30k"),
    tau=1 / 80,
    steps=11_328,  # ten epochs of 145,000 captions
)
CC3M_ZEROSHOT = replace(
    COCO,
    out=Path("runs/syntic-cc3m-zeroshot"),
    data=Path("Train_GCC-training.tsv"),
    images=Path("runs/data/syntic-cc3m-zeroshot"),
    max_words=15,  # the paper's, for SS1M
    steps=156_250,  # twenty epochs of a million captions, as DeCap's on CC3M
)


def train_syntic(settings: SynticSettings = SYNTIC) -> Path:
    """Train on a file of captions, or on those of a data set; returns the checkpoint's folder.

    Raises InputError for captions that can't be read, and settings that don't fit each other.
    """
    begin_run(settings)
    corpus = read_captions(settings.data, settings.max_words, settings.on_bad)
    names = read_vocabulary(settings.objects).concepts if settings.objects else common_nouns(corpus.captions)
    return train_captioner(settings, corpus, names)


def train_syntic_scenes(settings: SynticSettings = SCENES) -> Path:
    """Train on the captions of the synthetic scenes, whose objects are the names to look for.

    Raises InputError when the scenes are not there.
    """
    if not settings.data.is_dir():
        raise InputError(
            f"{settings.data}: no such folder; draw it first: segue data make scenes --out {settings.data}"
        )
    begin_run(settings)
    return train_captioner(settings, read_captions(settings.data, settings.max_words, settings.on_bad), THING_CLASSES)


def train_syntic_photos(settings: SynticSettings = PHOTOS) -> Path:
    """Train a captioner of photographs on a file of captions; the bundled captions-photos came from it."""
    return train_syntic(settings)


def train_syntic_coco(settings: SynticSettings = COCO) -> Path:
    """Train as the paper on the captions of COCO: dataset_coco.json of Karpathy, or a data set's `train`."""
    return train_syntic(settings)


def train_syntic_flickr30k(settings: SynticSettings = FLICKR30K) -> Path:
    """Train as the paper on the captions of Flickr30k: dataset_flickr30k.json of Karpathy, or a data set's `train`."""
    return train_syntic(settings)


def train_syntic_cc3m_zeroshot(settings: SynticSettings = CC3M_ZEROSHOT) -> Path:
    """Train as the paper on texts of the web alone, such as CC3M's, to caption the photographs of other data sets."""
    return train_syntic(settings)


def read_captions(path: Path, max_words: int = 0, on_bad: Literal["stop", "skip"] = "stop") -> Corpus:
    """A file's captions, or those of a data set's training pictures. max_words: of a caption, 0 for any number.

    on_bad: see `segue.data.formats.read_pictures`. Raises InputError when there is no caption.
    """
    if not path.is_dir():
        return read_corpus(path, max_words=max_words or None, on_bad=on_bad)
    pictures = read_pictures(path, "train", on_bad).pictures
    rows = [(" ".join(c.split()), i) for i, p in enumerate(pictures) for c in dict.fromkeys(p.captions) if c.strip()]
    rows = [(caption, i) for caption, i in rows if not max_words or len(caption.split()) <= max_words]
    if not rows:
        raise InputError(f"{path}: no caption in its train split; expected one or more")
    return Corpus([caption for caption, _ in rows], np.array([i for _, i in rows], np.int64))


def common_nouns(captions: Sequence[str], limit: int = 300) -> tuple[str, ...]:
    """The commonest nouns of the captions; none when there are too few captions to say."""
    for at_least in (5, 2):
        try:
            return noun_vocabulary(captions, at_least=at_least, limit=limit).concepts
        except InputError:
            continue
    return ()


# --- features


@dataclass(frozen=True)
class CaptionFeatures:
    """What all systems are trained from: M captions with text features, of which the first N have an image.

    Attributes:
        encoder: the dual encoder of the features.
        captions: M texts.
        text: (M, D) text features.
        image: (N, D) features of the synthetic images, or None for a system that uses text alone.
        group: (N,) int64, equal for captions of one picture.
        object_names: V names to look for.
        name_features: (V, D), or None without names.
        tags: the names that a detector found in each image; None where they are found by similarity.
    """

    encoder: DualEncoder
    captions: list[str]
    text: NDArray[np.float16]
    image: NDArray[np.float16] | None
    group: NDArray[np.int64]
    object_names: Sequence[str]
    name_features: Tensor | None
    tags: Tags | None = None


def prepare_features(
    settings: SynticSettings, corpus: Corpus, names: Sequence[str], *, with_images: bool
) -> CaptionFeatures:
    """Draw the synthetic images and compute the features, or read them where they are kept.

    Raises InputError for settings out of range, and captions that can't be drawn.
    """
    if min(settings.pictures, settings.support) < 1:
        raise InputError(f"got pictures {settings.pictures} and support {settings.support}, expected 1 or more of each")
    encoder = load_dual_encoder(settings.encoder, device=resolve_device(settings.device))
    order = np.random.default_rng(0).permutation(len(corpus))  # so that a larger number only adds to a smaller one
    drawn = order[: settings.pictures]
    if with_images and settings.text_to_image == "synthetic":
        drawn = _drawable(corpus, drawn)
    rest = order[~np.isin(order, drawn)][: max(0, settings.support - len(drawn))]
    captions = [corpus.captions[i] for i in (*drawn, *rest)]
    text = cached_features(settings.cache, "texts", text_items((f"{i}", c) for i, c in enumerate(captions)), encoder)
    image = text[: len(drawn)] if with_images and settings.text_to_image == "text" else None
    tags = None
    if settings.detector is not None and image is not None:
        raise InputError("detector: text_to_image text draws no images to look at; leave one of the two out")
    if with_images and image is None:
        files = _synthetic_images(settings, captions[: len(drawn)])
        items = picture_items((f.name, f) for f in files)
        image = cached_features(settings.cache, "images", items, encoder)
        if settings.detector is not None and model_config(settings).af:
            names, tags = detect_objects(items, settings)
    name_features = encoder.embed_texts(list(names)) if names else None
    group = corpus.group[drawn]
    if (model_config(settings).neighbours or settings.leave_out) and len(np.unique(corpus.group)) == len(corpus):
        group = adjacent_groups(text[: len(drawn)], drawn, settings.same_picture)
    return CaptionFeatures(encoder, captions, text, image, group, names, name_features, tags)


def adjacent_groups(
    text: NDArray[np.float16], place: NDArray[np.int64], at_least: float, longest: int = 5
) -> NDArray[np.int64]:
    """Groups of captions that seem to be of one picture: neighbours in their file that are alike.

    text: (N, D) features. place: (N,), where each caption stands in the file. at_least: the cosine of two that follow
    each other. longest: the most captions of a group. Returns (N,), equal within a group.
    """
    order = np.argsort(place)
    rows, places = text[order].astype(np.float32), place[order]
    alike = ((rows[1:] * rows[:-1]).sum(1) >= at_least) & (np.diff(places) == 1)
    group, size = np.zeros(len(place), np.int64), 1
    for i, same in enumerate(alike.tolist(), 1):
        size = size + 1 if same and size < longest else 1
        group[i] = group[i - 1] + (size == 1)
    return group[np.argsort(order)]


def _drawable(corpus: Corpus, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The captions that name something which the synthetic scenes have. Raises InputError when there is none."""
    drawable = np.array([i for i in order if SyntheticTextToImage.can_draw(corpus.captions[i])], np.int64)
    if not len(drawable):
        raise InputError(
            f"the synthetic scenes can show none of {len(order):,} captions; pass --text-to-image diffusion:FOLDER, or "
            "a system that needs no images, such as --system decap"
        )
    if len(drawable) < len(order):
        left_out = len(order) - len(drawable)
        print(f"{left_out:,} of {len(order):,} captions name nothing that the synthetic scenes have; left out")
    return drawable


def _synthetic_images(settings: SynticSettings, captions: list[str]) -> list[Path]:
    """The files of the captions' synthetic images; of several processes one draws them."""
    print(f"{settings.images}: synthetic images of {len(captions):,} captions", flush=True)
    with locked(settings.images):
        model = text_to_image_model(settings)
        return generate_pictures(
            captions, settings.images, model, batch=settings.diffusion_batch, progress=show_progress
        )


def text_to_image_model(settings: SynticSettings) -> TextToImage:
    """The model that `settings.text_to_image` names. Raises InputError for an unknown name."""
    kind, _, source = settings.text_to_image.partition(":")
    if kind == "diffusion" and source:
        return StableDiffusion(
            source,
            steps=settings.diffusion_steps,
            size=settings.diffusion_size,
            device=resolve_device(settings.device),
            precision=settings.diffusion_precision,
        )
    if settings.text_to_image != "synthetic":
        raise InputError(
            f"text_to_image {settings.text_to_image!r}: expected synthetic, text or diffusion:ID-OR-FOLDER"
        )
    return SyntheticTextToImage()


def cached_features(
    cache: Path, kind: Literal["images", "texts"], items: list[Item], encoder: DualEncoder
) -> NDArray[np.float16]:
    """The features (N, D) of images or texts, from the store in `cache` that holds exactly these."""
    plan = StorePlan(encoder.fingerprint, kind, encoder.width, batch_size=BATCH_SIZES[kind])
    content = str([plan, [(item.name, item.content_key) for item in items]])
    folder = cache / f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    read = batch_reader(encoder, kind)
    store: EmbeddingStore = fill_store(folder, items, read, plan, progress=show_progress, wait=True)
    return store.rows()


def picture_features(pictures: Sequence[Picture], encoder: DualEncoder, cache: Path) -> NDArray[np.float32]:
    """The features (N, D) of a data set's pictures, computed once."""
    items = [Item(p.name, hashlib.sha256(p.load().tobytes()).hexdigest(), p.load) for p in pictures]
    return cached_features(cache, "images", items, encoder).astype(np.float32)


def detect_objects(items: Sequence[Item], settings: SynticSettings) -> tuple[list[str], Tags]:
    """The detector's names, and which of them it finds in each of N images.

    The answers are kept in the cache.
    """
    assert settings.detector is not None
    known, found = detect_once(items, settings.detector, settings.cache, resolve_device(settings.device))
    names, labels = sorted(known), (dict.fromkeys(one.labels) for one in found)
    return names, pad_indices([[names.index(name) for name in one if name in names] for one in labels])


def optimised_features(
    image: NDArray[Any], text: NDArray[Any], group: NDArray[np.int64], settings: SynticSettings
) -> Tensor:
    """Image features (N, D) after Eq. 2; kept in the cache, as they are the same for all seeds."""
    options: dict[str, Any] = {
        "steps": settings.fo_steps, "lr": settings.fo_lr, "batch": settings.fo_batch, "tau": settings.fo_tau,
    }  # fmt: skip
    digest = hashlib.sha256(str(options).encode())
    for x in (image, text, group):
        digest.update(np.ascontiguousarray(x).tobytes())
    file = settings.cache / f"optimised-{digest.hexdigest()[:16]}.npy"
    with locked(file):
        if not file.exists():
            with replacing(file) as fresh:
                np.save(fresh, optimise_features(np.array(image), text, group, **options))
    return torch.from_numpy(np.load(file))


# --- training


class CaptionBatches:
    """Captions with what a system's prefix is made of; see `Syntic.training_step`.

    columns: features (N, D) by their name in the batch. name_features: (V, D) and tags, for af.
    """

    def __init__(
        self,
        captions: Sequence[str],
        tokenizer: CaptionTokenizer,
        max_tokens: int,
        columns: dict[str, Tensor],
        name_features: Tensor | None = None,
        tags: Tags | None = None,
    ) -> None:
        self.captions, self.tokenizer, self.max_tokens = captions, tokenizer, max_tokens
        self.columns, self.name_features, self.tags = columns, name_features, tags

    def __len__(self) -> int:
        return len(self.captions)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch of the examples (epoch, index)."""
        rows = torch.tensor([index for _, index in keys])
        tokens, real = self.tokenizer.encode([self.captions[i] for i in rows.tolist()], self.max_tokens)
        batch = {"tokens": tokens, "real": real} | {name: x[rows].float() for name, x in self.columns.items()}
        if self.name_features is not None and self.tags is not None:
            index, found = (x[rows] for x in self.tags)
            batch |= {"objects": self.name_features[index], "found": found}
        return batch


class Gap(NamedTuple):
    """How image features differ from those of their captions: mean (D,), and (D, D) whose L L^T is the covariance."""

    mean: NDArray[np.float32]
    factor: NDArray[np.float32]


def estimate_gap(image: Tensor, text: Tensor, shrinkage: float = 0.1) -> Gap:
    """The gap between pairs of features (N, D), normalised.

    shrinkage: how far the covariance is drawn to a multiple of the identity of its trace.
    """
    difference = (image - text).double()
    covariance = torch.cov(difference.T)
    even = torch.eye(len(covariance), dtype=torch.float64) * covariance.trace() / len(covariance)
    factor = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * even)
    return Gap(difference.mean(0).float().numpy(), factor.float().numpy())


class Captioned(NamedTuple):
    """Pictures with captions of people, and the dual encoder's features (N, D) of them."""

    pictures: list[Picture]
    v: Tensor


def read_captioned(settings: SynticSettings, encoder: DualEncoder) -> Captioned | None:
    """The validation pictures of `settings.gap` that have captions; None without.

    Raises InputError when those pictures have fewer than two captions.
    """
    if settings.gap is None:
        return None
    pictures = [
        p for p in read_pictures(settings.gap, "val", settings.on_bad).pictures if any(map(str.strip, p.captions))
    ]
    count = sum(bool(c.strip()) for p in pictures for c in p.captions)
    if count < 2:
        raise InputError(f"{settings.gap}: {count} captions in its split val, expected 2 or more to see the gap")
    v = torch.from_numpy(picture_features(pictures, encoder, settings.cache))
    return Captioned(pictures, F.normalize(v, dim=1))  # they are kept as float16


def gap_between(captioned: Captioned | None, encoder: DualEncoder, noise: float) -> Gap:
    """The gap of captioned pictures; without any, `noise` is the deviation of each coordinate."""
    if captioned is None:
        return Gap(np.zeros(encoder.width, np.float32), np.eye(encoder.width, dtype=np.float32) * noise)
    captions = [(i, c) for i, p in enumerate(captioned.pictures) for c in p.captions if c.strip()]
    return estimate_gap(captioned.v[[i for i, _ in captions]], encoder.embed_texts([c for _, c in captions]))


class NeighbourBatches:
    """Captions with what stands for their pictures, for the system neighbours; a pure function of the keys.

    The feature that stands for a caption's picture is that of the caption (with probability `own`) or of another of
    the same picture, moved by the gap's noise. Neighbours and projection leave out all captions of that picture.
    Raises InputError for a support set of too few captions.
    """

    def __init__(
        self,
        features: CaptionFeatures,
        tokenizer: CaptionTokenizer,
        config: SynticConfig,
        settings: SynticSettings,
        gap: Gap,
    ) -> None:
        self.tokenizer, self.config, self.gap = tokenizer, config, gap
        self.own, self.seed, self.group = settings.own, settings.seed, features.group
        count = len(features.group)
        self.captions = features.captions[:count]
        self.text = np.asarray(features.text[:count], np.float32)
        self.support = torch.from_numpy(np.asarray(features.text[: settings.support], np.float32))
        self.support_group = _support_groups(features, settings)
        self.by_group = np.argsort(self.group, kind="stable")
        self.first = np.searchsorted(self.group[self.by_group], np.arange(self.group.max() + 2))
        if len(self.support) < config.neighbours + np.diff(self.first).max():
            raise InputError(
                f"support: got {len(self.support)} captions, expected more than {config.neighbours}, the neighbours, "
                "and the captions of one picture; give more captions"
            )

    def __len__(self) -> int:
        return len(self.captions)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch of the examples (epoch, index); see `Syntic.training_step`."""
        rows = np.array([index for _, index in keys])
        tokens, real = self.tokenizer.encode([self.captions[i] for i in rows], self.config.max_tokens)
        v = F.normalize(torch.from_numpy(np.stack([self._stand_in(*key) for key in keys])), dim=1)
        score = v @ self.support.T
        score.masked_fill_(torch.from_numpy(self.group[rows])[:, None] == self.support_group, -2.0)
        projected = F.normalize((score / self.config.tau).softmax(1) @ self.support, dim=1)
        neighbours = self.support[score.topk(self.config.neighbours).indices]
        return {"tokens": tokens, "real": real, "text": v, "projected": projected, "neighbours": neighbours}

    def _stand_in(self, epoch: int, index: int) -> NDArray[np.float32]:
        """(D,): what stands for the picture of a caption, not normalised."""
        rng = np.random.default_rng([self.seed, epoch, index])
        source = index
        if rng.random() >= self.own:
            first, end = self.first[self.group[index]], self.first[self.group[index] + 1]
            source = int(self.by_group[rng.integers(first, end)])
        noise = rng.standard_normal(self.text.shape[1], np.float32) @ self.gap.factor.T
        moved: NDArray[np.float32] = self.text[source] + self.gap.mean + noise
        return moved


def _support_groups(features: CaptionFeatures, settings: SynticSettings) -> Tensor:
    """(M,) int64, the groups of the captions of the support set; -1 for those that no picture is trained with."""
    groups = features.group[: settings.support]
    others = min(settings.support, len(features.captions)) - len(groups)
    return torch.from_numpy(np.concatenate([groups, np.full(others, -1)]))


def own_captions(features: CaptionFeatures, settings: SynticSettings) -> tuple[Tensor, Tensor] | None:
    """What `SupportSet.project` leaves out in training: the captions of a picture itself, if `leave_out` says so."""
    if not settings.leave_out:
        return None
    return torch.from_numpy(features.group), _support_groups(features, settings)


def train_captioner(settings: SynticSettings, corpus: Corpus, names: Sequence[str]) -> Path:
    """Train on a corpus; `names` are looked for in images where the system reads objects. Returns `out`/last.

    Raises InputError for a system that has nothing to train.
    """
    config = model_config(settings)
    if not config.trainable:
        raise InputError(
            f"system {settings.system!r} retrieves captions and has nothing to train; use any captioner's support set: "
            "segue caption IMAGE --retrieve"
        )
    features = prepare_features(settings, corpus, names, with_images=config.source == "image" or config.shift)
    captioned = read_captioned(settings, features.encoder)
    tokenizer = CaptionTokenizer.learn(corpus.captions, size=settings.vocabulary)
    folder = train_decoder(features, settings, tokenizer, captioned)
    if captioned is not None:
        calibrate_scores(folder, captioned)
    return folder


def calibrate_scores(folder: Path, captioned: Captioned) -> None:
    """Fit how a trained captioner ranks its captions, and what its scores mean, on captioned pictures; says where
    scores can't be fitted.
    """
    captioner, pictures = load_captioner(folder), captioned.pictures
    detector = captioner.detector
    objects = None if detector is None else [detector(picture.load()).labels for picture in pictures]
    keep_in_config(folder, consensus=fit_consensus(captioner, pictures, captioned.v, objects))
    ranking = load_captioner(folder)
    calibrate(folder, lambda: fit_scores(ranking, pictures, captioned.v, objects), "its captions get no score")


def model_config(settings: SynticSettings) -> SynticConfig:
    """The model's configuration by the settings."""
    sized = asdict(SIZES[settings.size]) | {
        name: getattr(settings, name) for name in ("tau", "max_tokens", "label_smoothing")
    }
    config = system_config(SynticConfig(**sized), settings.system)
    return replace(config, noise=settings.noise) if config.noise and settings.noise is not None else config


def train_decoder(
    features: CaptionFeatures, settings: SynticSettings, tokenizer: CaptionTokenizer, captioned: Captioned | None
) -> Path:
    """Train the decoder on prepared features; returns `out`/last. captioned: of `gap`, see `read_captioned`."""
    torch.manual_seed(settings.seed)
    config, width = model_config(settings), features.encoder.width
    model = build_syntic(
        config, vocabulary=len(tokenizer), encoder_width=width, end=tokenizer.end,
        suppressed_token_ids=tokenizer.suppressed_token_ids,
    )  # fmt: skip
    count = settings.support
    support = SupportSet(features.text[:count], features.captions[:count], tau=config.tau)
    batches: Batches
    if config.neighbours:
        gap = gap_between(captioned, features.encoder, config.noise)
        batches = NeighbourBatches(features, tokenizer, config, settings, gap)
    else:
        batches = caption_batches(features, settings, config, tokenizer, support)
    if config.shift:
        model.estimate_shift(*_unpaired(features, captioned))
    encoder = {"width": width, "fingerprint": features.encoder.fingerprint, "name": pinned(settings.encoder)}
    recipe = {"recipe": "segue train syntic"} | {
        k: pinned(str(v)) for k, v in asdict(settings).items() if k in RECORDED
    }
    about = recipe | dataset_name(settings.data) | ({"gap": settings.gap.resolve().name} if settings.gap else {})
    names = features.object_names if config.af else ()
    detector = pinned(settings.detector) if config.af and settings.detector else None

    def checkpoint(trained: Any) -> SynticCheckpoint:
        return SynticCheckpoint(
            trained, tokenizer, encoder, support=support, about=about, object_names=names, detector=detector
        )

    def evaluate(trained: Any) -> dict[str, float]:
        assert captioned is not None
        return score_features(Captioner(checkpoint(trained), features.encoder), captioned.pictures, captioned.v)

    fit(
        model,
        batches,
        out=settings.out,
        options=fit_options(settings),
        save=lambda trained, folder: save_syntic(checkpoint(trained), folder, half=settings.half),
        evaluate=None if captioned is None or detector else evaluate,
        monitor="cider",
        about=recipe,
        illustrate=partial(_illustrate, settings=settings),
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    return settings.out / "last"


def _unpaired(features: CaptionFeatures, captioned: Captioned | None) -> tuple[Tensor, Tensor]:
    """Features of pictures and of captions, of which CLOSE's shift is estimated: of the validation or the training."""
    if captioned is not None:
        texts = [caption for picture in captioned.pictures for caption in picture.captions if caption.strip()]
        return captioned.v, features.encoder.embed_texts(texts)
    assert features.image is not None  # see train_captioner
    image, text = (torch.from_numpy(np.array(x)).float() for x in (features.image, features.text))
    return image, text


def _illustrate(folder: Path, settings: SynticSettings) -> str:
    """Examples from the val split of `gap` or of the data; "" where neither has captioned pictures there."""
    for data in (settings.gap, settings.data):
        if data is not None and data.is_dir() and "val" in detect_format(data)[1]:
            pictures = [picture for picture in read_pictures(data, "val", "skip").pictures if picture.captions]
            if pictures:
                return caption_examples(load_captioner(folder, device=settings.device), pictures)
    return ""


def caption_batches(
    features: CaptionFeatures,
    settings: SynticSettings,
    config: SynticConfig,
    tokenizer: CaptionTokenizer,
    support: SupportSet,
) -> CaptionBatches:
    """The training data of Eq. 6: features after Eq. 2 and Eq. 3, where the system has them on."""
    count = len(features.group)
    make = partial(CaptionBatches, features.captions[:count], tokenizer, config.max_tokens)
    text = np.array(features.text[:count])
    if config.source == "text":
        return make({"text": torch.from_numpy(text)})
    assert features.image is not None
    raw = torch.from_numpy(np.array(features.image)).float()
    v = optimised_features(features.image, text, features.group, settings) if config.fo else raw
    columns = {"image": v}
    if config.fp:
        columns = {"projected": support.project(v, without=own_captions(features, settings))}
    if not config.af:
        return make(columns)
    columns["query"] = raw if settings.raw_query else v
    if features.name_features is None:
        return make(columns, torch.zeros(1, raw.shape[1]), pad_indices([[]] * count))
    tags = features.tags or find_objects(raw, features.name_features, features.encoder.temperature)
    return make(columns, features.name_features, tags)
