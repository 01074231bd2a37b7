"""The table of captioners that learn from text alone: what `segue ablate syntic_scenes [--data DIR]` runs.

DIR holds scenes/ and, unless the bundled pair is meant, pair-scenes/; without it the scenes are drawn. Rows train on
the text of `train` and are scored on the first 500 `photo` pictures of `test`, as `segue score captions` scores: CIDEr
1.01 is the paper's 101. All that rows share is computed once, beside the tables' folders: pictures, features, features
after Eq. 2, and the captioners, so that a row which only looks at another test of one trains nothing.

experiment    what is moved
main          nothing: the paper's eight ablation rows, and its rivals
cross_domain  tested on world "b": other scenes, told in other words; -TT: with b's captions as the support set
web_text      trained on the same captions as the web has them (`language.web_captions`); tested as in main
text_share    1, 10, 30, 60 and 100 % of the captions, in training and in the support set
fo_steps      how often Eq. 2 moves a feature

syntic_moves is of Eq. 2 alone: where it takes the features of 1,280 synthetic pictures; nothing is trained.
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

from segue.api.captioner import Captioner, load_captioner
from segue.data.corpus import Corpus, read_corpus
from segue.data.embedding_store import Item, text_items
from segue.data.formats import read_pictures
from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.dual_encoder import DualEncoder
from segue.files import locked, write_text
from segue.lab.engine import Row, Work
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import SYSTEMS, Support
from segue.metrics.captions import clip_score, score_captions
from segue.metrics.retrieval import recall_at
from segue.recipes.datasets import create_once, create_scenes_once
from segue.recipes.syntic import (
    SYNTIC_SCENES,
    SynticSettings,
    System,
    captions_of,
    features_of,
    optimised,
    prepare,
    train_on,
)
from segue.synthetic.scenes.language.web_captions import weblike
from segue.synthetic.scenes.scene import THINGS
from segue.synthetic.scenes.writer import make_scenes
from segue.training.state import has_state
from segue.types import InputError, PictureSet
from segue.weights import bundled

SEEDS = (0, 1, 2)
PAIR = "pair-scenes"
METRICS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "spice": "SPICE"}
TESTED = 500
SHARES = (1, 10, 30, 60, 100)  # per cent
FO_STEPS = (20, 50, 100, 200, 400)
OTHER_WORLD: dict[str, Any] = {"train": 1000, "val": 0, "test": TESTED}
KARPATHY = "dataset_scenes.json"  # the captions alone; reading a whole data set takes longer than captioning its test
MOVES = ((0.0, 0), (1e-5, 100), (1e-4, 100), (2e-4, 100), (1e-3, 20), (1e-3, 100))  # lr and steps of Eq. 2
MOVED = 1280  # pictures
TABLE = replace(SYNTIC_SCENES, pictures=4000, steps=600, half=False)


@dataclass(frozen=True)
class Case:
    """A row: which captioner, named by its folder (without the seed), and what it is scored on.

    share: per cent of the captions. web: train on web-like text. other: test on world "b"; swap: with its captions as
    the support set. fo_steps: of Eq. 2, 0 for the recipe's.
    """

    experiment: str
    name: str
    system: System
    folder: str
    share: int = 100
    web: bool = False
    other: bool = False
    swap: bool = False
    fo_steps: int = 0


def cases() -> Iterator[tuple[Case, Sequence[int]]]:
    """All rows but for their seeds, and their seeds: three where a trained captioner is there, else one."""
    for system in SYSTEMS:
        yield Case("main", system, cast(System, system), f"main-{system}"), SEEDS
    for system in cast(tuple[System, ...], ("clipre", "baseline", "capdec", "decap", "full")):
        seeds = SEEDS[:1] if system == "clipre" else SEEDS
        yield Case("cross_domain", system, system, f"main-{system}", other=True), seeds
        if SYSTEMS[system]["fp"] or system == "clipre":
            yield Case("cross_domain", f"{system}-TT", system, f"main-{system}", other=True, swap=True), seeds
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
    """The paper's ablation rows and its peers, then the further experiments. `base`: the settings that they share."""
    rows = [(case, seed) for case, seeds in cases() for seed in seeds]
    rows.sort(key=lambda row: row[1])  # a whole table of one seed comes first
    return [
        Row(case.experiment, case.name, seed, partial(_row, case, replace(base, system=case.system, seed=seed)))
        for case, seed in rows
    ]


def syntic_bundled_table() -> list[Row]:
    """The bundled captioner on the same test pictures: what it writes, and what it finds in its support set."""
    return [
        Row("test", name, 0, partial(_bundled, retrieve))
        for name, retrieve in (("bundled", False), ("bundled, retrieved", True))
    ]


def _bundled(retrieve: bool, work: Work) -> dict[str, float]:
    scenes = _scenes(work)
    captioner, test = load_captioner("syntic-scenes"), first(read_pictures(scenes, "test"), TESTED)
    v = picture_features(test, captioner.pair, work.shared / "features")
    return scored(_said(captioner, v, retrieve), test, v, captioner.pair)


def syntic_moves_table() -> list[Row]:
    """Eq. 2 by its rate and its steps: mean cosine of the moved features to where they were and to their captions, and
    recall of a picture's own caption among all.
    """
    return [Row("eq2", f"{lr:g} x {steps}", 0, partial(_move, lr, steps)) for lr, steps in MOVES]


def _move(lr: float, steps: int, work: Work) -> dict[str, float]:
    settings = replace(
        TABLE,
        pair=PAIR,
        corpus=_scenes(work) / KARPATHY,
        images=work.shared / "data-scenes-synthetic",
        cache=work.shared / "features",
        pictures=MOVED,
        support=MOVED,
        fo_lr=lr,
        fo_steps=steps,
    )
    material = prepare(settings, captions_of(settings.corpus), (), with_images=True)
    assert material.image is not None  # for mypy: asked for
    before, text = (x.astype(np.float32) for x in (material.image, material.text[: len(material.image)]))
    moved = optimised(before, text, material.group, settings).numpy() if steps else before
    found = recall_at(moved, text, np.arange(len(text)), ks=(1, 10))
    cosines = {"to_itself": (moved * before).sum(1).mean(), "to_text": (moved * text).sum(1).mean()}
    return {name: float(x) for name, x in cosines.items()} | {f"r{k}": found[f"i2t_r{k}"] for k in (1, 10)}


def _said(captioner: Captioner, v: NDArray[np.float32], retrieve: bool = False) -> list[str]:
    """The best caption of each picture."""
    parts = [captioner.caption_features(v[i : i + 128], retrieve=retrieve) for i in range(0, len(v), 128)]
    return [one[0].text for part in parts for one in part]


def _row(case: Case, settings: SynticSettings, work: Work) -> dict[str, float]:
    shared, scenes = work.shared, _scenes(work)
    settings = replace(
        settings,
        pair=_pair(work),
        out=work.table / f"{case.folder}-{settings.seed}",
        corpus=_web_text(shared, scenes) if case.web else scenes / KARPATHY,
        images=shared / ("data-scenes-web-synthetic" if case.web else "data-scenes-synthetic"),
        cache=shared / "features",
        pictures=max(1, settings.pictures * case.share // 100),
        support=max(1, settings.support * case.share // 100),
        fo_steps=case.fo_steps or settings.fo_steps,
    )
    other = _other_world(shared) if case.other else None
    test = first(read_pictures(other or scenes, "test"), TESTED)
    texts = read_corpus(other / KARPATHY).captions if other and case.swap else None
    return score_system(settings, lambda: captions_of(settings.corpus), THINGS, test, texts)


def _scenes(work: Work) -> Path:
    if work.data is None:
        return create_scenes_once(work.shared / "data-scenes")
    scenes = work.data / "scenes"
    if not scenes.is_dir():
        raise InputError(
            f"{scenes}: no such folder; draw it: segue data make scenes --out {scenes}, or leave out --data"
        )
    return scenes


def _pair(work: Work) -> str:
    """The pair of --data, or else the bundled one."""
    if work.data is not None and (work.data / PAIR).is_dir():
        return str(work.data / PAIR)
    if PAIR not in bundled():
        raise InputError(
            f"--data {work.data}: no {PAIR}/ there and none is bundled; segue train align-scenes trains one"
        )
    return PAIR


def _other_world(shared: Path) -> Path:
    return create_once(shared / "data-scenes-b", lambda out: make_scenes(out, world="b", progress=True, **OTHER_WORLD))


def _web_text(shared: Path, scenes: Path) -> Path:
    """The captions of the scenes as the web has them, a jsonl."""

    def make(out: Path) -> None:
        corpus = weblike(read_corpus(scenes / KARPATHY))
        told = [{"caption": c, "image": str(g)} for c, g in zip(corpus.captions, corpus.group.tolist(), strict=True)]
        write_text(out, "".join(json.dumps(one) + "\n" for one in told))

    return create_once(shared / "data-scenes-web.jsonl", make)


# ------------------------------------------------------------------------------------------------ any row


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

    texts: the support set of the test, instead of the captioner's own (-TT).
    """
    if settings.system == "clipre":
        pair, support = _retriever(settings, corpus, names, texts)
        v = picture_features(test, pair, settings.cache)
        return scored([one[0] for one in support.retrieve(torch.from_numpy(v))], test, v, pair)
    captioner = trained(settings, corpus, names)
    if texts is not None:
        captioner = captioner.with_support(_support(texts, captioner.pair, settings))
    v = picture_features(test, captioner.pair, settings.cache)
    return scored(_said(captioner, v), test, v, captioner.pair)


def trained(settings: SynticSettings, corpus: Callable[[], Corpus], names: Sequence[str]) -> Captioner:
    """The captioner in settings.out/last, trained if it isn't there; of several rows that want it one trains it."""
    with locked(settings.out):
        if not (settings.out / "last" / "config.json").exists():
            found = corpus()
            material = prepare(settings, found, names, with_images=True)
            words = CaptionTokenizer.learn(found.captions, size=settings.vocabulary)
            train_on(material, replace(settings, resume=has_state(settings.out / "state")), words)
    return load_captioner(settings.out / "last")


def _retriever(
    settings: SynticSettings, corpus: Callable[[], Corpus], names: Sequence[str], texts: Sequence[str] | None
) -> tuple[DualEncoder, Support]:
    """CLIPRe has nothing to train: it takes a caption of the support set, which is that of all systems."""
    if texts is not None:
        pair = load_dual_encoder(settings.pair)
        return pair, _support(texts, pair, settings)
    material = prepare(settings, corpus(), names, with_images=True)
    few = slice(settings.support)
    return material.pair, Support(material.text[few], material.captions[few])


def _support(texts: Sequence[str], pair: DualEncoder, settings: SynticSettings) -> Support:
    texts = list(dict.fromkeys(texts))[: settings.support]
    features = features_of(settings.cache, "texts", text_items((f"{i}", c) for i, c in enumerate(texts)), pair)
    return Support(features, texts, tau=settings.tau)


def picture_features(pictures: PictureSet, pair: DualEncoder, cache: Path) -> NDArray[np.float32]:
    """The features (N, D) of a set's pictures, computed once."""
    items = [Item(p.name, hashlib.sha256(p.load().tobytes()).hexdigest(), p.load) for p in pictures.pictures]
    return features_of(cache, "images", items, pair).astype(np.float32)


def scored(said: Sequence[str], pictures: PictureSet, v: NDArray[np.float32], pair: DualEncoder) -> dict[str, float]:
    """The table's metrics of one caption a picture. What can't be computed is left out, and said.

    v: (N, D), the pictures' features under `pair`, which CLIPScore is of.
    """
    names = [picture.name for picture in pictures.pictures]
    truth = {picture.name: picture.captions for picture in pictures.pictures}
    corpus = score_captions(dict(zip(names, said, strict=True)), truth).corpus
    found: dict[str, float] = {}
    for metric, name in METRICS.items():
        value = corpus[name]
        if isinstance(value, float):
            found[metric] = value
        else:
            print(f"{metric}: {value}", flush=True)
    wordy = [text if any(map(str.isalnum, text)) else "nothing" for text in said]  # one without words can't be read
    texts = pair.embed_texts(wordy).numpy()
    return found | {"clipscore": float(clip_score(v, texts).mean())}
