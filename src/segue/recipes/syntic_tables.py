"""The table of captioners that learn from text alone: what `segue ablate syntic_scenes --data DIR` runs.

DIR holds scenes/ (drawn there if it isn't) and, unless the pair is bundled, pair-scenes/. All rows share the synthetic
pictures and the features; they are trained on the text of `train` and tested on the `photo` pictures of `test`. Scores
are those of `segue score captions`: CIDEr 1.01 is the paper's 101.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from segue.api.captioner import load_captioner
from segue.data.formats import read_pictures
from segue.data.sketchbook.scenes.world import THINGS
from segue.data.store import Item
from segue.data.words import Words
from segue.encoders.pairs import Pair
from segue.methods.checkpoint import bundled
from segue.methods.syntic import SYSTEMS, Support
from segue.metrics.captions import clip_score, score_captions
from segue.recipes.syntic import SYNTIC_SCENES, SynticSettings, System, captions_of, features_of, prepare, train_on
from segue.recipes.tables import Row
from segue.types import InputError, PictureSet

SEEDS = (0, 1, 2)
PAIR = "pair-scenes"
METRICS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "spice": "SPICE"}


def syntic_scenes_table(data: Path | None, base: SynticSettings = SYNTIC_SCENES) -> list[Row]:
    """The paper's eight ablation rows and its peers. `base`: the settings that they share."""
    data = Path("runs/data") if data is None else data
    scenes, pair = data / "scenes", data / PAIR
    if not scenes.is_dir():
        raise InputError(f"{scenes}: no such folder; draw it first: segue data make scenes --out {scenes}")
    if PAIR not in bundled() and not pair.is_dir():
        raise InputError(
            f"{pair}: no such folder; train it first: segue train align-scenes --data {scenes}, and put it there"
        )
    shared = replace(base, corpus=scenes, pair=str(pair) if pair.is_dir() else PAIR)
    return [
        Row("main", system, seed, partial(_row, replace(shared, system=cast(System, system), seed=seed)))
        for seed in SEEDS
        for system in SYSTEMS
    ]


def _row(settings: SynticSettings, work: Path) -> dict[str, float]:
    shared = work.parents[1]
    settings = replace(settings, out=work, cache=shared / "features", images=shared / "data-scenes-synthetic")
    test = read_pictures(settings.corpus, "test")
    if settings.system == "clipre":
        return _retrieved(settings, test)
    if not (work / "last" / "config.json").exists():
        corpus = captions_of(settings.corpus)
        material = prepare(settings, corpus, THINGS, with_images=True)
        words = Words.learn(corpus.captions, size=settings.vocabulary)
        train_on(material, replace(settings, resume=(work / "state").exists()), words)
    captioner = load_captioner(work / "last")
    v = picture_features(test, captioner.pair, settings.cache)
    parts = [captioner.caption_features(v[i : i + 128]) for i in range(0, len(v), 128)]
    return scored([one[0].text for part in parts for one in part], test, v, captioner.pair)


def _retrieved(settings: SynticSettings, test: PictureSet) -> dict[str, float]:
    """CLIPRe has nothing to train: the nearest caption of the support set, which is that of all systems."""
    material = prepare(settings, captions_of(settings.corpus), THINGS, with_images=False)
    support = Support(material.text[: settings.support], material.captions[: settings.support])
    v = picture_features(test, material.pair, settings.cache)
    return scored([one[0] for one in support.retrieve(torch.from_numpy(v))], test, v, material.pair)


def picture_features(pictures: PictureSet, pair: Pair, cache: Path) -> NDArray[np.float32]:
    """The features (N, D) of a set's pictures, computed once."""
    items = [Item(p.name, hashlib.sha256(p.load().tobytes()).hexdigest(), p.load) for p in pictures.pictures]
    return features_of(cache, "images", items, pair).astype(np.float32)


def scored(said: Sequence[str], pictures: PictureSet, v: NDArray[np.float32], pair: Pair) -> dict[str, float]:
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
    texts = pair.embed_texts([text or "nothing" for text in said]).numpy()  # a caption without words can't be read
    return found | {"clipscore": float(clip_score(v, texts).mean())}
