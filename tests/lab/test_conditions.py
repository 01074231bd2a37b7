"""Where the conditions look, against masks and words that are known."""

import numpy as np
import pytest
import torch

from methods.reclmis.test_model import TINY, model
from segue.lab.conditions import condition_shares
from segue.methods.reclmis.config import ablate_config
from segue.methods.segmenters import SavedSegmenter, save_segmenter
from segue.nn.preprocessing import Preprocessing
from segue.types import Example

NOTE = "Unilateral pulmonary infection, one infected area, upper left lung."


def example(mask):
    return Example(np.zeros((32, 32, 3), np.uint8), mask, NOTE, "e")


def test_shares_of_even_conditions_are_those_of_chance(tmp_path):
    network = model(TINY)
    for score in (network.conditions.patch_score, network.conditions.word_score):
        torch.nn.init.zeros_(score[2].weight)
    save_segmenter(SavedSegmenter(network, Preprocessing(32), 1.0, {}), tmp_path / "m")
    mask = np.zeros((32, 32), bool)
    mask[:, :8] = True
    found = condition_shares(tmp_path / "m", [example(mask), example(~mask), example(None)])
    assert found["mask_area"] == pytest.approx(0.5)
    assert found["w_poi_inside"] == pytest.approx(0.5)
    assert found["w_woi_place"] == pytest.approx(found["place_words"], rel=1e-5)
    assert 0.1 < found["place_words"] < 0.3  # unilateral, upper, left


def test_a_model_without_conditions_has_no_shares(tmp_path):
    network = model(ablate_config(TINY, "text_blind"))
    save_segmenter(SavedSegmenter(network, Preprocessing(32), 1.0, {}), tmp_path / "m")
    assert condition_shares(tmp_path / "m", []) == {}
