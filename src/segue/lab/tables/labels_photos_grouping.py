"""Groups on the cells of the photographs' dual encoder: `segue lab run labels_photos_grouping --data DIR`.

DIR/flickr8k/  captioned photographs, split `train`, one caption of each, as pictures of the web have one
DIR/msrc/, DIR/camvid/  photographs with label maps, scored as in `labels_photos`

A GroupViT stands on the frozen cells of the bundled dual encoder (`segue train cocu-photos`) and learns from the
caption's own nouns, or from the concepts of CoCu's archive, by the paper's ranking or by probability. dense cells: the
same cells with no group; it is the network before its first step. A seed has the same weights and order of pictures in
all systems, and no label map was used.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.labels_photos import ALIKE, ENCODER, TESTS, scores_on
from segue.lab.trained import train_once
from segue.recipes.cocu import PHOTOS, CocuSettings, train_cocu
from segue.recipes.labels import load_headless

SETS = ("flickr8k", *TESTS)
DATA = RequiredData(f"a folder with {'/, '.join(SETS)}/", SETS)
SEEDS = (0, 1, 2)
SYSTEMS: dict[str, CocuSettings] = {
    "groups, caption's nouns": replace(PHOTOS, system="groupvit"),
    "groups, CoCu": PHOTOS,
    "groups, CoCu by probability": replace(PHOTOS, probability=True),
}


def labels_photos_grouping_table() -> list[Row]:
    """The cells alone, and every system with every seed, on every set."""
    rows = [Row(test, "dense cells", 0, partial(_dense_row, test), DATA) for test in TESTS]
    return rows + [
        Row(test, name, seed, partial(_grouping_row, test, replace(settings, seed=seed)), DATA)
        for seed in SEEDS
        for name, settings in SYSTEMS.items()
        for test in TESTS
    ]


def _dense_row(test: str, work: Work) -> dict[str, float]:
    return scores_on(test, DualEncoderSegmenter(load_headless(ENCODER), ALIKE), work)


def _grouping_row(test: str, settings: CocuSettings, work: Work) -> dict[str, float]:
    """The scores on one set after a training that both sets share."""
    data = DATA.folder(work.data)
    way = "probability" if settings.probability else settings.system
    segmenter = load_label_segmenter(_trained(replace(settings, data=data / "flickr8k"), work, way))
    assert isinstance(segmenter, DualEncoderSegmenter)  # for mypy: it stands on one
    assert isinstance(segmenter.encoder, VisionTextDualEncoder)
    segmenter.protocol = ALIKE
    segmenter.encoder.set_noun_shifts()
    return scores_on(test, segmenter, work)


def _trained(settings: CocuSettings, work: Work, way: str) -> Path:
    run = work.table / f"training-{way}-{settings.seed}"
    return train_once(replace(settings, out=run, curated=work.shared / "curated-photos"), train_cocu)
