"""The table of captioners that learn from text alone: `segue lab run syntic_scenes [--data DIR]`.

DIR holds scenes/ and, unless the bundled dual encoder is used, scenes-encoder/; without it the scenes are drawn. Rows
train on the text of `train` and are scored on the first 500 `photo` pictures of `test`, as `segue score captions`
scores: CIDEr 1.01 is the paper's 101. What rows share is computed once, beside the tables' folders: synthetic images,
features, features after Eq. 2, and the captioners, so that a row which is only another test of one trains nothing.

experiment    what differs
main          nothing: the paper's eight ablation rows, and the methods it is compared with
cross_domain  tested on domain "b": other scenes with other words; -TT: with b's captions as the support set
web_text      trained on the same captions with web noise (`language.web_captions`); tested as in main
text_share    1, 10, 30, 60 and 100 % of the captions, in training and in the support set
fo_steps      the number of updates of Eq. 2

syntic_moves is about Eq. 2 alone: how far it moves the features of 1,280 synthetic images; nothing is trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api.captioner import Caption, Captioner, load_captioner
from segue.data.corpus import Corpus, read_corpus
from segue.data.embedding_store import Item, text_items
from segue.data.formats import read_pictures
from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.dual_encoder import DualEncoder
from segue.files import locked, write_text
from segue.lab.engine import Row, Work
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import SYSTEMS, SupportSet
from segue.metrics.captions import clip_score, score_captions
from segue.metrics.retrieval import recall_at_k
from segue.recipes.datasets import create_once, create_scenes_once
from segue.recipes.syntic import (
    SCENES,
    SynticSettings,
    System,
    cached_features,
    optimised_features,
    prepare_features,
    read_captions,
    train_decoder,
)
from segue.synthetic.scenes.language.web_captions import add_web_noise
from segue.synthetic.scenes.scene import THING_CLASSES
from segue.synthetic.scenes.writer import make_scenes
from segue.training.state import has_state
from segue.types import InputError, PictureSet
from segue.weights import bundled

SEEDS = (0, 1, 2)
ENCODER = "scenes-encoder"
METRICS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "spice": "SPICE"}
TESTED = 500  # pictures of the test split
SHARES = (1, 10, 30, 60, 100)  # per cent
FO_STEPS = (20, 50, 100, 200, 400)
DOMAIN_B: dict[str, Any] = {"train": 1000, "val": 0, "test": TESTED}
KARPATHY = "dataset_scenes.json"  # the captions alone; reading a whole data set takes longer than captioning its test
MOVES = ((0.0, 0), (1e-5, 100), (1e-4, 100), (2e-4, 100), (1e-3, 20), (1e-3, 100))  # lr and steps of Eq. 2
MOVED = 1280  # pictures
TABLE = replace(SCENES, pictures=4000, steps=600, half=False)


@dataclass(frozen=True)
class Case:
    """A row: which captioner, named by its folder (without the seed), and what it is scored on.

    share: per cent of the captions. web: train on captions with web noise. other_domain: test on domain "b".
    other_support: with the captions of domain "b" as the support set. fo_steps: of Eq. 2, None for the recipe's.
    """

    experiment: str
    name: str
    system: System
    folder: str
    share: int = 100
    web: bool = False
    other_domain: bool = False
    other_support: bool = False
    fo_steps: int | None = None


def cases() -> Iterator[tuple[Case, Sequence[int]]]:
    """All rows without their seeds, and their seeds: three where a captioner of main is scored, else one."""
    for system in (name for name in SYSTEMS if name != "neighbours"):  # which is no system of the paper's
        yield Case("main", system, cast(System, system), f"main-{system}"), SEEDS
    for system in cast(tuple[System, ...], ("clipre", "baseline", "capdec", "decap", "full")):
        seeds = SEEDS[:1] if system == "clipre" else SEEDS
        yield Case("cross_domain", system, system, f"main-{system}", other_domain=True), seeds
        if SYSTEMS[system]["fp"] or system == "clipre":
            yield (
                Case("cross_domain", f"{system}-TT", system, f"main-{system}", other_domain=True, other_support=True),
                seeds,
            )
    for system in cast(tuple[System, ...], ("clipre", "baseline", "capdec", "decap", "full")):
        yield Case("web_text", system, system, f"web_text-{system}", web=True), SEEDS[:1]
    for system in cast(tuple[System, ...], ("decap", "full")):
        for share in SHARES:
            folder = f"main-{system}" if share == 100 else f"text_share-{system}-{share}"
            yield Case("text_share", f"{system} {share} %", system, folder, share=share), SEEDS[:1]
    for steps in FO_STEPS:
        folder = "main-full" if steps == TABLE.fo_steps else f"fo_steps-{steps}"
        yield Case("fo_steps", f"full, {steps} steps", "full", folder, fo_steps=steps), SEEDS[:1]


def syntic_scenes_table(base: SynticSettings = TABLE) -> list[Row]:
    """The paper's ablations and what they are compared with, then the other experiments. base: the shared settings."""
    rows = [(case, seed) for case, seeds in cases() for seed in seeds]
    rows.sort(key=lambda row: row[1])  # a whole table of one seed comes first
    return [
        Row(case.experiment, case.name, seed, partial(_row, case, replace(base, system=case.system, seed=seed)))
        for case, seed in rows
    ]


def syntic_bundled_table() -> list[Row]:
    """The bundled captioner on the same test pictures: captions generated, and retrieved from its support set."""
    return [
        Row("test", name, 0, partial(_bundled, retrieve))
        for name, retrieve in (("bundled", False), ("bundled, retrieved", True))
    ]


def _bundled(retrieve: bool, work: Work) -> dict[str, float]:
    scenes = _scenes(work)
    captioner, test = load_captioner("syntic-scenes"), first(read_pictures(scenes, "test"), TESTED)
    v = picture_features(test, captioner.encoder, work.shared / "features")
    captions = [one.text for one in best_captions(captioner, v, retrieve=retrieve)]
    return score_picture_captions(captions, test, v, captioner.encoder)


def syntic_moves_table() -> list[Row]:
    """Eq. 2 by learning rate and steps: mean cosine of the features to what they were before and to their captions, and
    recall of an image's own caption among all.
    """
    return [Row("eq2", f"{lr:g} x {steps}", 0, partial(_move, lr, steps)) for lr, steps in MOVES]


def _move(lr: float, steps: int, work: Work) -> dict[str, float]:
    settings = replace(
        TABLE,
        encoder=ENCODER,
        data=_scenes(work) / KARPATHY,
        images=work.shared / "data-scenes-synthetic",
        cache=work.shared / "features",
        pictures=MOVED,
        support=MOVED,
        fo_lr=lr,
        fo_steps=steps,
    )
    features = prepare_features(settings, read_captions(settings.data), (), with_images=True)
    assert features.image is not None  # because of with_images
    before, text = (x.astype(np.float32) for x in (features.image, features.text[: len(features.image)]))
    moved = optimised_features(before, text, features.group, settings).numpy() if steps else before
    found = recall_at_k(moved, text, np.arange(len(text)), ks=(1, 10))
    cosines = {"to_itself": (moved * before).sum(1).mean(), "to_text": (moved * text).sum(1).mean()}
    return {name: float(x) for name, x in cosines.items()} | {f"r{k}": found[f"i2t_r{k}"] for k in (1, 10)}


def best_captions(
    captioner: Captioner, v: NDArray[np.float32], *, retrieve: bool = False, rerank: bool = True
) -> list[Caption]:
    """The best caption of each picture."""
    pieces = (v[i : i + 128] for i in range(0, len(v), 128))
    parts = [captioner.caption_features(piece, retrieve=retrieve, rerank=rerank) for piece in pieces]
    return [one[0] for part in parts for one in part]


def _row(case: Case, settings: SynticSettings, work: Work) -> dict[str, float]:
    shared, scenes = work.shared, _scenes(work)
    settings = replace(
        settings,
        encoder=_encoder(work),
        out=work.table / f"{case.folder}-{settings.seed}",
        data=_web_text(shared, scenes) if case.web else scenes / KARPATHY,
        images=shared / ("data-scenes-web-synthetic" if case.web else "data-scenes-synthetic"),
        cache=shared / "features",
        pictures=max(1, settings.pictures * case.share // 100),
        support=max(1, settings.support * case.share // 100),
        fo_steps=settings.fo_steps if case.fo_steps is None else case.fo_steps,
    )
    other = _domain_b(shared) if case.other_domain else None
    test = first(read_pictures(other or scenes, "test"), TESTED)
    texts = read_corpus(other / KARPATHY).captions if other and case.other_support else None
    return score_system(settings, lambda: read_captions(settings.data), THING_CLASSES, test, texts)


def _scenes(work: Work) -> Path:
    if work.data is None:
        return create_scenes_once(work.shared / "data-scenes")
    scenes = work.data / "scenes"
    if not scenes.is_dir():
        raise InputError(
            f"{scenes}: no such folder; draw it: segue data make scenes --out {scenes}, or leave out --data"
        )
    return scenes


def _encoder(work: Work) -> str:
    """The dual encoder of --data, or else the bundled one."""
    if work.data is not None and (work.data / ENCODER).is_dir():
        return str(work.data / ENCODER)
    if ENCODER not in bundled():
        raise InputError(
            f"--data {work.data}: no {ENCODER}/ there and none is bundled; segue train dual-encoder-scenes trains one"
        )
    return ENCODER


def _domain_b(shared: Path) -> Path:
    return create_once(shared / "data-scenes-b", lambda out: make_scenes(out, domain="b", progress=True, **DOMAIN_B))


def _web_text(shared: Path, scenes: Path) -> Path:
    """The captions of the scenes with web noise, as .jsonl."""

    def make(out: Path) -> None:
        corpus = add_web_noise(read_corpus(scenes / KARPATHY))
        rows = [{"caption": c, "image": str(g)} for c, g in zip(corpus.captions, corpus.group.tolist(), strict=True)]
        write_text(out, "".join(json.dumps(row) + "\n" for row in rows))

    return create_once(shared / "data-scenes-web.jsonl", make)


# --- any row


def first(pictures: PictureSet, count: int) -> PictureSet:
    """The first pictures of a set."""
    return replace(pictures, pictures=pictures.pictures[:count])


def score_system(
    settings: SynticSettings,
    corpus: Callable[[], Corpus],
    names: Sequence[str],
    test: PictureSet,
    texts: Sequence[str] | None = None,
) -> dict[str, float]:
    """The scores of the captioner in settings.out/last, which is trained if it isn't there; retrieval for clipre.

    corpus: reads the training captions. names: of the objects to look for. texts: captions of the support set in the
    test, instead of the captioner's own (-TT).
    """
    if settings.system == "clipre":
        encoder, support = _retrieval(settings, corpus, names, texts)
        v = picture_features(test, encoder, settings.cache)
        return score_picture_captions([one[0] for one in support.retrieve(torch.from_numpy(v))], test, v, encoder)
    captioner = trained_captioner(settings, corpus, names)
    if texts is not None:
        captioner = captioner.with_support(_support(texts, captioner.encoder, settings))
    v = picture_features(test, captioner.encoder, settings.cache)
    captions = [one.text for one in best_captions(captioner, v)]
    return score_picture_captions(captions, test, v, captioner.encoder)


def trained_captioner(settings: SynticSettings, corpus: Callable[[], Corpus], names: Sequence[str]) -> Captioner:
    """The captioner in settings.out/last, trained if it isn't there; of several rows that need it one trains it."""
    with locked(settings.out):
        if not (settings.out / "last" / "config.json").exists():
            captions = corpus()
            features = prepare_features(settings, captions, names, with_images=True)
            tokenizer = CaptionTokenizer.learn(captions.captions, size=settings.vocabulary)
            train_decoder(features, replace(settings, resume=has_state(settings.out / "state")), tokenizer)
    return load_captioner(settings.out / "last")


def _retrieval(
    settings: SynticSettings, corpus: Callable[[], Corpus], names: Sequence[str], texts: Sequence[str] | None
) -> tuple[DualEncoder, SupportSet]:
    """The dual encoder and the support set of CLIPRe, which has nothing to train; all systems have the same set."""
    if texts is not None:
        encoder = load_dual_encoder(settings.encoder)
        return encoder, _support(texts, encoder, settings)
    features = prepare_features(settings, corpus(), names, with_images=True)
    part = slice(settings.support)
    return features.encoder, SupportSet(features.text[part], features.captions[part])


def _support(texts: Sequence[str], encoder: DualEncoder, settings: SynticSettings) -> SupportSet:
    texts = list(dict.fromkeys(texts))[: settings.support]
    features = cached_features(settings.cache, "texts", text_items((f"{i}", c) for i, c in enumerate(texts)), encoder)
    return SupportSet(features, texts, tau=settings.tau)


def picture_features(pictures: PictureSet, encoder: DualEncoder, cache: Path) -> NDArray[np.float32]:
    """The features (N, D) of a set's pictures, computed once."""
    items = [Item(p.name, hashlib.sha256(p.load().tobytes()).hexdigest(), p.load) for p in pictures.pictures]
    return cached_features(cache, "images", items, encoder).astype(np.float32)


def score_picture_captions(
    captions: Sequence[str], pictures: PictureSet, v: NDArray[np.float32], encoder: DualEncoder
) -> dict[str, float]:
    """The table's metrics of one caption for each picture. What can't be computed is left out, with a message.

    v: (N, D), the pictures' features by `encoder`, of which CLIPScore is computed.
    """
    names = [picture.name for picture in pictures.pictures]
    truth = {picture.name: picture.captions for picture in pictures.pictures}
    corpus = score_captions(dict(zip(names, captions, strict=True)), truth).corpus
    scores: dict[str, float] = {}
    for metric, name in METRICS.items():
        value = corpus[name]
        if isinstance(value, float):
            scores[metric] = value
        else:
            print(f"{metric}: {value}", flush=True)
    readable = [text if any(map(str.isalnum, text)) else "nothing" for text in captions]  # an empty one has no feature
    texts = encoder.embed_texts(readable).numpy()
    return scores | {"clipscore": float(clip_score(v, texts).mean())}
