"""The table of captioners on photographs: what `segue ablate syntic_real --data DIR` runs.

DIR/captions/*.txt.gz   the only captions that a captioner learns from, one a line
DIR/flickr8k/           a split `val`: its pictures are tested on
DIR/coco_tiny/          pictures and captions in COCO's layout: all are tested on
DIR/pair/               the image-text pair; if it isn't there, that of `segue ablate align_flickr8k` run with the same
                        --work: align_flickr8k/val-full-0/best in it

There is no text-to-image model here. In `full` the sketchbook stands in for it: it draws what it knows of a caption
(people, animals, vehicles, places) and leaves the rest out; captions of which it knows nothing are not trained on. In
`full-text` nothing is drawn: each caption's own feature stands for that of its picture. A captioner is trained once and
tested on both sets, beside which the rows share pictures and features.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from segue.data.corpus import Corpus, read_corpus
from segue.data.formats import read_pictures, recognise
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_data
from segue.lab.tables.syntic_scenes import SEEDS, score_system
from segue.recipes.syntic import SYNTIC, SynticSettings, System, nouns
from segue.types import InputError

TESTS = {"flickr8k": "val", "coco_tiny": None}  # the split; None: its only one
PAIR = Path("align_flickr8k") / "val-full-0" / "best"
NOUNS_OF = 20_000  # captions in which the objects' names are looked for
TABLE = replace(SYNTIC, size="small", pictures=6000, support=10_000, vocabulary=4000, steps=800, lr=1e-3)
SYSTEMS: dict[str, tuple[System, str]] = {  # and the painter
    "clipre": ("clipre", "text"),
    "capdec": ("capdec", "text"),
    "decap": ("decap", "text"),
    "full": ("full", "sketchbook"),
    "full-text": ("full", "text"),
}


def syntic_real_table(base: SynticSettings = TABLE) -> list[Row]:
    """CLIPRe, CapDec, DeCap and ours on two sets of photographs. `base`: the settings that the rows share."""
    return [
        Row(test, name, seed, partial(_row, test, name, replace(base, system=system, painter=painter, seed=seed)))
        for seed in SEEDS
        for name, (system, painter) in SYSTEMS.items()
        for test in TESTS
        if system != "clipre" or seed == SEEDS[0]
    ]


def _row(test: str, name: str, settings: SynticSettings, work: Work) -> dict[str, float]:
    data = given_data(work, f"a folder with captions/, {'/, '.join(TESTS)}/", "captions", *TESTS)
    settings = replace(
        settings,
        out=work.table / f"{name}-{settings.seed}",
        pair=str(_pair(data, work.shared)),
        images=work.shared / "data-captions-synthetic",
        cache=work.shared / "features",
    )
    corpus = captions_in(data / "captions")
    split = TESTS[test] or recognise(data / test)[1][0]
    names = nouns(corpus.captions[:: max(1, len(corpus) // NOUNS_OF)])
    return score_system(settings, lambda: corpus, names, read_pictures(data / test, split))


def _pair(data: Path, shared: Path) -> Path:
    places = (data / "pair", shared / PAIR)
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        f"no image-text pair in {places[0]} or {places[1]}; train it by segue ablate align_flickr8k --data "
        f"{data / 'flickr8k'} --work {shared}"
    )


def captions_in(folder: Path) -> Corpus:
    """The captions of all .txt.gz files of a folder, file after file."""
    files = sorted(folder.glob("*.txt.gz"))
    if not files:
        raise InputError(f"{folder}: no .txt.gz in it; expected files with a caption a line")
    captions = [caption for file in files for caption in read_corpus(file).captions]
    return Corpus(captions, np.arange(len(captions)))
