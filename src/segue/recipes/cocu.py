"""Experiments with language-supervised segmentation: GroupViT, and GroupViT with curated concepts (CoCu).

segue train cocu-scenes                       the drawn scenes: a pair of others, their archive, then the training
segue train cocu-scenes --system groupvit     the caption's own nouns only, nothing curated
segue train cocu --data DIR --pair clip:ID    any captioned pictures

A step sees a picture's caption and `concepts` prompts. GroupViT's are nouns of that caption; CoCu's are drawn from the
picture's archive by clusters, anew in each epoch. Where there are fewer, they are repeated; where there is none, the
caption stands for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.api import Labeller
from segue.api.curation import Corpus, curate_corpus, read_corpus
from segue.api.labeller import find_protocol
from segue.data.formats import read_pictures, recognise
from segue.data.medical.notes import swap_sides
from segue.data.transforms import resize_image
from segue.evaluation.labels import score_maps, with_truth
from segue.files import locked
from segue.methods.cocu.archive import ARCHIVE, Archive, read_archive
from segue.methods.cocu.curation.arrays import CurateSettings
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import SIZES
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import sized_for, train_tokenizer
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.recipes.datasets import create_once
from segue.recipes.dual_encoder import SCENES as ENCODER_SCENES
from segue.recipes.dual_encoder import train_on_pictures
from segue.recipes.settings import dataset_name, evaluation_interval, settings_as_text
from segue.synthetic.scenes.writer import make_scenes
from segue.training import FitOptions, fit
from segue.training.state import has_state
from segue.types import InputError, Picture, PictureSet

System = Literal["groupvit", "full", "top3", "no_clustering", "no_ranking", "no_expansion"]
CURATION: dict[str, tuple[str, CurateSettings]] = {  # system -> folder of its archive, and how it is curated
    "full": ("archive", CurateSettings()),
    "top3": ("archive", CurateSettings()),
    "no_clustering": ("archive-no-clustering", CurateSettings(clustering=False)),
    "no_ranking": ("archive-no-ranking", CurateSettings(ranking=False)),
    "no_expansion": ("archive-no-expansion", CurateSettings(expansion=False)),
}
CACHE = 2**28  # bytes of resized pictures that are kept
PATHS = ("curated", "vocabulary", "names")  # and lists
TEMPLATES = (
    "a photo of a {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a view of a {}.",
    "a small photo of a {}.",
    "a large photo of a {}.",
    "there is a {} in the picture.",
    "a photo with a {} in it.",
)


@dataclass(frozen=True)
class CocuSettings:
    """One training of a GroupViT.

    Attributes:
        out: folder of the run: best/, last/, history and TensorBoard.
        data: captioned pictures in any format, with a train split; val with label maps or masks is scored.
        system: "full" is CoCu, "groupvit" learns from the caption's nouns; the others leave out one part of CoCu.
        size: "small" (64 pixels, of the tables), "scenes" (128) or "paper" (224).
        pair: the image-text pair that curates; `cocu-scenes` trains its own where none is there yet.
        vocabulary: a file with one concept a line; the nouns of the captions unless given.
        curated: folder of the embeddings and archives, shared by runs on the same data.
        captions: how many captions of each picture are used, the first ones; 0 for all. The web has one.
        concepts: prompts beside the caption.
        temperature: of the draws from the archive.
        naming: a prompt is told from the others by single "groups" (`naming_loss`), or by the whole "picture", as the
            paper has it.
        protocol: the card of the evaluations, and the model's own from then on.
        names: what the tokenizer must know beside captions, concepts and the classes of val; no word of it is learned.
        flips: mirror half of the pictures, with the sides in the captions swapped.
        steps: optimiser steps.
        batch_size: pictures a step, over all processes: each is told from all others.
        lr: peak learning rate, reached after a warm-up of a fifteenth of the steps, then cosine.
        weight_decay: AdamW's.
        clip_norm: largest norm of the gradient.
        ema: decay of the weights' moving average, 0 for none.
        evaluations: how many times the validation split is scored; the best weights are kept.
        val_pictures: how many of its pictures, 0 for all.
        seed: of weights, order, captions, prompts and flips.
        half: store the checkpoint as float16.
        workers: processes that make batches.
        resume: continue the run in `out`.
    """

    out: Path
    data: Path
    system: System = "full"
    size: Literal["small", "scenes", "paper"] = "scenes"
    pair: str = "pair-scenes"
    vocabulary: Path | None = None
    curated: Path = Path("runs/curated")
    captions: int = 1
    concepts: int = 3
    temperature: float = 0.1
    naming: Literal["groups", "picture"] = "groups"
    protocol: str = "scenes"
    names: tuple[str, ...] = ()
    flips: bool = True
    steps: int = 3000
    batch_size: int = 64
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    ema: float = 0.99
    evaluations: int = 10
    val_pictures: int = 200
    seed: int = 0
    half: bool = False
    workers: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.concepts < 1 or self.temperature <= 0:
            raise InputError(
                f"got {self.concepts} concepts at temperature {self.temperature}, expected one or more, above 0"
            )


SCENES = CocuSettings(
    out=Path("runs/cocu-scenes"),
    data=Path("runs/data/scenes-close"),
    pair="runs/pair-scenes-close/best",
    curated=Path("runs/curated/scenes-close"),
    size="small",
    protocol="small",
    steps=800,
    batch_size=32,
    lr=1e-3,
    evaluations=4,
    half=True,
)
ANY = CocuSettings(
    out=Path("runs/cocu"), data=Path("data"), curated=Path("runs/curated/data"), protocol="voc", half=True
)
PAIR = replace(ENCODER_SCENES, image_size=64, steps=3000, evaluations=5)


def cocu_scenes(settings: CocuSettings) -> Path:
    """Train on the sketchbook's scenes from near; they, and the pair of the default, are made where not there yet."""
    draw_scenes_once(settings.data)
    if settings.pair == SCENES.pair and settings.system != "groupvit":
        train_pair_once(Path(settings.pair).parent)
    return cocu(settings)


def draw_scenes_once(folder: Path) -> Path:
    """The default scenes, seen from near, at 128 pixels."""
    return create_once(folder, lambda out: make_scenes(out, view="close", progress=True))


def train_pair_once(folder: Path) -> str:
    """The best weights, in `folder`, of a pair that learned from 12,000 other scenes from near and all their captions.

    It stands for CLIP, which has seen more pictures and words than those that it curates, none of their captions, and
    many texts of the web that name one thing only: so `with_nouns`.
    """
    with locked(folder):
        if not (folder / "last" / "config.json").exists():
            data = folder.with_name(f"{folder.name}-data")
            create_once(data, lambda out: make_scenes(out, seed=1, train=12_000, test=100, view="close", progress=True))
            settings = replace(PAIR, out=folder, data=data, resume=has_state(folder / "state"))
            train_on_pictures(settings, with_nouns(read_pictures(data, "train")), read_pictures(data, "val"))
    return str(folder / "best")


def with_nouns(pictures: PictureSet) -> PictureSet:
    """Each picture with further captions, "A photo of a dog.": of the last word of each of its captions' phrases."""

    def short(picture: Picture) -> list[str]:
        told = (picture.captions[p.caption][p.start : p.end].lower().split() for p in picture.phrases)
        return [f"A photo of a {noun}." for noun in sorted({words[-1] for words in told if words})]

    return replace(pictures, pictures=[replace(p, captions=(*p.captions, *short(p))) for p in pictures.pictures])


def cocu(settings: CocuSettings) -> Path:
    """Train on captioned pictures in any format; returns the checkpoint's folder."""
    find_protocol(settings.protocol)
    corpus = read_corpus(settings.data, "train", captions=settings.captions, vocabulary=settings.vocabulary)
    archive = curated_archive(settings, corpus)
    torch.manual_seed(settings.seed)
    scored = scored_pictures(settings)
    model = build(settings, corpus, scored.classes if scored else ())
    batches = NamedBatches(corpus, archive, settings, model)
    fit(
        model,
        batches,
        out=settings.out,
        options=FitOptions(
            steps=settings.steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=settings.steps // 15,
            clip_norm=settings.clip_norm,
            ema=settings.ema,
            evaluate_every=evaluation_interval(settings.steps, settings.evaluations),
            seed=settings.seed,
            workers=settings.workers,
        ),
        save=partial(_save, settings=settings, concepts=corpus.vocabulary.concepts),
        evaluate=validator(scored, settings.protocol, settings.val_pictures) if scored else None,
        monitor="miou",
        about=settings_as_text(settings, *PATHS),
        resume=settings.resume,
    )
    return settings.out / ("best" if scored else "last")


def scored_pictures(settings: CocuSettings) -> PictureSet | None:
    """The val split, or None (which is said) where there is none, or no mask in it: captions are all that is needed."""
    if "val" in recognise(settings.data)[1]:
        found = read_pictures(settings.data, "val")
        if any(p.label_map or any(r.mask for r in p.regions) for p in found.pictures):
            return found
    print(f"{settings.data}: no val split with masks to score on; the last weights are kept", flush=True)
    return None


def curated_archive(settings: CocuSettings, corpus: Corpus) -> Archive | None:
    """The archive that the system draws from, curated where it isn't there yet; None for GroupViT."""
    if settings.system == "groupvit":
        return None
    folder, how = CURATION[settings.system]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with locked(settings.curated):
        pair = load_dual_encoder(settings.pair, device=device)
        curate_corpus(corpus, settings.curated, pair, settings.pair, how, folder=folder)
    return read_archive(settings.curated / folder / ARCHIVE)


def build(settings: CocuSettings, corpus: Corpus, classes: Sequence[str]) -> GroupViT:
    """A fresh GroupViT whose tokenizer knows the words of the captions, the templates, the concepts and the classes."""
    told = [caption for captions in corpus.captions for caption in captions]
    words = [*told, *(t.format("") for t in TEMPLATES), *corpus.vocabulary.concepts, *classes, *settings.names]
    tokenizer = train_tokenizer(words)
    return GroupViT(sized_for(SIZES[settings.size], tokenizer), tokenizer)


def _save(model: Any, folder: Path, settings: CocuSettings, concepts: Sequence[str]) -> None:
    about = {
        **settings_as_text(settings, *PATHS),
        **dataset_name(settings.data),
        "recipe": "segue train cocu",
        "card": settings.protocol,
        "concept_vocabulary": list(concepts),
    }
    save_groupvit(model, folder, about=about, half=settings.half)


def validator(found: PictureSet, protocol: str, most: int) -> Callable[[Any], dict[str, float]]:
    """Scores a model on up to `most` pictures of a set (0: all), spread evenly."""
    card = find_protocol(protocol)
    pictures, classes, truth = with_truth(found, card)
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(most or len(pictures), len(pictures))).astype(int))
    pictures = [pictures[i] for i in chosen]

    def validate(model: Any) -> dict[str, float]:
        ious, accuracy = score_maps(Labeller(model, card), pictures, classes, truth, card)
        return {"miou": float(np.nanmean(ious)), "pixel_accuracy": accuracy}

    return validate


class _Drawn(NamedTuple):
    """image: (3, S, S) uint8. texts: the caption and K prompts. names: what the prompts name, "" where the caption
    stands in. known: K nouns of the caption, which are true of the picture whatever is drawn; "" for nothing.
    """

    image: Tensor
    texts: list[str]
    names: list[str]
    known: list[str]


class NamedBatches:
    """Pictures, each with one of its captions and K prompts; a pure function of the keys."""

    def __init__(self, corpus: Corpus, archive: Archive | None, settings: CocuSettings, model: GroupViT) -> None:
        told = [i for i, captions in enumerate(corpus.captions) if captions]
        if archive is not None and len(archive) != len(corpus.pictures):
            raise InputError(f"archive: of {len(archive)} pictures, expected {len(corpus.pictures)}; curate them again")
        self.corpus, self.archive, self.settings, self.rows = corpus, archive, settings, told
        concepts = corpus.vocabulary.concepts if archive is None else archive.concepts
        self.numbers = {name: i for i, name in enumerate(concepts)}
        size = model.config.image_size
        self.size, self.mean, self.std = (size, size), model.config.mean, model.config.std
        self._pixels = lru_cache(maxsize=CACHE // (3 * size * size))(self._read)

    def __len__(self) -> int:
        return len(self.rows)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch that `GroupViT.training_step` takes."""
        names = self._names(keys)
        drawn = [self._draw(epoch, self.rows[index], some) for (epoch, index), some in zip(keys, names, strict=True)]
        pixels = torch.stack([one.image for one in drawn]).float() / 255
        mean, std = (pixels.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        batch = {"image": (pixels - mean) / std, "text": [one.texts for one in drawn]}
        if self.settings.naming == "groups":
            batch["name"], batch["known"] = (
                torch.tensor([[self.numbers.get(name, -1) for name in names] for names in column])
                for column in ([one.names for one in drawn], [one.known for one in drawn])
            )
        return batch

    def _draw(self, epoch: int, row: int, names: Sequence[str] | None) -> _Drawn:
        """What an epoch shows of a picture.

        names: of its archive; None: the caption's own nouns.
        """
        rng = np.random.default_rng([self.settings.seed, epoch, row])
        captions = self.corpus.captions[row]
        caption = captions[int(rng.integers(len(captions)))]
        mirrored = swap_sides(caption) if self.settings.flips and rng.random() < 0.5 else None
        nouns = _nouns(caption, self.corpus.vocabulary, rng)
        names = nouns if names is None else names
        names = [names[i % len(names)] for i in range(self.settings.concepts)] if names else []
        image = self._pixels(row)
        image = image if mirrored is None else image[:, ::-1]
        texts = [caption if mirrored is None else mirrored, *(_prompt(name, rng) for name in names)]
        missing = 1 + self.settings.concepts - len(texts)
        known = [*nouns, *[""] * self.settings.concepts][: self.settings.concepts]
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
        return _Drawn(pixels, texts + [texts[0]] * missing, names + [""] * missing, known)

    def _read(self, row: int) -> NDArray[np.uint8]:
        return resize_image(self.corpus.pictures[row].load(), self.size)

    def _names(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sequence[str] | None]:
        """What each picture's archive gives in its epoch, drawn for all of an epoch together."""
        if self.archive is None:
            return [None] * len(keys)
        mode: Literal["clusters", "top"] = "top" if self.settings.system == "top3" else "clusters"
        found: dict[tuple[int, int], list[str]] = {}
        for epoch, some in groupby(sorted(keys), key=itemgetter(0)):
            mine = list(some)
            drawn = self.archive.draw(
                [self.rows[index] for _, index in mine],
                epoch,
                draws=self.settings.concepts,
                temperature=self.settings.temperature,
                seed=self.settings.seed,
                mode=mode,
            )
            found |= dict(zip(mine, drawn, strict=True))
        return [found[key] for key in keys]


def _nouns(caption: str, vocabulary: Vocabulary, rng: np.random.Generator) -> list[str]:
    """The concepts that the caption names, in a random order."""
    return [vocabulary.concepts[n] for n in rng.permutation(sorted(vocabulary.find(caption)))]


def _prompt(name: str, rng: np.random.Generator) -> str:
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(name)
