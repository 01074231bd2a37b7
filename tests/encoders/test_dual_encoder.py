import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, SiglipImageProcessorPil, SiglipModel

from contract.encoders import DualEncoderContract, pictures
from segue.encoders.dual_encoder import ClipDualEncoder, DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.nn.feature_distance import DISTANCE, FeatureDistance
from segue.types import InputError
from tiny_clip import write_clip, write_siglip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    return write_siglip(tmp_path_factory.mktemp("siglip"))


def small_dual_encoder(**options):
    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(DualEncoderContract.texts), width=16, layers=1, heads=2)
    return VisionTextDualEncoder(
        DualEncoderConfig(8, 12, **options), SmallImageEncoder(size=32, width=16, layers=1, heads=2), text
    )


class TestDualEncoder(DualEncoderContract):
    def make(self):
        return small_dual_encoder(dropout=0.5)


class TestClipDualEncoder(DualEncoderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, clip_folder):
        self.folder = clip_folder

    def make(self):
        return ClipDualEncoder(self.folder)


class TestSiglipDualEncoder(DualEncoderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, siglip_folder):
        self.folder = siglip_folder

    def make(self):
        return ClipDualEncoder(self.folder)

    def test_the_temperature_divides(self):
        model = SiglipModel.from_pretrained(self.folder)
        assert self.make().temperature == pytest.approx(1 / model.logit_scale.exp().item())


def test_the_distance_of_an_image_is_that_of_its_pooled_features_at_one_size(tmp_path):
    model = small_dual_encoder().eval()
    before = model.fingerprint
    assert model.measure_distances(pictures(2)) == [None, None]
    model.domain = FeatureDistance(torch.zeros(16), torch.eye(16)[:, :12], 0.5)
    assert model.fingerprint == before  # captioners that read its embeddings know it still
    large = np.repeat(np.repeat(pictures(1, 160, 200)[0], 3, axis=0), 3, axis=1)
    with torch.no_grad():
        reduced = np.asarray(Image.fromarray(large).resize((160, 160), Image.Resampling.BICUBIC))
        pooled = model.image_encoder(model.image_encoder.preprocess([reduced])).pooled
    expected = pooled[0, 12:].norm().item() / 0.5
    assert model.measure_distances([large]) == [pytest.approx(expected, rel=1e-5)]
    save_dual_encoder(model, tmp_path / "model", {})
    assert load_dual_encoder(tmp_path / "model").measure_distances([large])[0] == pytest.approx(expected, rel=1e-3)
    (tmp_path / "model" / DISTANCE).write_bytes(b"")
    with pytest.raises(InputError, match=r"domain\.safetensors"):
        load_dual_encoder(tmp_path / "model")


def test_dual_encoders_equal_transformers(clip_folder, siglip_folder):
    texts = ["a dog runs on grass .", "a dog"]
    image = pictures(1)
    for folder, kind, processor, options in (
        (clip_folder, CLIPModel, CLIPImageProcessorPil, {"padding": True}),
        (siglip_folder, SiglipModel, SiglipImageProcessorPil, {"padding": "max_length", "max_length": 12}),
    ):
        theirs, ours = kind.from_pretrained(folder).eval(), ClipDualEncoder(folder)
        words = AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", **options)
        words = words if kind is CLIPModel else {"input_ids": words["input_ids"]}
        pixels = processor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            out = theirs(pixel_values=pixels, **words)
        torch.testing.assert_close(ours.embed_texts(texts), out.text_embeds, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.embed_images(image), out.image_embeds, atol=1e-5, rtol=1e-5)
        logits = ours.embed_images(image) @ ours.embed_texts(texts).T / ours.temperature
        bias = getattr(theirs, "logit_bias", torch.zeros(1)).detach()
        torch.testing.assert_close(logits + bias, out.logits_per_image, atol=1e-4, rtol=1e-4)


def test_a_long_text_is_cut_with_a_warning(clip_folder):
    model = ClipDualEncoder(clip_folder)
    with pytest.warns(UserWarning, match="longer than the 24 tokens .* is cut"):
        long = model.embed_texts(["a dog " * 40])
    torch.testing.assert_close(long, model.embed_texts(["a dog " * 11]))


def test_it_refuses_what_is_no_dual_encoder(tmp_path):
    with pytest.raises(InputError, match="no dual encoder could be read there"):
        ClipDualEncoder(tmp_path)


def test_a_place_has_the_vector_of_its_features():
    model = small_dual_encoder()
    images = pictures()
    dense = model.embed_dense(images)
    with torch.no_grad():
        features = model.image_encoder(model.image_encoder.preprocess(images)).dense
        one = model.image_projection(features[1, :, 1, 0])
    torch.testing.assert_close(dense[1, :, 1, 0], one / one.norm())


def test_padding_does_not_reach_a_text_and_last_is_the_last_word():
    mean, last = small_dual_encoder(), small_dual_encoder(pooling="last")
    ids, mask = mean._tokenize(["a dog", "a dog runs on grass"])
    with torch.no_grad():
        tokens = mean.text_encoder(ids, mask)
        n = int(mask[0].sum())
        torch.testing.assert_close(mean.encode_text(ids, mask)[0], tokens[0, :n].mean(0))
        torch.testing.assert_close(last.encode_text(ids, mask)[0], last.text_encoder(ids, mask)[0, n - 1])


def test_the_temperature_has_a_floor():
    model = small_dual_encoder()
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    assert model.temperature == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"hidden": -1}, {"dropout": 1.0}, {"temperature": 0.001}])
def test_config_refuses(wrong):
    with pytest.raises(InputError, match="expected width >= 1"):
        DualEncoderConfig(**wrong)
    with pytest.raises(InputError, match="expected mean or last"):
        DualEncoderConfig(pooling="first")


def test_linear_heads_have_no_inner_layer():
    assert small_dual_encoder().image_projection.mlp is not None
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(["a"]), width=16, layers=1, heads=2)
    model = VisionTextDualEncoder(
        DualEncoderConfig(8, 0), SmallImageEncoder(size=32, width=16, layers=1, heads=2), text
    )
    a, b = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)
    a, b = (model.image_projection.norm(torch.from_numpy(x)) for x in (a, b))
    linear = model.image_projection.linear
    torch.testing.assert_close(linear(a) + linear(b), linear(a + b))
