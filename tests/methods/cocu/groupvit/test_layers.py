"""GroupViT's layers: noise and drop path."""

import pytest
import torch

from methods.cocu.groupvit.tiny_groupvit import make_model


def test_noise_and_drop_path_in_training_only():
    model, image = make_model(image_size=32, patch=8, drop_path=0.5), torch.randn(2, 3, 32, 32)
    model.eval()
    assert torch.equal(model.encode_image(image).groups, model.encode_image(image).groups)
    model.train()
    assert not torch.equal(model.encode_image(image).groups, model.encode_image(image).groups)


def test_drop_path_keeps_the_mean_and_rises_with_depth():
    model = make_model(drop_path=0.3)
    layers = [layer for stage in model.vision_model.encoder["stages"] for layer in stage.layers]
    assert [round(layer.drop, 4) for layer in layers] == [0.0, 0.1, 0.2, 0.3]
    assert {layer.drop for layer in model.text_model.encoder["layers"]} == {0.0}
    torch.manual_seed(0)
    dropped = layers[3].train()._drop_path(torch.ones(20_000, 1, 1))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.7])
