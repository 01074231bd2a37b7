"""CLIP's and SigLIP's image encoders against transformers."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, SiglipImageProcessorPil, SiglipModel

from contract.encoders import ImageEncoderContract, pictures
from segue.encoders.image import load_image_encoder
from segue.encoders.image.clip import ClipImageEncoder
from segue.types import InputError
from tiny_clip import write_clip, write_siglip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    return write_siglip(tmp_path_factory.mktemp("siglip"))


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
    assert load_image_encoder(encoder.config(), clip_folder).size == 48
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
    with pytest.raises(InputError, match=r"image encoder '.*nowhere': neither a folder nor a hub id"):
        ClipImageEncoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no/such: no image encoder could be read there .* folder with config.json"):
        ClipImageEncoder("no/such")
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 99)
    with pytest.raises(InputError, match="weights can't be read"):
        ClipImageEncoder(broken)
    (broken / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="holds a 'bert' model, expected a CLIP, SigLIP or ViT"):
        ClipImageEncoder(broken)


def test_changed_weights_are_noticed(clip_folder):
    config = ClipImageEncoder(clip_folder).config()
    with pytest.raises(InputError, match="its weights changed since"):
        load_image_encoder({**config, "sha256": "0" * 64}, clip_folder)
    with pytest.raises(InputError, match="got kind 'resnet', expected one of"):
        load_image_encoder({"kind": "resnet"}, clip_folder)
