"""Pretrained feature pyramids: shapes, freezing, checkpoints."""

import json

import pytest
import torch

from segue.encoders.image.pyramid import EfficientNetPyramid, build_pyramid, load_pyramid
from segue.types import InputError

IMAGE = torch.rand(2, 3, 64, 96)


def hub_folder(tmp_path):
    """A tiny ResNet as transformers stores a classifier, with its preprocessing."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    saved = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2], "resample": 3}
    (tmp_path / "resnet" / "preprocessor_config.json").write_text(json.dumps(saved))
    return tmp_path / "resnet"


def test_efficientnets_maps() -> None:
    pyramid = build_pyramid("efficientnet-lite0")
    maps = pyramid(IMAGE)
    shapes = [(2, w, 64 // s, 96 // s) for w, s in zip(pyramid.widths, pyramid.strides, strict=True)]
    assert [tuple(one.shape) for one in maps] == shapes
    assert not pyramid.state_dict()
    assert not any(p.requires_grad for p in pyramid.parameters())


def test_a_hub_backbones_maps_are_those_of_transformers(tmp_path) -> None:
    pyramid = build_pyramid(f"backbone:{hub_folder(tmp_path)}")
    assert (pyramid.strides, pyramid.widths) == ((4, 8), (4, 8))
    assert pyramid.preprocessing.mean == (0.4, 0.5, 0.6)
    from transformers import ResNetForImageClassification

    whole = ResNetForImageClassification.from_pretrained(tmp_path / "resnet").eval()
    torch.testing.assert_close(pyramid(IMAGE)[-1], whole.resnet(IMAGE).last_hidden_state)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_pyramid_comes_back_from_its_config(tmp_path, frozen) -> None:
    for name in ("efficientnet-lite0", f"backbone:{hub_folder(tmp_path)}"):
        pyramid = build_pyramid(name, frozen=frozen)
        if not frozen:
            with torch.no_grad():
                next(pyramid.parameters()).add_(0.1)
        again = load_pyramid(json.loads(json.dumps(pyramid.config())), tmp_path)
        again.load_state_dict(pyramid.state_dict())
        for a, b in zip(pyramid(IMAGE), again(IMAGE), strict=True):
            torch.testing.assert_close(a, b)


def test_other_weights_behind_a_frozen_pyramid_are_refused(tmp_path) -> None:
    config = EfficientNetPyramid().config()
    with pytest.raises(InputError, match="weights"):
        load_pyramid({**config, "sha256": "0"}, tmp_path)


def test_training_keeps_the_averages_of_batch_norm() -> None:
    pyramid = build_pyramid("efficientnet-lite0", frozen=False).train()
    before = {name: x.clone() for name, x in pyramid.named_buffers()}
    pyramid(IMAGE)[-1].sum().backward()
    assert all(torch.equal(before[name], x) for name, x in pyramid.named_buffers())
    assert next(pyramid.parameters()).grad is not None


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match="backbone:ID-OR-FOLDER"):
        build_pyramid("resnet")
