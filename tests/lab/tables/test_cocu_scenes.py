"""The tables of CoCu on synthetic scenes: their rows, and how a checkpoint is scored."""

import json
from dataclasses import replace

import pytest

from groupvit_folder import write_groupvit
from scenes_and_encoder import write_scenes
from segue.data.formats import read_pictures
from segue.lab.run import rows_of
from segue.lab.tables.cocu_scenes import (
    SEEDS,
    learning_curve,
    often_named_classes,
    precision_and_recall,
    score_scenes,
)
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.recipes import RECIPES
from segue.recipes.cocu import SCENES
from segue.synthetic.scenes.scene import CLASSES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "scenes", EvalProtocol(32, 32, 16))


def test_the_tables_name_every_system_and_seed():
    rows = rows_of("cocu_scenes")
    assert len({row.key for row in rows}) == 8 * len(SEEDS) + 2 * 3 == 70
    assert {row.system for row in rows_of("cocu_recovery")} == {"expansion", "ranking", "sampling"}
    assert {"cocu", "cocu-scenes"} <= set(RECIPES)


def test_classes_are_named_often_or_seldom(scenes):
    often = often_named_classes(scenes, 1)
    assert often
    assert often < set(read_pictures(scenes, "train").classes)


def test_a_checkpoint_is_scored_with_all_names_and_with_those_of_each_picture(scenes, tmp_path):
    groupvit = write_groupvit(tmp_path / "m", [*CLASSES, "a photo of a background."])
    scores = score_scenes(groupvit, replace(SCENES, data=scenes, protocol="scenes"))
    names = {"miou", "miou_often_named", "miou_seldom_named", "pixel_accuracy"}
    assert set(scores) == names | {f"oracle_{name}" for name in names}
    assert scores["oracle_pixel_accuracy"] > scores["pixel_accuracy"]
    assert min(scores.values()) >= 0
    assert scores["oracle_miou_often_named"] != scores["oracle_miou_seldom_named"]


def test_the_curve_is_of_the_evaluations(tmp_path):
    rows = [{"step": 1}, {"step": 2, "evaluate/miou": 0.25}, {"step": 3}, {"step": 4, "evaluate/miou": 0.5}]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert learning_curve(tmp_path, 2) == {"miou_at_50": 0.25, "miou_at_100": 0.5}
    assert learning_curve(tmp_path, 4) == {"miou_at_25": 0.25, "miou_at_50": 0.5}


def test_what_is_not_defined_is_left_out():
    counts = {"new": 4, "right": 2, "omitted": 0}
    assert precision_and_recall({"precision": 0.5, "recall": None, **counts}) == {"precision": 0.5}
