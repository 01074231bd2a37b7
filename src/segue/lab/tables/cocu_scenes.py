"""The tables of language-supervised segmentation on synthetic scenes: `segue lab run cocu_scenes` and those below.

The scenes are seen from near (`--view close`): at 64 pixels an object of the wide ones is a patch or two, and a model
of this size learns the background that it stands on instead. The dual encoder that curates is trained on other scenes
(`train_encoder_once`).

cocu_scenes    GroupViT, CoCu and CoCu without one of its parts, 8 seeds of 400 steps, on test, all with
               `group_concept_loss`; in the experiment picture_loss two of them with the paper's loss of prompts, 3
               seeds. The rows of a seed begin with the same weights and see the same pictures in the same order. By
               probability: concepts that the caption does not name, with weights (`CocuSettings.probability`). miou:
               over all 32 classes, whose names compete in every picture; miou_often_named and miou_seldom_named: over
               the classes that train captions name in half of the pictures which show them or more, and over the
               others; oracle_miou and so on: the same when the labels of each picture are only the classes that it
               shows; miou_at_25 ... miou_at_100: on 200 pictures of val after each quarter of the training.
cocu_scenes_full  the bundled models, of the full recipe, by the first metrics of these.
cocu_recovery  precision and recall of the archive against what the train captions leave out, after each stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segue.api.open_vocabulary import load_open_vocabulary
from segue.data.formats import read_pictures
from segue.evaluation.concept_recovery import recovery_by_stage
from segue.evaluation.labels import score_pictures, with_truth
from segue.lab.engine import Row, Work
from segue.lab.trained import train_once
from segue.options import LabelOptions
from segue.recipes.cocu import (
    SCENES,
    CocuSettings,
    create_close_scenes_once,
    prepare_training,
    train_cocu,
    train_encoder_once,
)
from segue.synthetic.scenes.language.omissions import naming_rates, read_omissions
from segue.training.logger import read_history
from segue.types import InputError
from segue.weights import bundled

SEEDS = tuple(range(8))
SHORT = replace(SCENES, steps=400)
SYSTEMS: dict[str, dict[str, Any]] = {  # name of a row -> its settings
    "groupvit": {"system": "groupvit"},
    "full": {},
    "full, by probability": {"probability": True},
    "top3": {"system": "top3"},
    "top3, by probability": {"system": "top3", "probability": True},
    "no_clustering": {"system": "no_clustering"},
    "no_ranking": {"system": "no_ranking"},
    "no_expansion": {"system": "no_expansion"},
}
BUNDLED = ("cocu-scenes", "groupvit-scenes")
STAGES = ("expansion", "ranking", "sampling")
PICTURE_LOSS_SYSTEMS = ("groupvit", "full")  # trained by the paper's loss of prompts too
OFTEN_NAMED_RATE = 0.5  # share of the captions of pictures with a class that name it


def cocu_scenes_table() -> list[Row]:
    """Every system with every seed, a seed's rows together. --data: scenes of `segue data make scenes`, else drawn."""
    experiments: list[tuple[str, CocuSettings, Iterable[str], int]] = [
        ("test", SHORT, SYSTEMS, len(SEEDS)),
        ("picture_loss", replace(SHORT, prompt_loss="picture"), PICTURE_LOSS_SYSTEMS, 3),
    ]
    return [
        Row(experiment, name, seed, partial(_row, replace(settings, seed=seed, **SYSTEMS[name])))
        for seed in SEEDS
        for experiment, settings, systems, seeds in experiments
        if seed < seeds
        for name in systems
    ]


def cocu_bundled_table() -> list[Row]:
    """The bundled models."""
    return [Row("test", f"bundled, {name}", 0, partial(_bundled_row, SCENES, name)) for name in BUNDLED]


def cocu_recovery_table() -> list[Row]:
    """A row for each stage of the curation."""
    return [Row("train", stage, 0, partial(_recovery_row, SCENES, stage)) for stage in STAGES]


def _bundled_row(settings: CocuSettings, name: str, work: Work) -> dict[str, float]:
    return score_scenes(bundled()[name], replace(settings, data=_given_or_drawn(work)))


def _given_or_drawn(work: Work) -> Path:
    return work.data if work.data is not None else create_close_scenes_once(work.shared / "data-scenes-close")


def _with_folders(settings: CocuSettings, work: Work) -> CocuSettings:
    """The settings with the row's folders; scenes, dual encoder and archives are shared by all rows."""
    encoder, curated = settings.encoder, work.shared / "curated-scenes-close"
    if settings.system != "groupvit":
        encoder = train_encoder_once(work.shared / "scenes-encoder-close")
    return replace(settings, out=work.row, data=_given_or_drawn(work), encoder=encoder, curated=curated)


def _row(settings: CocuSettings, work: Work) -> dict[str, float]:
    settings = _with_folders(settings, work)
    train_once(settings, train_cocu)
    return score_scenes(work.row / "best", settings) | learning_curve(work.row, settings.evaluations)


def learning_curve(run: Path, evaluations: int) -> dict[str, float]:
    """mIoU on val after each evaluation, from the run's history, named by the share of the training in percent."""
    values = [row["evaluate/miou"] for row in read_history(run) if "evaluate/miou" in row]
    return {f"miou_at_{100 * (i + 1) // evaluations}": value for i, value in enumerate(values[:evaluations])}


def score_scenes(checkpoint: Path, settings: CocuSettings) -> dict[str, float]:
    """mIoU over all classes, over those that captions often name and over the others, and pixel accuracy.

    Then the same as oracle_*, with only the classes that a picture shows as its labels.
    Raises InputError when a group of classes does not occur in the test split.
    """
    segmenter, options = load_open_vocabulary(checkpoint), LabelOptions(protocol=settings.protocol)
    found = read_pictures(settings.data, "test")
    pictures, classes, read_truth = with_truth(found, segmenter.chosen_protocol(options))
    often = often_named_classes(settings.data, settings.captions)
    named = np.array([name in often for name in classes])
    groups = {"": np.ones_like(named), "_often_named": named, "_seldom_named": ~named}
    scores: dict[str, float] = {}
    for prefix, oracle in (("", False), ("oracle_", True)):
        ious, accuracy = score_pictures(segmenter, pictures, classes, read_truth, options=options, oracle=oracle)
        if empty := [group for group, chosen in groups.items() if np.isnan(ious[chosen]).all()]:
            raise InputError(f"{settings.data}: miou{empty[0]} has no class in test; draw more scenes")
        scores |= {f"{prefix}miou{group}": float(np.nanmean(ious[chosen])) for group, chosen in groups.items()}
        scores |= {f"{prefix}pixel_accuracy": accuracy}
    return scores


def often_named_classes(data: Path, captions: int) -> set[str]:
    """The classes that the train captions in use often name. captions: how many of each picture's, 0 for all."""
    used = (one for row in read_omissions(data, "train").values() for one in row[: captions or None])
    return {kind for kind, rate in naming_rates(used).items() if rate >= OFTEN_NAMED_RATE}


def _recovery_row(settings: CocuSettings, stage: str, work: Work) -> dict[str, float]:
    settings = _with_folders(settings, work)
    corpus, archive = prepare_training(settings)
    assert archive is not None  # of the system "full"
    return precision_and_recall(recovery_by_stage(archive, corpus, settings.data, "train")[stage])


def precision_and_recall(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Those of `concept_recovery`, without the counts; what is not defined is left out."""
    return {name: value for name in ("precision", "recall") if (value := scores[name]) is not None}
