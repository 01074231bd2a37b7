"""Every knob of the method is a setting, and reaches the network."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from segue.methods.lvit import LViTConfig
from segue.methods.reclmis.config import SIZES
from segue.methods.reclmis.released import ReleasedConfig
from segue.methods.unet import UNetConfig
from segue.recipes.reclmis import RECLMIS
from segue.recipes.reclmis_options import AUTO, LAMBDAS, NAMED, NetworkSettings, network_config
from segue.types import InputError

BASE = {"out": Path("o"), "data": Path("d"), "steps": 1, "batch_size": 1, "lr": 1e-3}
OTHER = {
    "widths": (8, 16),
    "heads": 2,
    "interaction": "self",
    "residual": False,
    "zones": True,
    "ccl": False,
    "lambda_v2t": 0.3,
    "lambda_t2v": 0.4,
    "lambda_ccl": 0.6,
    "lambda_segmentation": 0.7,
    "tau": 0.01,
    "mask_ratio_vision": 0.1,
    "mask_ratio_text": 0.2,
    "masking": "random",
    "conditions": ("ccl", "cvr"),
    "condition_order": "printed",
    "reconstruction": "self",
    "reconstruction_layers": 7,
    "reconstruction_scale": "mean",
}


def make(**changes):
    return NetworkSettings(**BASE | changes)


def test_without_any_knob_the_network_is_the_size_s_own():
    assert network_config(make()) == SIZES["segue"]
    assert network_config(make(size="faithful")) == SIZES["faithful"]
    assert network_config(make(system="unet")) == UNetConfig()


@pytest.mark.parametrize("name", [f.name for f in fields(NetworkSettings) if f.default is None])
def test_every_knob_reaches_the_network_and_no_other_changes(name):
    own, changed = SIZES["segue"], network_config(make(**{name: OTHER[name]}))
    different = {f.name for f in fields(own) if getattr(own, f.name) != getattr(changed, f.name)}
    if name in LAMBDAS:
        assert different == {"loss_weights"}
        assert changed.loss_weights[LAMBDAS.index(name)] == OTHER[name]
    else:
        assert different == {NAMED.get(name, name)}
        assert getattr(changed, NAMED.get(name, name)) == OTHER[name]


def test_rivals_and_the_released_size_follow_the_image_size():
    assert network_config(make(system="lvit")) == LViTConfig(tokens=32)
    small = network_config(make(system="lvit", widths=(16,), image_size=112))
    assert (small.width, small.stride, small.image_size) == (16, 8, 112)
    released = network_config(make(size="released", text="clip:x", image_size=448, lambda_t2v=0.5))
    assert released == ReleasedConfig(grid=28, loss_weights=(1.0, 0.5, 0.2, 2.5))


def test_no_conditions_at_all():
    assert network_config(make(conditions=("none",))).conditions == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "unet", "tau": 0.1}, "tau: given, but --system unet has none"),
        ({"system": "text_blind", "interaction": "self"}, "interaction: given, but --system text_blind has none"),
        ({"system": "ci", "lambda_t2v": 1.0}, "lambda_t2v: given, but --system ci has no such loss"),
        ({"ccl": False, "lambda_ccl": 1.0}, "lambda_ccl: given, but --system full has no such loss"),
        ({"system": "lvit", "tau": 0.1}, "tau: given, but --system lvit has none"),
        ({"system": "lvit", "widths": (8, 16)}, "widths: got .* expected one for --system lvit"),
        ({"size": "released", "residual": True}, "residual: given, but --size released has none"),
        ({"size": "released", "system": "ci"}, "got --system ci, expected full"),
        ({"size": "released"}, "got --text small, expected clip:ID-OR-FOLDER"),
        ({"size": "released", "text": "clip:x", "image_size": 100}, "image_size: got 100, expected a multiple of 16"),
        ({"tau": 0.0}, "tau: got 0.0, expected more than 0"),
        ({"reconstruction_layers": 0}, "reconstruction_layers: got 0, expected 1 or more"),
    ],
)
def test_a_knob_that_would_do_nothing_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        network_config(make(**changes))


@pytest.mark.parametrize("name", ["image_size", "steps", "batch_size"])
def test_none_of_it_is_no_way_to_leave_it_to_the_plan(name):
    with pytest.raises(InputError, match=f"{name}: got 0, expected 1 or more, or auto"):
        replace(RECLMIS, **{name: 0})
    assert getattr(replace(RECLMIS, **{name: AUTO}), name) == AUTO
