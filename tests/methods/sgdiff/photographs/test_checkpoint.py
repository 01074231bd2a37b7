"""The checkpoint folder, whole and in 8 bits."""

import json

import pytest
import torch

from segue.methods.sgdiff.photographs.checkpoint import (
    PhotoCheckpoint,
    is_of_photographs,
    restore_photographs,
    save_photographs,
)
from tiny_photographs import tiny_network, tiny_reader


@pytest.fixture(scope="module")
def made():
    tokenizer = tiny_reader().captioner.checkpoint.tokenizer
    return PhotoCheckpoint(tiny_network(tokenizer), tokenizer, "captions-photos", {"seed": "1"})


@pytest.mark.parametrize("small", [False, True])
def test_what_is_saved_is_restored(made, tmp_path, small):
    save_photographs(made, tmp_path / "model", small=small)
    again = restore_photographs(tmp_path / "model")
    assert (again.captioner, again.about, again.model.config) == (made.captioner, made.about, made.model.config)
    assert is_of_photographs(tmp_path / "model")
    for name, x in made.model.state_dict().items():
        most = x.abs().max().item()
        torch.testing.assert_close(again.model.state_dict()[name], x, atol=0.005 * most if small else 0, rtol=0)


def test_another_sgdiff_is_none_of_photographs(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"method": "sgdiff", "config": {}, "lexicon": {}}))
    assert not is_of_photographs(tmp_path)
