"""Trainings of language-supervised segmentation: GroupViT, and GroupViT with curated concepts (CoCu).

segue train cocu-scenes                          synthetic scenes: a dual encoder of others, their archive, the training
segue train cocu-scenes --system groupvit        the caption's own nouns only, nothing curated
segue train cocu --data DIR --encoder clip:ID    any captioned pictures
segue train cocu-photos --data DIR               groups on the cells of photos-encoder, which segments photographs
segue train cocu-cc3m --data SHARDS              with the released settings: loss, templates, augmentation, schedule
segue train cocu-cc12m --data SHARDS             the same on more pictures

A step sees a picture's caption and `concepts` prompts. GroupViT's are nouns of that caption; CoCu's are sampled from
the picture's archive by clusters, anew in each epoch. Where there are fewer, they are repeated; where there is none,
the caption takes their place. With `--prompt-loss released` nothing is repeated: the caption takes every free place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Interval
from numpy.typing import NDArray
from torch import Tensor

from segue.api.curation import CurationCorpus, curate_corpus, read_curation_corpus
from segue.api.importing import read_clip_tokenizer
from segue.api.label_segmenter import DualEncoderSegmenter, LabelSegmenter, load_label_segmenter
from segue.api.open_vocabulary import OpenVocabularySegmenter
from segue.data.augmentation import erase, rand_augment, random_crop
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.medical.notes import swap_sides
from segue.data.transforms import resize_image
from segue.evaluation.labels import ReadTruth, only_classes, score_pictures, with_truth
from segue.evaluation.reports.cases import spread_evenly
from segue.evaluation.reports.labels import label_examples
from segue.files import locked
from segue.methods.cocu.archive import ARCHIVE, Archive, read_archive
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.probability import ProbabilityWeights
from segue.methods.cocu.groupvit.cells import CellGroupsTask, keep_share, on_encoder
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import SIZES
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.released_task import ReleasedTask
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_clip_tokenizer, with_tokenizer
from segue.methods.cocu.protocols import PUBLISHED_CLASSES, find_protocol
from segue.methods.cocu.templates import IMAGENET_TEMPLATES
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names
from segue.methods.dual_encoder.nouns import OFTEN_UNSAID
from segue.recipes.cocu_cells import CellReader
from segue.recipes.datasets import begin_run, create_once
from segue.recipes.dual_encoder import SCENES as DUAL_ENCODER_SCENES
from segue.recipes.dual_encoder import train_on_pictures
from segue.recipes.labels import load_headless
from segue.recipes.settings import TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.synthetic.scenes.writer import make_scenes
from segue.training import FitOptions, fit
from segue.training.state import has_state
from segue.types import InputError, Picture, PictureSet
from segue.weights import pinned

System = Literal["groupvit", "full", "top3", "no_clustering", "no_ranking", "no_expansion"]
CURATION: dict[str, tuple[str, CurateSettings]] = {  # system -> folder of its archive, and how it is curated
    "full": ("archive", CurateSettings()),
    "top3": ("archive", CurateSettings()),
    "no_clustering": ("archive-no-clustering", CurateSettings(clustering=False)),
    "no_ranking": ("archive-no-ranking", CurateSettings(ranking=False)),
    "no_expansion": ("archive-no-expansion", CurateSettings(expansion=False)),
}
IMAGE_CACHE_BYTES = 2**28  # of resized pictures, for each process that makes batches
SURE, MOST_LIKELY = 0.5, 8  # the probability above which a concept is known, and how many such a picture has at most
LOCAL_SETTINGS = ("curated", "vocabulary", "tokenizer_words", "tokenizer")  # paths and lists, not stored in checkpoints
TEMPLATES: dict[str, tuple[str, ...]] = {
    "ours": (
        "a photo of a {}.",
        "a picture of a {}.",
        "an image of a {}.",
        "a view of a {}.",
        "a small photo of a {}.",
        "a large photo of a {}.",
        "there is a {} in the picture.",
        "a photo with a {} in it.",
    ),
    "imagenet": IMAGENET_TEMPLATES,
}


@dataclass(frozen=True, kw_only=True)
class CocuSettings(TrainSettings):
    """Training a GroupViT on captioned pictures.

    data: captioned pictures in any format, with a train split; a val split with label maps or masks is scored.
    Raises InputError for concepts below 1 and a temperature of 0 or less.

    Attributes:
        steps: optimiser steps; the first fifteenth of them is the warm-up.
        epochs: how many times each picture is seen, which then gives the steps; 0: as many steps as said.
        lr_batch: the batch for which `lr` is meant: it is scaled by batch_size / lr_batch; 0: it is not.
        first_lr: learning rate at the start of the warm-up, scaled likewise.
        last_lr: learning rate at the end of the cosine, scaled likewise.
        batch_size: pictures in a step, over all processes; the others of a batch are the negatives.
        system: "full" is CoCu, "groupvit" learns from the caption's nouns; the others leave out one part of CoCu.
        size: "small" (64 pixels, of the tables), "scenes" (128), "paper" (224), or "cells" on an image encoder.
        encoder: the dual encoder that curates; `cocu-scenes` trains its own where none is there yet.
        image_encoder: the dual encoder on whose frozen cells the groups stand, such as photos-encoder, of which the
            texts' vectors are, too; a head that its cells have already is left out, and the loss is that of `segue
            train labels-photos`. Goes with the size "cells" and no augmentation. Patches of pixels unless given.
        pictures: how many of train are trained on, spread evenly, though all are curated; 0 for all.
        share: how much of what the groups learned on such cells is kept. Below 1, names that no caption has are
            recognised better.
        vocabulary: a file with one concept a line; the nouns of the captions unless given.
        curated: folder of the embeddings and archives, shared by runs on the same data.
        captions: how many captions of each picture are used, the first ones; 0 for all. Pictures of the web have one.
        concepts: prompts beside the caption.
        temperature: of the sampling from the archive.
        probability: the archive's scores are probabilities (see `segue lab run archive_scores`), of 32 neighbours; what
            the caption names isn't sampled; a sampled concept weighs by its probability, and those of more than .5 are
            never negatives. With the prompt loss of "groups".
        prompt_loss: prompts are contrasted with single "groups" (`group_concept_loss`), with the whole "picture", as
            in the paper, or as "released": with the picture, each prompt by itself, at a temperature of their own.
        templates: the texts of the prompts: our 8, or the 80 of "imagenet", as released.
        tokenizer: CLIP's tokenizer, a folder, a hub id or its bpe_simple_vocab_16e6.txt.gz; whole words of the captions
            unless given.
        protocol: of the evaluations, and from then on the model's own.
        tokenizer_words: further words of the tokenizer, beside those of captions, concepts and the classes of val; they
            are not trained.
        augmentation: "flips" mirrors half of the pictures, with left and right in the captions swapped; "released" is
            DeiT's: random crops, mirrored half of the times, RandAugment, erasing; or "none".
        val_pictures: how many pictures of val are scored, spread evenly; 0 for all.
    """

    system: System = "full"
    size: Literal["small", "scenes", "paper", "cells"] = "scenes"
    encoder: str = "scenes-encoder"
    image_encoder: str | None = None
    pictures: Annotated[int, Ge(0)] = 0
    share: Annotated[float, Interval(gt=0, le=1)] = 0.35
    vocabulary: Path | None = None
    curated: Path = Path("runs/curated")
    captions: int = 1
    concepts: int = 3
    temperature: float = 0.1
    probability: bool = False
    prompt_loss: Literal["groups", "picture", "released"] = "groups"
    templates: Literal["ours", "imagenet"] = "ours"
    tokenizer: str | None = None
    protocol: str = "scenes"
    tokenizer_words: tuple[str, ...] = ()
    augmentation: Literal["flips", "released", "none"] = "flips"
    val_pictures: int = 200
    steps: int = 3000
    epochs: Annotated[int, Ge(0)] = 0
    lr_batch: Annotated[int, Ge(0)] = 0
    first_lr: Annotated[float, Ge(0)] = 0.0
    last_lr: Annotated[float, Ge(0)] = 0.0
    batch_size: int = 64
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    evaluations: int = 10

    def check(self) -> None:
        """Also the settings of this recipe. Raises InputError as the other checks do."""
        super().check()
        if self.concepts < 1 or self.temperature <= 0:
            raise InputError(
                f"got {self.concepts} concepts at temperature {self.temperature}, expected one or more, above 0"
            )
        if self.probability and (self.prompt_loss != "groups" or self.system not in ("full", "top3")):
            raise InputError(
                f"probability: goes with system full or top3 and prompt_loss groups, got {self.system} and "
                f"{self.prompt_loss}; leave one out"
            )
        plain = self.prompt_loss == "groups" and self.augmentation == "none" and self.tokenizer is None
        if (self.image_encoder is None) != (self.size != "cells") or (self.image_encoder is not None and not plain):
            raise InputError(
                f"image_encoder: goes with size cells, prompt_loss groups, augmentation none and no tokenizer, got "
                f"{self.image_encoder} with {self.size}, {self.prompt_loss}, {self.augmentation} and {self.tokenizer}"
            )


SCENES = CocuSettings(
    out=Path("runs/cocu-scenes"),
    data=Path("runs/data/scenes-close"),
    encoder="runs/scenes-encoder-close/best",
    curated=Path("runs/curated/scenes-close"),
    size="small",
    protocol="small",
    steps=800,
    batch_size=32,
    lr=1e-3,
    evaluations=4,
    half=True,
)
COCU = CocuSettings(
    out=Path("runs/cocu"), data=Path("data"), curated=Path("runs/curated/data"), protocol="voc", half=True
)
PHOTOS = CocuSettings(
    out=Path("runs/cocu-photos"),
    data=Path("flickr8k"),
    encoder="photos-encoder",
    image_encoder="photos-encoder",
    curated=Path("runs/curated/photos"),
    size="cells",
    pictures=2000,
    augmentation="none",
    steps=150,
    batch_size=48,
    lr=1e-3,
    ema=0.0,
    half=True,
)
RELEASED = CocuSettings(  # configs/train of the released CoCu: 30 epochs, 2 of warm-up, 16 processes of 256 pictures
    out=Path("runs/cocu-cc3m"),
    data=Path("cc3m"),
    curated=Path("runs/curated/cc3m"),
    encoder="clip:openai/clip-vit-base-patch16",
    tokenizer="openai/clip-vit-base-patch16",
    system="top3",
    size="paper",
    prompt_loss="released",
    templates="imagenet",
    augmentation="released",
    protocol="voc",
    epochs=30,
    batch_size=4096,
    lr=1.6e-3,
    lr_batch=4096,
    first_lr=4e-6,
    last_lr=4e-5,
    ema=0.0,
    evaluations=30,
    half=True,
    on_bad="skip",
)
CC12M = replace(RELEASED, out=Path("runs/cocu-cc12m"), data=Path("cc12m"), curated=Path("runs/curated/cc12m"))
SCENES_ENCODER = replace(DUAL_ENCODER_SCENES, image_size=64, steps=3000, evaluations=5)


def train_cocu_scenes(settings: CocuSettings = SCENES) -> Path:
    """Train on synthetic scenes seen from near; they, and the default's dual encoder, are made where not there yet."""
    create_close_scenes_once(settings.data)
    if settings.encoder == SCENES.encoder and settings.system != "groupvit":
        train_encoder_once(Path(settings.encoder).parent)
    return train_cocu(settings)


def create_close_scenes_once(folder: Path) -> Path:
    """The default scenes, seen from near, at 128 pixels."""
    return create_once(folder, lambda out: make_scenes(out, view="close", progress=True))


def train_encoder_once(folder: Path) -> str:
    """The best weights, in `folder`, of a dual encoder trained on 12,000 other scenes from near and all their captions.

    It takes the place of CLIP, which has seen more pictures and words than those that it curates, none of their
    captions, and many texts of the web that name one thing only: so `with_noun_captions`.
    """
    with locked(folder):
        if not (folder / "last" / "config.json").exists():
            data = folder.with_name(f"{folder.name}-data")
            create_once(data, lambda out: make_scenes(out, seed=1, train=12_000, test=100, view="close", progress=True))
            settings = replace(SCENES_ENCODER, out=folder, data=data, resume=has_state(folder / "state"))
            train_on_pictures(settings, with_noun_captions(read_pictures(data, "train")), read_pictures(data, "val"))
    return str(folder / "best")


def with_noun_captions(pictures: PictureSet) -> PictureSet:
    """The pictures with further captions, "A photo of a dog.", one for the last word of each phrase of its captions."""

    def noun_captions(picture: Picture) -> list[str]:
        phrases = (picture.captions[p.caption][p.start : p.end].lower().split() for p in picture.phrases)
        return [f"A photo of a {noun}." for noun in sorted({words[-1] for words in phrases if words})]

    found = [replace(p, captions=(*p.captions, *noun_captions(p))) for p in pictures.pictures]
    return replace(pictures, pictures=found)


def train_cocu_photos(settings: CocuSettings = PHOTOS) -> Path:
    """Train groups on the cells of the bundled photographs' dual encoder, which `segue segment` then reads as one."""
    return train_cocu(settings)


def train_cocu_cc3m(settings: CocuSettings = RELEASED) -> Path:
    """Train as CoCu was released, on webdataset shards of CC3M as img2dataset writes them."""
    return train_cocu(settings)


def train_cocu_cc12m(settings: CocuSettings = CC12M) -> Path:
    """Train as CoCu was released, on webdataset shards of CC12M as img2dataset writes them."""
    return train_cocu(settings)


def train_cocu(settings: CocuSettings = COCU) -> Path:
    """Train on captioned pictures in any format; returns the checkpoint's folder.

    Raises InputError for data, a dual encoder or a vocabulary that can't be used, and for an unknown protocol.
    """
    find_protocol(settings.protocol)
    begin_run(settings)
    corpus, archive = prepare_training(settings)
    torch.manual_seed(settings.seed)
    val = read_val(settings)
    reader = read_cells(settings, corpus)
    model = build_model(settings, corpus, val.classes if val else (), reader)
    batches = CocuBatches(corpus, archive, settings, model, reader)
    fit(
        training_task(model, settings, corpus, reader),
        batches,
        out=settings.out,
        options=training_options(settings, len(batches)),
        save=partial(_save, settings=settings, concepts=corpus.vocabulary.concepts, reader=reader),
        evaluate=build_validation(val, settings, reader) if val else None,
        monitor="miou",
        about=settings_as_text(settings, *LOCAL_SETTINGS),
        illustrate=partial(_illustrate, val=val, settings=settings) if val else None,
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    return settings.out / ("best" if val else "last")


def training_task(
    model: GroupViT, settings: CocuSettings, corpus: CurationCorpus, reader: CellReader | None = None
) -> GroupViT | ReleasedTask | CellGroupsTask:
    """What the loop trains: the model, with the released loss around it where that is asked for, or that of cells."""
    if reader is not None:
        concepts = corpus.vocabulary.concepts
        unsaid = torch.tensor([concept in OFTEN_UNSAID for concept in concepts])
        return CellGroupsTask(model, embed_names(reader.encoder, concepts), unsaid)
    return ReleasedTask(model) if settings.prompt_loss == "released" else model


def training_options(settings: CocuSettings, examples: int) -> FitOptions:
    """The training loop's options for so many pictures with captions."""
    steps = max(1, settings.epochs * examples // settings.batch_size) if settings.epochs else settings.steps
    scale = settings.batch_size / settings.lr_batch if settings.lr_batch else 1.0
    rates = {name: getattr(settings, name) * scale for name in ("lr", "first_lr", "last_lr")}
    return fit_options(settings, steps=steps, warmup=steps // 15, **rates)


def prepare_training(settings: CocuSettings) -> tuple[CurationCorpus, Archive | None]:
    """The train split without the pictures that can't be read, and the archive that the system samples from.

    The archive is curated where it isn't there yet; GroupViT has none.
    Raises InputError for pictures that can't be read, unless settings.on_bad is "skip".
    """
    corpus = read_curation_corpus(
        settings.data,
        "train",
        captions=settings.captions,
        vocabulary=settings.vocabulary,
        on_bad=settings.on_bad,
    )
    if settings.system == "groupvit":
        images = PictureSet([replace(picture, label_map=None) for picture in corpus.pictures])
        readable = {picture.name for picture in check_pictures(images, settings.on_bad).pictures}
        return corpus.without({picture.name for picture in corpus.pictures} - readable), None
    folder, curation = curation_of(settings)
    with locked(settings.curated):
        encoder = load_dual_encoder(settings.encoder, device=settings.device)
        _, corpus, _ = curate_corpus(
            corpus,
            settings.curated,
            encoder,
            settings.encoder,
            curation,
            folder=folder,
            on_bad=settings.on_bad,
        )
    return corpus, read_archive(settings.curated / folder / ARCHIVE)


def curation_of(settings: CocuSettings) -> tuple[str, CurateSettings]:
    """The folder of the archive that a system with an archive samples from, and how it is curated."""
    folder, curation = CURATION[settings.system]
    if not settings.probability:
        return folder, curation
    return f"{folder}-probability", replace(curation, neighbours=32, probability=ProbabilityWeights())


def read_val(settings: CocuSettings) -> PictureSet | None:
    """The val split; None, and a line that says so, where there is none or no mask in it: captions are enough to train.

    Raises InputError for pictures that can't be read, unless settings.on_bad is "skip".
    """
    if "val" in detect_format(settings.data)[1]:
        found = read_pictures(settings.data, "val", settings.on_bad)
        if any(p.label_map or any(r.mask for r in p.regions) for p in found.pictures):
            return check_pictures(found, settings.on_bad)
    print(f"{settings.data}: no val split with masks to score on; the last weights are kept", flush=True)
    return None


def read_cells(settings: CocuSettings, corpus: CurationCorpus, *, kept: bool = True) -> CellReader | None:
    """What reads the frozen cells under the groups; None for a GroupViT on pixels. kept: on disk, before the first.

    Raises InputError for an image encoder that can't be used.
    """
    if settings.image_encoder is None:
        return None
    encoder = load_headless(settings.image_encoder, settings.device)
    pictures = [corpus.pictures[row] for row in rows_of(corpus, settings)]
    return CellReader(encoder, pictures, settings.curated if kept else None)


def rows_of(corpus: CurationCorpus, settings: CocuSettings) -> list[int]:
    """The rows of the pictures that are trained on: those with captions, of which up to `pictures`, spread evenly."""
    rows = [row for row, captions in enumerate(corpus.captions) if captions]
    return rows if settings.pictures == 0 else spread_evenly(rows, settings.pictures)


def build_model(
    settings: CocuSettings, corpus: CurationCorpus, classes: Sequence[str], reader: CellReader | None = None
) -> GroupViT:
    """A fresh GroupViT whose tokenizer has the words of the captions, the templates, the concepts and the classes.

    On the cells of a reader it needs none. Raises InputError for a tokenizer of the settings that can't be read.
    """
    if reader is not None:
        width, scale = reader.encoder.width, -math.log(reader.encoder.temperature)
        sized = replace(SIZES["cells"], projection=width, image_size=reader.grid, logit_scale=scale)
        return GroupViT(replace(sized, image_encoder=pinned(str(settings.image_encoder))))
    if settings.tokenizer is not None:
        clip = read_clip_tokenizer(settings.tokenizer, SIZES["paper"].vocabulary)
        return GroupViT(with_clip_tokenizer(SIZES[settings.size], clip), clip)
    captions = [caption for captions in corpus.captions for caption in captions]
    templates = (template.format("") for template in TEMPLATES[settings.templates])
    texts = [*captions, *templates, *corpus.vocabulary.concepts, *classes, *settings.tokenizer_words]
    tokenizer = train_tokenizer(texts)
    return GroupViT(with_tokenizer(SIZES[settings.size], tokenizer), tokenizer)


def _save(model: Any, folder: Path, settings: CocuSettings, concepts: Sequence[str], reader: CellReader | None) -> None:
    about = {
        **settings_as_text(settings, *LOCAL_SETTINGS),
        **dataset_name(settings.data),
        "recipe": "segue train cocu",
        "concept_vocabulary": list(concepts),
    }
    trained = groupvit_of(model)
    if reader is not None:
        trained, about["fingerprint"] = keep_share(trained, settings.share), reader.encoder.fingerprint
    save_groupvit(trained, folder, about=about, half=settings.half)


def groupvit_of(task: Any) -> GroupViT:
    """The GroupViT that a task trains."""
    model: GroupViT = task.model if isinstance(task, ReleasedTask | CellGroupsTask) else task
    return model


def val_with_truth(val: PictureSet, settings: CocuSettings) -> tuple[list[Picture], tuple[str, ...], ReadTruth]:
    """See `with_truth`: of the classes of a published protocol; on an image encoder by the protocol of its cells."""
    if settings.image_encoder is not None:
        return with_truth(val, DenseProtocol())
    chosen = find_protocol(settings.protocol)
    return with_truth(only_classes(val, PUBLISHED_CLASSES.get(settings.protocol, ()), chosen), chosen)


def _illustrate(folder: Path, val: PictureSet, settings: CocuSettings) -> str:
    segmenter = load_label_segmenter(folder, device=settings.device)
    return label_examples(segmenter, *val_with_truth(val, settings))


def build_validation(
    val: PictureSet, settings: CocuSettings, reader: CellReader | None = None
) -> Callable[[Any], dict[str, float]]:
    """A function that scores a model on up to `val_pictures` pictures of val (0: all), spread evenly."""
    pictures, classes, read_truth = val_with_truth(val, settings)
    pictures = spread_evenly(pictures, settings.val_pictures or len(pictures))

    def validate(model: Any) -> dict[str, float]:
        trained = groupvit_of(model)
        segmenter: LabelSegmenter
        if reader is None:
            segmenter = OpenVocabularySegmenter(trained, find_protocol(settings.protocol))
        else:
            segmenter = DualEncoderSegmenter(on_encoder(reader.encoder, keep_share(trained, settings.share)))
        ious, accuracy = score_pictures(segmenter, pictures, classes, read_truth)
        return {"miou": float(np.nanmean(ious)), "pixel_accuracy": accuracy}

    return validate


class _TrainingExample(NamedTuple):
    """What an epoch shows of a picture.

    image: (3, S, S) float32, normalised. texts: the caption and K prompts. concepts:
    that of each prompt, "" where the caption takes its place. known: K nouns of the caption, which are true of the
    picture whatever is sampled, and the likely ones of an archive of probabilities; "" for none.
    """

    image: Tensor
    texts: list[str]
    concepts: list[str]
    known: list[str]


class CocuBatches:
    """Pictures, each with one of its captions and K prompts; a pure function of the keys.

    reader: of the cells that take the pictures' place, for a model on an image encoder.
    Raises InputError for an archive of another number of pictures.
    """

    def __init__(
        self,
        corpus: CurationCorpus,
        archive: Archive | None,
        settings: CocuSettings,
        model: GroupViT,
        reader: CellReader | None = None,
    ) -> None:
        if archive is not None and len(archive) != len(corpus.pictures):
            raise InputError(f"archive: of {len(archive)} pictures, expected {len(corpus.pictures)}; curate them again")
        self.corpus, self.archive, self.settings, self.reader = corpus, archive, settings, reader
        self.rows = rows_of(corpus, settings)
        concepts = corpus.vocabulary.concepts if archive is None else archive.concepts
        self.concept_ids = {concept: i for i, concept in enumerate(concepts)}
        size = model.config.image_size
        self.size = (size, size)
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (model.config.mean, model.config.std))
        self._pixels = lru_cache(maxsize=IMAGE_CACHE_BYTES // (3 * size * size))(self._read_pixels)

    def __len__(self) -> int:
        return len(self.rows)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch that the training step takes: `GroupViT`'s, or on a reader's cells `CellGroupsTask`'s."""
        sampled = self._sample_concepts(keys)
        if self.reader is not None:
            return self._collate_cells(self.reader, keys, sampled)
        examples = [
            self._make_example(epoch, self.rows[index], concepts)
            for (epoch, index), concepts in zip(keys, sampled, strict=True)
        ]
        batch: dict[str, Any] = {"image": torch.stack([one.image for one in examples])}
        batch["text"] = [one.texts for one in examples]
        if self.settings.prompt_loss == "groups":
            batch["concept_ids"] = self._ids([one.concepts for one in examples])
            batch["known_ids"] = self._ids([one.known for one in examples])
        if self.settings.probability:
            rows = [self.rows[index] for _, index in keys]
            batch["concept_weights"] = self._weights(rows, [one.concepts for one in examples])
        return batch

    def _collate_cells(
        self, reader: CellReader, keys: Sequence[tuple[int, int]], sampled: Sequence[Sequence[str] | None]
    ) -> dict[str, Any]:
        """What `CellGroupsTask.training_step` takes: a concept counts by its probability, 1 where that isn't known."""
        named = torch.zeros(len(keys), len(self.concept_ids))
        for i, ((epoch, index), concepts) in enumerate(zip(keys, sampled, strict=True)):
            rng = np.random.default_rng([self.settings.seed, epoch, self.rows[index]])
            _, nouns = self._draw_caption(self.rows[index], rng)
            weights = self._weights([self.rows[index]], [concepts or []])[0] if self.settings.probability else 1.0
            named[i, [self.concept_ids[name] for name in concepts or []]] = weights
            named[i, [self.concept_ids[name] for name in (*nouns, *self._likely(self.rows[index]))]] = 1.0
        return {"image": torch.stack([reader.cells(index) for _, index in keys]), "named": named}

    def _draw_caption(self, row: int, rng: np.random.Generator) -> tuple[str, list[str]]:
        """One of a picture's captions, and the concepts that it names in a random order."""
        captions = self.corpus.captions[row]
        caption = captions[int(rng.integers(len(captions)))]
        return caption, _nouns(caption, self.corpus.vocabulary, rng)

    def _likely(self, row: int) -> list[str]:
        """The up to MOST_LIKELY concepts that a picture is more than SURE to show, by an archive of probabilities."""
        if not self.settings.probability:
            return []
        return [name for name, p in self._archive().concepts_of(row) if p > SURE][:MOST_LIKELY]

    def _ids(self, rows: Sequence[Sequence[str]]) -> Tensor:
        """(B, K) concept ids, -1 for what is not in the vocabulary."""
        return torch.tensor([[self.concept_ids.get(concept, -1) for concept in row] for row in rows])

    def _weights(self, rows: Sequence[int], concepts: Sequence[Sequence[str]]) -> Tensor:
        """(B, K): the probability of each concept in its picture's archive; 1 for what isn't in it."""
        scores = [dict(self._archive().concepts_of(row)) for row in rows]
        return torch.tensor([[s.get(name, 1.0) for name in some] for s, some in zip(scores, concepts, strict=True)])

    def _make_example(self, epoch: int, row: int, concepts: Sequence[str] | None) -> _TrainingExample:
        """concepts: sampled from the picture's archive; None: the caption's own nouns."""
        rng = np.random.default_rng([self.settings.seed, epoch, row])
        captions = self.corpus.captions[row]
        caption = captions[int(rng.integers(len(captions)))]
        mirrored = swap_sides(caption) if self.settings.augmentation == "flips" and rng.random() < 0.5 else None
        nouns = _nouns(caption, self.corpus.vocabulary, rng)
        some = nouns if concepts is None else concepts
        chosen = self._choose(some)
        templates = TEMPLATES[self.settings.templates]
        texts = [caption if mirrored is None else mirrored, *(_prompt(concept, templates, rng) for concept in chosen)]
        missing = 1 + self.settings.concepts - len(texts)
        known = [*nouns, *[""] * self.settings.concepts][: self.settings.concepts]
        if self.settings.probability:
            likely = [name for name, p in self._archive().concepts_of(row) if p > SURE and name not in nouns]
            known += [*likely, *[""] * MOST_LIKELY][:MOST_LIKELY]
        image = self._image(row, mirrored is not None, rng)
        return _TrainingExample(image, texts + [texts[0]] * missing, chosen + [""] * missing, known)

    def _choose(self, concepts: Sequence[str]) -> list[str]:
        """Up to K concepts; repeated where there are fewer, unless the loss is the released one."""
        count = self.settings.concepts
        if self.settings.prompt_loss == "released" or not concepts:
            return list(concepts[:count])
        return [concepts[i % len(concepts)] for i in range(count)]

    def _image(self, row: int, mirrored: bool, rng: np.random.Generator) -> Tensor:
        """(3, S, S), augmented and normalised."""
        released = self.settings.augmentation == "released"
        if released:
            image = rand_augment(random_crop(self.corpus.pictures[row].load(), self.size[0], rng), rng)
        else:
            image = self._pixels(row)[:, ::-1] if mirrored else self._pixels(row)
        pixels = (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 - self.mean) / self.std
        return torch.from_numpy(erase(pixels.numpy(), rng)) if released else pixels

    def _read_pixels(self, row: int) -> NDArray[np.uint8]:
        return resize_image(self.corpus.pictures[row].load(), self.size)

    def _archive(self) -> Archive:
        assert self.archive is not None  # a system without one has no probability
        return self.archive

    def _sample_concepts(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sequence[str] | None]:
        """What each picture's archive gives in its epoch, sampled for all pictures of an epoch together."""
        if self.archive is None:
            return [None] * len(keys)
        mode: Literal["clusters", "top"] = "top" if self.settings.system == "top3" else "clusters"
        found: dict[tuple[int, int], list[str]] = {}
        for epoch, group in groupby(sorted(keys), key=itemgetter(0)):
            some = list(group)
            sampled = self.archive.sample(
                [self.rows[index] for _, index in some],
                epoch,
                num=self.settings.concepts,
                temperature=self.settings.temperature,
                seed=self.settings.seed,
                mode=mode,
                fresh=self.settings.probability,
            )
            found |= dict(zip(some, sampled, strict=True))
        return [found[key] for key in keys]


def _nouns(caption: str, vocabulary: Vocabulary, rng: np.random.Generator) -> list[str]:
    """The concepts that the caption names, in a random order."""
    return [vocabulary.concepts[n] for n in rng.permutation(sorted(vocabulary.find(caption)))]


def _prompt(concept: str, templates: Sequence[str], rng: np.random.Generator) -> str:
    return templates[int(rng.integers(len(templates)))].format(concept)
