"""Folders of `save_pretrained` by transformers' AutoModel, which is told to trust their two lines."""

import numpy as np
import pytest
import torch

import segue as package
from api.test_captioner import made as made_captioner
from segue.api import save_pretrained
from segue.integrations.transformers import SegueModel
from tiny_dual_encoder import tiny_dual_encoder

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


@pytest.fixture
def auto(tmp_path, monkeypatch):
    """AutoModel, whose copies of trusted code go to a folder of the test's own."""
    from transformers import AutoModel, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return lambda folder: AutoModel.from_pretrained(folder, trust_remote_code=True)


def test_a_segmenter_answers_as_its_own_predictor(auto, tiny_model, tmp_path):
    model = auto(save_pretrained(tiny_model, tmp_path / "given"))
    assert type(model).__name__ == "SegueModel"
    expected = package.load(tiny_model, device="cpu").segment(IMAGE, "left lung")
    np.testing.assert_array_equal(model(IMAGE, "left lung").mask, expected.mask)
    assert model.to("cpu") is model
    own = SegueModel.from_pretrained(tiny_model)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in own.parameters()) > 1000
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "given/config.json").read_bytes()
    for name, tensor in auto(tmp_path / "again").state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name])


def test_a_captioner_answers_as_its_own_predictor(auto, tmp_path):
    made_captioner(tmp_path / "captions", tiny_dual_encoder(tmp_path / "encoder"))
    folder = save_pretrained(tmp_path / "captions", tmp_path / "given")
    expected = package.load(tmp_path / "captions", device="cpu")(IMAGE)
    assert [one.text for one in auto(folder)(IMAGE)] == [one.text for one in expected]
    assert package.load(folder, device="cpu")(IMAGE)[0].text == expected[0].text  # and Segue reads it as before
