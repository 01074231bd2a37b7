"""The table of captioners on photographs: `segue lab run syntic_real --data DIR`.

DIR/captions/*.txt.gz   the only captions that a captioner is trained on, one a line
DIR/flickr8k/           a data set with a split `val`, whose pictures are the test set
DIR/coco_tiny/          pictures and captions in COCO's layout: all are the test set
DIR/encoder/            the dual encoder; if it isn't there, that of `segue lab run dual_encoder_flickr8k` with the same
                        --work: dual_encoder_flickr8k/val-full-0/best in it

No text-to-image model is used. In `full` synthetic scenes take its place: they show the objects of a caption that they
have (people, animals, vehicles, places) and leave the rest out; captions without any are not trained on. In `full-text`
nothing is drawn: each caption's own feature takes the place of its image's. A captioner is trained once and tested on
both sets; the rows share images and features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from segue.api.captioner import Caption, load_captioner
from segue.data.corpus import Corpus, read_corpus
from segue.data.embedding_store import text_items
from segue.data.formats import detect_format, read_pictures
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.syntic_scenes import (
    SEEDS,
    best_captions,
    picture_features,
    score_picture_captions,
    score_system,
)
from segue.methods.syntic import SupportSet
from segue.metrics.acceptance import judge_captions
from segue.metrics.calibration import expected_calibration_error
from segue.recipes.syntic import SYNTIC, SynticSettings, System, cached_features, common_nouns
from segue.types import InputError, PictureSet

TESTS = {"flickr8k": "val", "coco_tiny": None}  # the split; None: its only one
DATA = RequiredData(f"a folder with captions/, {'/, '.join(TESTS)}/", ("captions", *TESTS))
ENCODER = Path("dual_encoder_flickr8k") / "val-full-0" / "best"
SOME_CAPTIONS = 20_000  # of all: their nouns become the names of objects; the nearest of them are a baseline
TABLE = replace(SYNTIC, size="small", pictures=6000, support=10_000, vocabulary=4000, steps=800, lr=1e-3)
SYSTEMS: dict[str, tuple[System, str]] = {  # and the text-to-image backend
    "clipre": ("clipre", "text"),
    "capdec": ("capdec", "text"),
    "decap": ("decap", "text"),
    "full": ("full", "synthetic"),
    "full-text": ("full", "text"),
}


def syntic_real_table(base: SynticSettings = TABLE) -> list[Row]:
    """CLIPRe, CapDec, DeCap and SynTIC on two sets of photographs. `base`: the settings that the rows share."""
    return [
        Row(
            test,
            name,
            seed,
            partial(_row, test, name, replace(base, system=system, text_to_image=backend, seed=seed)),
            DATA,
        )
        for seed in SEEDS
        for name, (system, backend) in SYSTEMS.items()
        for test in TESTS
        if system != "clipre" or seed == SEEDS[0]
    ]


CONSTANT = "a man in a red shirt is standing on the grass"
CAPTIONER, NEAREST = "captions-photos", "nearest of 20,000 captions"


def captions_photos_table() -> list[Row]:
    """The bundled captioner of photographs, beside one sentence for all and the nearest of 20,000 captions."""
    systems = ("one sentence", NEAREST, CAPTIONER, f"{CAPTIONER}, nearest of its own")
    return [Row(test, name, 0, partial(_photos_row, test, name), DATA) for test in TESTS for name in systems]


def _photos_row(test: str, name: str, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    pictures = read_pictures(data / test, TESTS[test] or detect_format(data / test)[1][0])
    captioner = load_captioner(CAPTIONER)
    v = picture_features(pictures, captioner.encoder, work.shared / "features")
    calibration = dict[str, float]()
    if name == "one sentence":
        predictions = [CONSTANT] * len(v)
    elif name == NEAREST:
        captions = captions_in(data / "captions").captions
        captions = captions[:: -(-len(captions) // SOME_CAPTIONS)]
        items = text_items((f"{i}", caption) for i, caption in enumerate(captions))
        rows = cached_features(work.shared / "features", "texts", items, captioner.encoder)
        predictions = [one[0] for one in SupportSet(rows, captions).retrieve(torch.from_numpy(v))]
    else:
        found = best_captions(captioner, v, retrieve=name != CAPTIONER)
        predictions = [one.text for one in found]
        calibration = _calibration(found, pictures)
    return score_picture_captions(predictions, pictures, v, captioner.encoder) | calibration


def _calibration(captions: Sequence[Caption], pictures: PictureSet) -> dict[str, float]:
    """Of captions with scores: the share that people accept, and how far their scores are from such shares (ECE)."""
    scores = [one.score for one in captions if one.score is not None]
    if len(scores) < len(captions):
        return {}
    accepted = judge_captions([one.text for one in captions], [one.captions for one in pictures.pictures])
    return {"accepted": float(accepted.mean()), "score_ece": expected_calibration_error(np.array(scores), accepted)}


def _row(test: str, name: str, settings: SynticSettings, work: Work) -> dict[str, float]:
    data = DATA.folder(work.data)
    settings = replace(
        settings,
        out=work.table / f"{name}-{settings.seed}",
        encoder=str(_encoder(data, work.shared)),
        images=work.shared / "data-captions-synthetic",
        cache=work.shared / "features",
    )
    corpus = captions_in(data / "captions")
    split = TESTS[test] or detect_format(data / test)[1][0]
    names = common_nouns(corpus.captions[:: max(1, len(corpus) // SOME_CAPTIONS)])
    return score_system(settings, lambda: corpus, names, read_pictures(data / test, split))


def _encoder(data: Path, shared: Path) -> Path:
    places = (data / "encoder", shared / ENCODER)
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        f"no dual encoder in {places[0]} or {places[1]}; train it by segue lab run dual_encoder_flickr8k --data "
        f"{data / 'flickr8k'} --work {shared}"
    )


def captions_in(folder: Path) -> Corpus:
    """The captions of all .txt.gz files of a folder, file after file. Raises InputError when there is none."""
    files = sorted(folder.glob("*.txt.gz"))
    if not files:
        raise InputError(f"{folder}: no .txt.gz in it; expected files with a caption a line")
    captions = [caption for file in files for caption in read_corpus(file).captions]
    return Corpus(captions, np.arange(len(captions)))
