"""The table of captioners that learn from text alone: `segue lab run syntic_scenes [--data DIR]`.

DIR holds scenes/ and, unless the bundled dual encoder is used, scenes-encoder/; without it the scenes are drawn. Rows
train on the text of `train` and are scored on the first 500 `photo` pictures of `test`, as `segue score captions`
scores: CIDEr 1.01 is the paper's 101. What rows share is computed once, beside the tables' folders: synthetic images,
features, features after Eq. 2, and the captioners, so that a row which is only another test of one trains nothing.

experiment    what differs
main          the paper's eight ablation rows and the methods it is compared with, each with its published noise and
              with that of `val`; then what makes training and test alike (see `SYSTEMS`)
val           on the pictures of `val`: tau, Eq. 2 and noise, of which those of main were chosen
cosines       how far what a decoder reads in training is from what it reads at the test
curve         CIDEr-D of greedy captions of val at each evaluation of the trainings of seed 0
cross_domain  tested on domain "b": other scenes with other words; -TT: with b's captions as the support set
web_text      trained on the same captions with web noise (`language.web_captions`); tested as in main
text_share    1, 10, 30, 60 and 100 % of the captions, in training and in the support set

Of the last two the rows in results/ are of the bundled dual encoder, without --data; of the others, of a stronger one
in DIR, whose training is in docs/caption.md.

syntic_moves is about Eq. 2 alone: how far it moves the features of 1,280 synthetic images; nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api.captioner import Caption, Captioner, load_captioner
from segue.data.corpus import Corpus, read_corpus
from segue.data.embedding_store import text_items
from segue.data.formats import read_pictures
from segue.data.tokenizer import CaptionTokenizer
from segue.encoders.dual_encoder import DualEncoder
from segue.evaluation.captions import in_parts
from segue.files import write_text
from segue.lab.engine import Row, Work
from segue.lab.trained import train_once
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import SupportSet
from segue.metrics.captions import clip_score, score_captions
from segue.metrics.retrieval import recall_at_k
from segue.recipes.datasets import create_once, create_scenes_once
from segue.recipes.syntic import (
    SCENES,
    CaptionFeatures,
    SynticSettings,
    cached_features,
    model_config,
    optimised_features,
    own_captions,
    picture_features,
    prepare_features,
    read_captioned,
    read_captions,
    train_decoder,
)
from segue.synthetic.scenes.language.web_captions import add_web_noise
from segue.synthetic.scenes.scene import THING_CLASSES
from segue.synthetic.scenes.writer import make_scenes
from segue.training import read_history
from segue.types import InputError, PictureSet
from segue.weights import bundled

SEEDS = (0, 1, 2)
PAIRED_SEEDS = (0, 1, 2, 3, 4)
ENCODER = "scenes-encoder"
METRICS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "spice": "SPICE"}
TESTED = 500  # pictures of the test split
SHARES = (1, 10, 30, 60, 100)  # per cent
DOMAIN_B: dict[str, Any] = {"train": 1000, "val": 0, "test": TESTED}
KARPATHY = "dataset_scenes.json"  # the captions alone; reading a whole data set takes longer than captioning its test
MOVES = ((0.0, 0), (1e-5, 100), (1e-4, 100), (2e-4, 100), (1e-3, 20), (1e-3, 100))  # lr and steps of Eq. 2
MOVED = 1280  # pictures
MEASURED = 1000  # captions whose cosines are measured
TABLE = replace(SCENES, pictures=4000, steps=600, evaluations=5, half=False, precision="bf16")

PUBLISHED = ("baseline", "fo", "fp", "af", "fo_af", "fp_fo", "fp_af", "full", "clipre", "capdec", "close", "decap")
FAIR: dict[str, Any] = {"leave_out": True, "raw_query": True}  # training as at the test
SYSTEMS: dict[str, dict[str, Any]] = {name: {"system": name} for name in PUBLISHED} | {
    "decap, tau of val": {"system": "decap", "tau": 0.02},
    "capdec, noise of val": {"system": "capdec", "noise": 0.08},
    "close, noise of val": {"system": "close", "noise": 0.08},
    "fp_fo, own left out": {"system": "fp_fo", **FAIR, "tau": 0.04},
    "full, own left out": {"system": "full", **FAIR, "tau": 0.04},
    "full, query as at the test": {"system": "full", "raw_query": True},
}
COMPARED = (
    "decap, tau of val",
    "full, own left out",
    "full",
    "fp_fo, own left out",
    "capdec, noise of val",
    "baseline",
)
ONCE = ("clipre", "capdec", "close", "close, noise of val", "decap", "full, query as at the test")  # with one seed
OF_VAL: dict[str, dict[str, Any]] = {
    **{f"decap, tau {tau:g}": {"system": "decap", "tau": tau} for tau in (0.01, 0.02, 0.04)},
    **{f"fp_fo, tau {tau:g}": {"system": "fp_fo", **FAIR, "tau": tau} for tau in (0.01, 0.02, 0.04)},
    **{
        f"fp_fo, Eq. 2 {lr:g} x {steps}, tau {tau:g}": {
            "system": "fp_fo", **FAIR, "fo_lr": lr, "fo_steps": steps, "fo_tau": tau,
        }
        for lr, steps, tau in ((1e-4, 100, 0.01), (1e-3, 20, 0.01), (1e-3, 20, 0.05))
    },
    **{f"capdec, noise {noise:g}": {"system": "capdec", "noise": noise} for noise in (0.03, 0.05, 0.08, 0.12)},
    **{f"close, noise {noise:g}": {"system": "close", "noise": noise} for noise in (0.03, 0.05, 0.08, 0.12)},
}  # fmt: skip
CURVES = ("baseline", "capdec, noise of val", "decap, tau of val", "full", "full, own left out")
COSINES = ("decap, tau of val", "fp", "fp_fo", "fp_fo, own left out")
WITH_TARGET_TEXT = ("clipre", "decap, tau of val", "full", "full, own left out")  # the rows -TT


@dataclass(frozen=True)
class Case:
    """A row: a captioner by its settings, and what it is scored on.

    changes: settings that differ from the table's. share: per cent of the captions. web: train on captions with web
    noise. split: of the scenes, whose pictures are captioned. other_domain: they are of domain "b". other_support: with
    the captions of domain "b" as the support set.
    """

    experiment: str
    name: str
    changes: dict[str, Any]
    share: int = 100
    web: bool = False
    split: str = "test"
    other_domain: bool = False
    other_support: bool = False

    @property
    def folder(self) -> str:
        """Of the captioner, without its seed."""
        named = [str(value) if key == "system" else f"{key}={value:g}" for key, value in sorted(self.changes.items())]
        return "-".join(named + ["web"] * self.web + [f"{self.share}%"] * (self.share < 100))


def cases() -> Iterator[tuple[Case, Sequence[int]]]:
    """All rows that caption pictures, without their seeds, and their seeds."""
    for name, changes in SYSTEMS.items():
        yield Case("main", name, changes), _seeds(name)
    for name, changes in OF_VAL.items():
        yield Case("val", name, changes, split="val"), SEEDS[:1]
    for name, changes in SYSTEMS.items():
        seeds = SEEDS if name in COMPARED else SEEDS[:1]
        yield Case("cross_domain", name, changes, other_domain=True), seeds
        if name in WITH_TARGET_TEXT:
            yield Case("cross_domain", f"{name}-TT", changes, other_domain=True, other_support=True), seeds
    for name in ("clipre", "baseline", "capdec", "decap", "full"):
        yield Case("web_text", name, SYSTEMS[name], web=True), SEEDS[:1]
    for name in ("decap", "full"):
        for share in SHARES:
            yield Case("text_share", f"{name} {share} %", SYSTEMS[name], share=share), SEEDS[:1]
    yield Case("text_share", "capdec 100 %", SYSTEMS["capdec"]), SEEDS


def _seeds(name: str) -> Sequence[int]:
    return SEEDS[:1] if name in ONCE else PAIRED_SEEDS if name in COMPARED else SEEDS


def syntic_scenes_table(base: SynticSettings = TABLE) -> list[Row]:
    """The paper's ablations and what they are compared with, then the other experiments. base: the shared settings."""
    rows = [(case, seed) for case, seeds in cases() for seed in seeds]
    rows.sort(key=lambda row: row[1])  # a whole table of one seed comes first
    return (
        [Row(case.experiment, case.name, seed, partial(_row, case, replace(base, seed=seed))) for case, seed in rows]
        + [Row("cosines", name, 0, partial(_cosines, name, base)) for name in COSINES]
        + [Row("curve", name, 0, partial(_curve, name, base)) for name in CURVES]
    )


def syntic_bundled_table() -> list[Row]:
    """The bundled captioner on the same test pictures: captions generated, and retrieved from its support set."""
    return [
        Row("test", name, 0, partial(_bundled, retrieve))
        for name, retrieve in (("bundled", False), ("bundled, retrieved", True))
    ]


def _bundled(retrieve: bool, work: Work) -> dict[str, float]:
    scenes = _scenes(work)
    captioner, test = load_captioner("syntic-scenes"), first(read_pictures(scenes, "test"), TESTED)
    v = picture_features(test.pictures, captioner.encoder, work.shared / "features")
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
    found = (captioner.caption_features(x, retrieve=retrieve, rerank=rerank) for x, _ in in_parts(torch.from_numpy(v)))
    return [one[0] for part in found for one in part]


def _row(case: Case, base: SynticSettings, work: Work) -> dict[str, float]:
    settings = _settings(case, base, work)
    other = _domain_b(work.shared) if case.other_domain else None
    test = first(read_pictures(other or _scenes(work), case.split), TESTED)
    texts = read_corpus(other / KARPATHY).captions if other and case.other_support else None
    return score_system(settings, lambda: read_captions(settings.data), THING_CLASSES, test, texts)


def _settings(case: Case, base: SynticSettings, work: Work) -> SynticSettings:
    """Of a row's training; rows that differ at the test alone have one training."""
    shared, scenes = work.shared, _scenes(work)
    settings = replace(base, **case.changes)
    return replace(
        settings,
        encoder=_encoder(work),
        out=work.table / f"{case.folder}-{settings.seed}",
        data=_web_text(shared, scenes) if case.web else scenes / KARPATHY,
        gap=scenes,
        images=shared / ("data-scenes-web-synthetic" if case.web else "data-scenes-synthetic"),
        cache=shared / "features",
        pictures=max(1, settings.pictures * case.share // 100),
        support=max(1, settings.support * case.share // 100),
    )


def _curve(name: str, base: SynticSettings, work: Work) -> dict[str, float]:
    settings = _settings(Case("curve", name, SYSTEMS[name]), base, work)
    trained_captioner(settings, lambda: read_captions(settings.data), THING_CLASSES)
    return evaluated_ciders(settings.out)


def _cosines(name: str, base: SynticSettings, work: Work) -> dict[str, float]:
    settings = _settings(Case("cosines", name, SYSTEMS[name]), base, work)
    features = prepare_features(settings, read_captions(settings.data), (), with_images=True)
    return prefix_cosines(features, settings, first(read_pictures(_scenes(work), "test"), TESTED))


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
        v = picture_features(test.pictures, encoder, settings.cache)
        return score_picture_captions([one[0] for one in support.retrieve(torch.from_numpy(v))], test, v, encoder)
    captioner = trained_captioner(settings, corpus, names)
    if texts is not None:
        captioner = captioner.with_support(_support(texts, captioner.encoder, settings))
    v = picture_features(test.pictures, captioner.encoder, settings.cache)
    captions = [one.text for one in best_captions(captioner, v)]
    return score_picture_captions(captions, test, v, captioner.encoder)


def trained_captioner(settings: SynticSettings, corpus: Callable[[], Corpus], names: Sequence[str]) -> Captioner:
    """The captioner in settings.out/last, trained if it isn't there; of several rows that need it one trains it."""

    def train(settings: SynticSettings) -> None:
        captions = corpus()
        features = prepare_features(settings, captions, names, with_images=True)
        tokenizer = CaptionTokenizer.learn(captions.captions, size=settings.vocabulary)
        train_decoder(features, settings, tokenizer, read_captioned(settings, features.encoder))

    return load_captioner(train_once(settings, train))


def evaluated_ciders(out: Path) -> dict[str, float]:
    """CIDEr-D at the evaluations of a training, by step."""
    found = ((row["step"], row.get("evaluate/cider")) for row in read_history(out))
    return {f"cider_{step}": float(cider) for step, cider in found if cider is not None}


def prefix_cosines(
    features: CaptionFeatures, settings: SynticSettings, test: PictureSet, tau: float | None = None
) -> dict[str, float]:
    """Mean cosines of what a decoder reads with the caption's own feature, in training and of the pictures of a test.

    features: with images. tau: of the projection at the test, None for that of training.
    """
    count = min(MEASURED, len(features.group))
    text = torch.from_numpy(np.asarray(features.text[:count], np.float32))
    read, config = text, model_config(settings)
    if config.source == "image":  # a system of text alone reads the caption's own feature
        assert features.image is not None  # as said above
        image, all_text = np.array(features.image), np.array(features.text[: len(features.image)])
        read = torch.from_numpy(image).float()
        if config.fo:
            read = optimised_features(image, all_text, features.group, settings)
        read = read[:count]
        if config.fp:
            own = own_captions(features, settings)
            training = SupportSet(features.text[: settings.support], tau=settings.tau)
            read = training.project(read, without=own and (own[0][:count], own[1]))
    v = torch.from_numpy(picture_features(test.pictures, features.encoder, settings.cache))
    support = SupportSet(features.text[: settings.support], tau=tau or settings.tau)
    seen = support.project(v) if config.fp else v
    captions = [features.encoder.embed_texts(list(one.captions)) for one in test.pictures]
    tested = [(t @ p).mean() for t, p in zip(captions, seen, strict=True)]
    return {"training": float((read * text).sum(1).mean()), "test": float(np.mean(tested))}


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
