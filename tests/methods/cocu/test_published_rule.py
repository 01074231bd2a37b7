"""The published protocols against a second writing of the released rule, on random weights and pictures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.cocu.groupvit.tiny_groupvit import TINY, make_model, reference_of
from methods.cocu.released_evaluation import PROTOCOLS as RELEASED
from methods.cocu.released_evaluation import evaluate_picture
from segue.data.formats import classes as named
from segue.methods.cocu import inference
from segue.methods.cocu.inference import segment
from segue.methods.cocu.protocols import PROTOCOLS, PUBLISHED_CLASSES, EvalProtocol
from segue.types import InputError

NAMES = {"voc": 20, "context": 59, "coco-object": 80, "stuff": 171, "cityscapes": 19, "ade20k": 150}

MORE_GROUPS = {"group_tokens": (16, 8, 0), "output_groups": (16, 8, 8)}


def blobs(height, width, seed=0):
    """A picture of 30 noisy rectangles, so that groups and names differ over it."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 6)))
    clean = F.interpolate(coarse, (height, width))[0].permute(1, 2, 0).numpy()
    return np.clip(clean + rng.normal(0, 60, clean.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Window -> our model and transformers', whose positions are of that window and so need no interpolation."""
    found = {}
    for window in (448, 224):
        model = make_model(TINY, image_size=window, logit_scale=2.0, projection_hidden=96, **MORE_GROUPS).eval()
        with torch.no_grad():  # groups that are far from each other, and no embedding that is 0
            for layer in (model.visual_projection[0], model.visual_projection[3]):
                layer.weight.mul_(4), layer.bias.normal_()
        found[window] = model, reference_of(model, tmp_path_factory.mktemp("hub") / str(window))
    return found


def texts(count, seed=0):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def check(networks, name, image, values=None):
    protocol = values or PROTOCOLS[name]
    model, network = networks[protocol.crop]
    text = texts(NAMES[name])
    found = segment(model, image, [f"name {i}" for i in range(len(text))], protocol, text)
    expected = evaluate_picture(network, image, text, name if values is None else (*_numbers(protocol),))
    index = np.where(found.index == found.background, -1, found.index.astype(int))
    return index, expected


def _numbers(protocol):
    return protocol.short_side, protocol.crop, protocol.stride, protocol.threshold


@pytest.mark.parametrize("name", RELEASED)
def test_a_published_protocol_is_the_released_one_pixel_by_pixel(networks, name):
    size = (200, 400) if name == "cityscapes" else (150, 211)
    index, expected = check(networks, name, blobs(*size, seed=5))
    assert (index != expected).mean() <= 1e-4  # a pixel in 10,000 for another rounding of a tie
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("size", [(60, 420), (420, 57), (448, 448), (1, 1), (1200, 900)])
def test_long_small_and_large_pictures(networks, size):
    """Long ones are capped at 2048 pixels, and their windows are then no whole number of patches."""
    model = networks[448][0]
    index, expected = check({448: (model, _AsTransformers(model))}, "context", blobs(*size))
    assert (index != expected).mean() <= 1e-4


class _AsTransformers:
    """Our network in the form of transformers', which knows one size of windows alone."""

    def __init__(self, model):
        self.model, self.visual_projection, self.logit_scale = model, model.visual_projection, model.logit_scale

    def vision_model(self, window, output_attentions):
        found = self.model.encode_image(window[:, :, : window.shape[2] // 16 * 16, : window.shape[3] // 16 * 16])
        return SimpleNamespace(attentions=found.assignments, last_hidden_state=found.groups)


def test_the_surest_group_of_a_window_is_never_background(networks):
    """A threshold above all scores leaves the surest group its name; ours then leaves nothing."""
    image = blobs(150, 211, seed=5)
    index, expected = check(networks, "voc", image, EvalProtocol(448, 448, 224, 0.99, rule="published", long_side=2048))
    assert (index != expected).mean() <= 1e-4
    assert 0 < (index >= 0).mean() < 1
    model, text = networks[448][0], texts(20)
    ours = segment(model, image, [f"name {i}" for i in range(20)], PROTOCOLS["voc-soft"], text)
    assert (ours.index == ours.background).all()


def test_the_rules_differ(networks):
    image, text = blobs(150, 211, seed=5), texts(59)
    names = [f"name {i}" for i in range(59)]
    soft, published = (segment(networks[448][0], image, names, PROTOCOLS[n], text) for n in ("context-soft", "context"))
    assert (soft.index != published.index).mean() > 0.05


def test_large_pictures_of_imagenet_s_are_shrunk_first(networks):
    model, text = networks[448][0], texts(50)
    names, image = [f"name {i}" for i in range(50)], blobs(1300, 900, seed=2)
    found = segment(model, image, names, PROTOCOLS["imagenet-s-50"], text)
    small = inference.resize_without_antialiasing(image, (1000, 692))  # int(1000 * 900 / 1300)
    expected = segment(model, small, names, PROTOCOLS["imagenet-s-50"], text)
    rows, columns = np.arange(1300) * 1000 // 1300, np.arange(900) * 692 // 900
    assert (found.index != expected.index[np.ix_(rows, columns)]).mean() < 0.01
    assert found.index.shape == found.scores.shape == (1300, 900)
    as_it_is = segment(model, blobs(1000, 1000), names, PROTOCOLS["imagenet-s-50"], text)
    other = segment(model, blobs(1000, 1000), names, PROTOCOLS["voc"], text)
    np.testing.assert_array_equal(as_it_is.index, other.index)


def test_protocols_have_the_published_numbers_and_names():
    for name, (short, window, step, threshold) in RELEASED.items():
        protocol = PROTOCOLS[name]
        assert (protocol.short_side, protocol.crop, protocol.stride, protocol.threshold) == (
            short,
            window,
            step,
            threshold,
        )
        assert (protocol.rule, protocol.long_side, protocol.top_k, protocol.prompt) == (
            "published", 2048, 5, "a photo of a {}."
        )  # fmt: skip
        assert PROTOCOLS[f"{name}-soft"].rule == "soft"
        assert len(PUBLISHED_CLASSES[name]) == NAMES[name] + (threshold is not None)
        assert set(protocol.renamed) <= set(PUBLISHED_CLASSES[name])
    voc = [PROTOCOLS["voc"].renamed.get(name, name) for name in named.VOC_21]
    assert [voc[i] for i in (1, 11, 16, 20)] == ["aeroplane", "table", "plant", "monitor"]
    context = [PROTOCOLS["context"].renamed.get(name, name) for name in named.CONTEXT_59]
    assert {"airplane", "plant", "monitor", "table", "motorbike"} <= set(context)
    assert PROTOCOLS["ade20k"].renamed == {"television": "television receiver"}


def test_windows_smaller_than_a_patch_are_refused():
    model = make_model(TINY).eval()
    protocol = EvalProtocol(8, 448, 224, rule="published")
    with pytest.raises(InputError, match="becomes 16x8 pixels, less than one patch of 16"):
        segment(model, blobs(40, 80), ["dog", "grass"], protocol)
