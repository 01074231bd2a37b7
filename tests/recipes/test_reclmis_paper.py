"""The paper's experiments: their settings, the splits that they expect, and what they will take."""

import pytest

from segue.recipes import plan, reclmis_paper
from segue.recipes.plan import plan_training
from segue.recipes.reclmis_paper import MOSMED, QATA, check_splits
from segue.synthetic.chest import make_chest
from segue.types import InputError


def test_the_settings_are_the_paper_s():
    assert (QATA.steps, MOSMED.steps) == (35725, 34109)  # 200 epochs of 5,716 and 500 of 2,183 in batches of 32
    for settings in (QATA, MOSMED):
        assert (settings.image_size, settings.batch_size, settings.lr, settings.size) == (224, 32, 3e-4, "faithful")
        assert settings.augmentation == "light"
        assert settings.workers


def test_other_splits_are_refused_and_a_plan_is_made(tmp_path, segue, monkeypatch):
    make_chest(tmp_path / "data", train=6, val=2, test=2, size=48)
    status, _, error = segue("train", "reclmis-qata", "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert status == 2
    assert "got 6, 2, 2 pictures in train, val and test, expected 5,716, 1,429, 2,113" in error
    assert segue("train", "reclmis-qata", "--data", tmp_path / "data", "--dry-run")[2] == error
    monkeypatch.setitem(reclmis_paper.SPLITS, "reclmis-qata", (6, 2, 2))
    check_splits(tmp_path / "data", "reclmis-qata")
    with pytest.raises(InputError, match="expected 2,183, 273, 273"):
        check_splits(tmp_path / "data", "reclmis-mosmed")
    monkeypatch.setattr("segue.recipes.plan.SIZES", (1, 2))
    monkeypatch.setattr("segue.recipes.plan.TRIES", 1)
    tiny = {"data": tmp_path / "data", "image_size": 32, "size": "segue", "batch_size": 2, "steps": 3600}
    monkeypatch.setattr(plan, "recipe_settings", lambda _: type(QATA)(out=QATA.out, **tiny))
    found = plan_training("reclmis-qata", tmp_path / "data", workers=2)
    assert found["pictures"] == 6
    assert found["hours"] == pytest.approx(found["seconds_a_step"], abs=0.01)
