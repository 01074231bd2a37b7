"""The joint model and its quantiser written and read; files that don't belong together."""

import json
from dataclasses import replace

import pytest
import torch

from methods.crossmodal.tiny_crossmodal import model
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.crossmodal.boxes import BoxConfig, BoxDecoder
from segue.methods.crossmodal.checkpoint import (
    CrossModalCheckpoint,
    load_boxes,
    load_crossmodal,
    load_quantiser,
    save_boxes,
    save_crossmodal,
    save_quantiser,
)
from segue.methods.crossmodal.silhouettes import SilhouetteConfig, Silhouettes
from segue.methods.crossmodal.vq import LayoutVQ, VQConfig
from segue.nn.feature_distance import FeatureDistance
from segue.types import InputError


def checkpoint():
    torch.manual_seed(0)
    quantiser = LayoutVQ(VQConfig(classes=2, factor=4, width=32, levels=(4, 3)))
    tokenizer = CaptionTokenizer.learn(["a dog on the grass"], size=270)
    return CrossModalCheckpoint(
        model(vocabulary=len(tokenizer)), quantiser, tokenizer, ("dog", "grass"), {"recipe": "a test"}
    )


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_round_trip(tmp_path):
    first = checkpoint()
    save_crossmodal(first, tmp_path / "model")
    again = load_crossmodal(tmp_path / "model")
    assert same(first.model, again.model)
    assert same(first.quantiser, again.quantiser)
    assert (again.model.config, again.quantiser.config) == (first.model.config, first.quantiser.config)
    assert (again.classes, again.about) == (first.classes, first.about)
    assert not again.model.training
    assert not again.quantiser.training
    assert again.tokenizer.encode(["a dog"], 8)[0].tolist() == first.tokenizer.encode(["a dog"], 8)[0].tolist()


def test_the_distance_comes_along(tmp_path):
    first, width = checkpoint(), model().config.width
    save_crossmodal(first, tmp_path / "without")
    assert load_crossmodal(tmp_path / "without").domain is None
    domain = FeatureDistance(torch.zeros(width), torch.eye(width)[:, :2], 0.5)
    save_crossmodal(replace(first, domain=domain), tmp_path / "with")
    again = load_crossmodal(tmp_path / "with").domain
    assert again.measure(torch.ones(1, width)).tolist() == domain.measure(torch.ones(1, width)).tolist()
    domain = FeatureDistance(torch.zeros(width + 1), torch.eye(width + 1)[:, :2], 0.5)
    save_crossmodal(replace(first, domain=domain), tmp_path / "other")
    with pytest.raises(InputError, match=r"domain\.safetensors"):
        load_crossmodal(tmp_path / "other")


def test_the_silhouettes_come_along(tmp_path):
    first, silhouettes = checkpoint(), Silhouettes(SilhouetteConfig(3))
    silhouettes.kinds.copy_(torch.tensor([1, 1, 0]))
    silhouettes.aspects.copy_(torch.tensor([0.5, 1, 0]))
    silhouettes.bits[1] = 7
    save_crossmodal(replace(first, silhouettes=silhouettes), tmp_path / "with", half=True)
    assert same(load_crossmodal(tmp_path / "with").silhouettes, silhouettes)
    silhouettes.kinds[0] = 2
    save_crossmodal(replace(first, silhouettes=silhouettes), tmp_path / "other")
    with pytest.raises(InputError, match="silhouettes of the classes 0 to 2, expected 0 to 1"):
        load_crossmodal(tmp_path / "other")


def test_half_the_space_and_float32_when_read(tmp_path):
    first = checkpoint()
    save_crossmodal(first, tmp_path / "whole")
    save_crossmodal(first, tmp_path / "half", half=True)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    for name, x in load_crossmodal(tmp_path / "half").model.state_dict().items():
        assert x.dtype == torch.float32
        assert torch.allclose(x, first.model.state_dict()[name], atol=2e-3), name


def test_a_quantiser_by_itself(tmp_path):
    first = checkpoint().quantiser
    save_quantiser(first, tmp_path / "vq")
    assert same(first, load_quantiser(tmp_path / "vq"))
    with pytest.raises(InputError, match="method 'layout-vq', expected one of crossmodal"):
        load_crossmodal(tmp_path / "vq")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    save_crossmodal(checkpoint(), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"model": config["model"] | {"depth": 3}}, "the weights lack"),
        ({"model": config["model"] | {"width": 64}}, "has shape"),
        ({"quantiser": config["quantiser"] | {"colour": 1}}, "config.json has colour"),
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            load_crossmodal(tmp_path / "model")
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "classes"}))
    with pytest.raises(InputError, match="lacks classes"):
        load_crossmodal(tmp_path / "model")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """Its numbers stand for other words, so that any sentence would be drawn as another."""
    save_crossmodal(checkpoint(), tmp_path / "model")
    CaptionTokenizer.learn(["a cat lies by the lake", "two cows on a road"], size=300).save(tmp_path / "model")
    with pytest.raises(InputError, match=r"tokenizer.json has \d+ tokens, the model \d+"):
        load_crossmodal(tmp_path / "model")


def with_boxes():
    one = checkpoint()
    shape = one.model.config
    boxes = BoxDecoder(BoxConfig(2, 2 * shape.grid[0], shape.vocabulary, shape.max_words, width=32, heads=4, depth=1))
    return replace(one, model=model(vocabulary=shape.vocabulary, classes=2), boxes=boxes)


def test_a_model_of_two_levels(tmp_path):
    first = with_boxes()
    save_crossmodal(first, tmp_path / "model")
    again = load_crossmodal(tmp_path / "model")
    assert again.boxes.config == first.boxes.config
    assert same(first.boxes, again.boxes)
    assert same(first.model, again.model)
    assert not again.boxes.training
    save_boxes(first.boxes, tmp_path / "boxes")
    assert same(first.boxes, load_boxes(tmp_path / "boxes"))


def test_boxes_of_another_model_are_refused(tmp_path):
    first = with_boxes()
    other = replace(first.boxes.config, bins=6)
    save_crossmodal(replace(first, boxes=BoxDecoder(other)), tmp_path / "model")
    with pytest.raises(InputError, match="the boxes are of another model"):
        load_crossmodal(tmp_path / "model")
