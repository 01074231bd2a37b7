"""The table of image-text pairs: what `segue ablate align_flickr8k --data DIR` runs.

The towers are EfficientNet-Lite0 and MiniLM, both frozen; a row trains the heads between them and is scored on val
with its last weights. The rows share the towers' features, which the first one computes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.encoders.dual_encoder import VisionTextDualEncoder
from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_data
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, restore_dual_encoder
from segue.recipes.align import ALIGN, AlignSettings, Captioned, Towers, align, recalls
from segue.recipes.datasets import create_scenes_once
from segue.training.state import has_state

SEEDS = (0, 1, 2)
HEADS = replace(ALIGN, image="efficientnet-lite0", text="minilm", evaluations=1)
SYSTEMS: dict[str, AlignSettings] = {
    "full": HEADS,
    "linear heads": replace(HEADS, hidden=0),
    "with hard negatives": replace(HEADS, hard=1.0),
}


def flickr8k_table() -> list[Row]:
    """Heads on frozen towers, and one switch moved at a time, on captioned pictures with train and val."""
    return [
        Row("val", system, seed, partial(_row, replace(settings, seed=seed)))
        for system, settings in SYSTEMS.items()
        for seed in SEEDS
    ]


def _row(settings: AlignSettings, work: Work) -> dict[str, float]:
    data = given_data(work, "a folder of captioned pictures, such as Flickr8k's")
    settings = replace(settings, data=data, out=work.row, cache=work.shared / "features")
    if not (work.row / "last" / "config.json").exists():
        align(replace(settings, resume=has_state(work.row / "state")))
    return score(work.row / "last", settings)


def score(folder: Path, settings: AlignSettings) -> dict[str, float]:
    """Recalls of a checkpoint on the val split of its data."""
    from segue.data.formats import read_pictures

    pair, _ = restore_dual_encoder(folder)
    held_out = Captioned.of(read_pictures(settings.data, "val"), settings.on_bad, "val")
    towers = Towers(pair, settings.cache)
    return recalls(pair, held_out, towers.images(held_out), towers.texts(held_out))


def align_scenes_table() -> list[Row]:
    """The bundled pair on the scenes' test split, which its training has never seen: 1,000 pictures, 5,000 captions."""
    return [Row("test", "pair-scenes", 0, _bundled)]


def _bundled(work: Work) -> dict[str, float]:
    from segue.data.formats import read_pictures

    pictures = read_pictures(create_scenes_once(work.shared / "data-scenes"), "test")
    pair = load_dual_encoder("pair-scenes")
    assert isinstance(pair, VisionTextDualEncoder)  # for mypy: the bundled one is
    return recalls(pair, Captioned.of(pictures, "stop", "test"), None, None)
