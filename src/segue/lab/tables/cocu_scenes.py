"""The tables of language-supervised segmentation on drawn scenes: `segue ablate cocu_scenes` and those below.

The scenes are seen from near (`--view close`): at 64 pixels a thing of the wide ones is a patch or two, and a model of
this size learns the ground that it stands on instead. The pair that curates has learned from other scenes
(`train_pair_once`).

cocu_scenes    GroupViT, CoCu and CoCu without one of its parts, 3 seeds, on test, all with `naming_loss`; in the
               experiment picture two of them with the paper's loss of prompts. miou: over all 32 classes, whose names
               compete in every picture; miou_named and miou_seldom: over those that a train caption names in
               half of the pictures which show them or more, and over the others; given, given_named, given_seldom: the
               same when of each picture only the names are asked for that it shows; miou_at_25 ... miou_at_100: on 200
               pictures of val after each quarter of the training.
cocu_scenes_full  the bundled models, of the full recipe, by the first metrics of these.
cocu_recovery  precision and recall of the archive against what the train captions leave out, after each stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from segue.api import load_labeller
from segue.api.curation import read_corpus
from segue.api.labeller import find_protocol
from segue.data.formats import read_pictures
from segue.evaluation.concept_recovery import recovery_by_stage
from segue.evaluation.labels import score_maps, with_truth
from segue.lab.engine import Row, Work
from segue.recipes.cocu import (
    SCENES,
    CocuSettings,
    System,
    cocu,
    curated_archive,
    draw_scenes_once,
    train_pair_once,
)
from segue.synthetic.scenes.language.omissions import naming_rates, read_omissions
from segue.training.logger import read_history
from segue.training.state import has_state
from segue.types import InputError
from segue.weights import bundled

SEEDS = (0, 1, 2)
BUNDLED = ("cocu-scenes", "groupvit-scenes")
STAGES = ("expansion", "ranking", "sampling")
WHOLE: tuple[System, ...] = ("groupvit", "full")  # trained by the paper's loss of prompts too
OFTEN = 0.5  # share of the captions of pictures with a class that name it


def cocu_scenes_table() -> list[Row]:
    """Every system with every seed. --data: scenes of `segue data make scenes`; drawn once unless given."""
    tested: list[tuple[str, CocuSettings, Sequence[System]]] = [
        ("test", SCENES, get_args(System)),
        ("picture", replace(SCENES, naming="picture"), WHOLE),
    ]
    return [
        Row(experiment, name, seed, partial(_row, replace(settings, system=name, seed=seed)))
        for experiment, settings, systems in tested
        for name in systems
        for seed in SEEDS
    ]


def cocu_bundled_table() -> list[Row]:
    """The bundled models."""
    return [Row("test", f"bundled, {name}", 0, partial(_bundled, SCENES, name)) for name in BUNDLED]


def cocu_recovery_table() -> list[Row]:
    """A row for each stage of the curation."""
    return [Row("train", stage, 0, partial(_recovery_row, SCENES, stage)) for stage in STAGES]


def _bundled(settings: CocuSettings, name: str, work: Work) -> dict[str, float]:
    return score_scenes(bundled()[name], replace(settings, data=_given_or_drawn(work)))


def _given_or_drawn(work: Work) -> Path:
    return work.data if work.data is not None else draw_scenes_once(work.shared / "data-scenes-close")


def _placed(settings: CocuSettings, work: Work) -> CocuSettings:
    """The settings with the row's folders; scenes, pair and archives are shared by all rows."""
    pair = settings.pair if settings.system == "groupvit" else train_pair_once(work.shared / "pair-scenes-close")
    curated = work.shared / "curated-scenes-close"
    return replace(settings, out=work.row, data=_given_or_drawn(work), pair=pair, curated=curated)


def _row(settings: CocuSettings, work: Work) -> dict[str, float]:
    settings = _placed(settings, work)
    if not (work.row / "last" / "config.json").exists():
        cocu(replace(settings, resume=has_state(work.row / "state")))
    return score_scenes(work.row / "best", settings) | learning_curve(work.row, settings.evaluations)


def learning_curve(run: Path, evaluations: int) -> dict[str, float]:
    """mIoU on val by share of the training in percent, from the run's history."""
    told = [row["evaluate/miou"] for row in read_history(run) if "evaluate/miou" in row]
    return {f"miou_at_{100 * (i + 1) // evaluations}": value for i, value in enumerate(told[:evaluations])}


def score_scenes(checkpoint: Path, settings: CocuSettings, split: str = "test") -> dict[str, float]:
    """mIoU over all classes, over those that captions often name and over the others, and pixel accuracy; then with
    the names given that a picture shows.
    """
    card = find_protocol(settings.protocol)
    pictures, classes, truth = with_truth(read_pictures(settings.data, split), card)
    often = named_often(settings.data, settings.captions)
    labeller, named = load_labeller(checkpoint), np.array([name in often for name in classes])
    groups = {"": np.ones_like(named), "_named": named, "_seldom": ~named}
    told: dict[str, float] = {}
    for metric, given in (("miou", False), ("given", True)):
        ious, accuracy = score_maps(labeller, pictures, classes, truth, card, given=given)
        if empty := [group for group, chosen in groups.items() if np.isnan(ious[chosen]).all()]:
            raise InputError(f"{settings.data}: miou{empty[0]} has no class in {split}; draw more scenes")
        told |= {f"{metric}{group}": float(np.nanmean(ious[chosen])) for group, chosen in groups.items()}
        told |= {f"{'given_' * given}pixel_accuracy": accuracy}
    return told


def named_often(data: Path, captions: int) -> set[str]:
    """The classes that the train captions in use often name. captions: how many of each picture's, 0 for all."""
    used = (one for row in read_omissions(data, "train").values() for one in row[: captions or None])
    return {kind for kind, rate in naming_rates(used).items() if rate >= OFTEN}


def _recovery_row(settings: CocuSettings, stage: str, work: Work) -> dict[str, float]:
    settings = _placed(settings, work)
    corpus = read_corpus(settings.data, "train", captions=settings.captions)
    archive = curated_archive(settings, corpus)
    assert archive is not None  # of the system "full"
    told = recovery_by_stage(archive, corpus, settings.data, "train")[stage]
    return shares(told)


def shares(told: Mapping[str, float | None]) -> dict[str, float]:
    """Precision and recall of `concept_recovery`, without the counts behind them; what is not defined is left out."""
    return {name: value for name in ("precision", "recall") if (value := told[name]) is not None}
