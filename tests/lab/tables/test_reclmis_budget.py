"""The table of equal minutes, on drawn chests."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.medical.lvit import read_lvit
from segue.lab.engine import Work
from segue.lab.tables import reclmis_budget
from segue.synthetic.chest import make_chest
from segue.training.loop import _Trainer


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Twelve small chests, and trainings of two steps in two folds."""
    make_chest(tmp_path / "data" / "covid_cxr", train=8, val=4, test=1, size=64)
    (tmp_path / "data" / "monuseg").mkdir()
    settings = reclmis_budget._settings
    small = {"image_size": 32, "batch_size": 2, "steps": 2, "patches": "no", "augmentation": "none", "vision": "none"}
    monkeypatch.setattr(reclmis_budget, "_settings", lambda *args: replace(settings(*args), **small))
    monkeypatch.setattr(reclmis_budget, "FOLDS", 2)
    return Work(tmp_path / "row", tmp_path, tmp_path, tmp_path / "data")


def test_each_picture_of_both_splits_is_scored_by_the_fold_that_held_its_patient_out(work, monkeypatch):
    seen, score = {}, reclmis_budget._scored

    def scored(model, part, notes):
        seen.setdefault(model.folder.parent.name, {e.name for e in part})
        return score(model, part, notes)

    monkeypatch.setattr(reclmis_budget, "_scored", scored)
    found = reclmis_budget._folds("covid_cxr", {"system": "unet"}, work)
    assert set(found) == {"dice", "dice_low", "dice_high"}  # a U-Net reads no notes
    names = {r.name for split in ("train", "val") for r in read_lvit(work.data / "covid_cxr", split)}
    assert seen["fold-0"] | seen["fold-1"] == names
    assert not seen["fold-0"] & seen["fold-1"]
    monkeypatch.setattr(_Trainer, "step", None)
    assert reclmis_budget._folds("covid_cxr", {"system": "unet"}, work) == found  # what is trained is not trained again


def test_the_interval_is_over_patients_so_one_with_many_pictures_widens_it():
    dice = np.array([0.2] * 5 + [0.8] * 5)
    alone, together = (reclmis_budget._summary(dice, groups) for groups in (list("abcdefghij"), list("aaaaabbbbb")))
    assert alone["dice"] == together["dice"] == pytest.approx(0.5)
    assert (together["dice_low"], together["dice_high"]) == pytest.approx((0.2, 0.8))
    assert 0.2 < alone["dice_low"] < alone["dice_high"] < 0.8
