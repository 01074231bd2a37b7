"""`segue.load`: what it gives by name, as type checkers know it and as it is, and on which device."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pkgutil import resolve_name
from typing import Any, get_overloads

import numpy as np
import pytest
import torch
from torch import nn

import segue
from segue.api import LOADERS, bundled, load_label_segmenter
from segue.api.models import method_of
from segue.options import DescribeOptions, DrawOptions
from segue.types import InputError

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
ANSWERS = {  # a short answer of each kind of predictor
    "reclmis-chest": lambda model: model(IMAGE, "one infected area").probability,
    "cocu-scenes": lambda model: model(IMAGE, "dog, grass").scores,
    "syntic-scenes": lambda model: model(IMAGE)[0].score,
    "sgdiff-scenes": lambda model: (
        model(IMAGE, box=(8, 8, 20, 20), label="dog", options=DescribeOptions(num=1, steps=2))[0].score
    ),
    "describe-photos": lambda model: (
        model(IMAGE, box=(8, 8, 20, 20), label="dog", options=DescribeOptions(num=1))[0].score
    ),
    "crossmodal-scenes": lambda model: model("a dog", options=DrawOptions(num=1, steps=2))[0].labels,
    "scenes-encoder": lambda model: model(IMAGE, "dog, grass").scores,
}


def test_the_types_of_bundled_names_are_those_that_their_loaders_give():
    """Those of the overloads; a model that is added needs its name there."""
    written = {}
    for overload in get_overloads(segue.load):
        of = inspect.get_annotations(overload)
        written |= dict.fromkeys(re.findall(r"\"([\w-]+)\"|'([\w-]+)'", of["name_or_path"]), of["return"])
    written = {"".join(name): kind for name, kind in written.items()}
    loaders = {name: resolve_name(LOADERS[method_of(folder)]) for name, folder in bundled().items()}
    assert written == {name: inspect.get_annotations(loader)["return"] for name, loader in loaders.items()}
    assert {getattr(segue, kind).__name__ for kind in written.values()} == set(written.values())


def test_a_loaded_predictor_is_of_the_class_that_its_loader_promises():
    assert type(segue.load("reclmis-chest")) is segue.Segmenter
    assert isinstance(segue.load("scenes-encoder"), segue.DualEncoder)


def test_a_predictor_goes_where_there_is_a_gpu_unless_told_otherwise(monkeypatch):
    """There is none here, so what moves modules is watched."""
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nn.Module, "to", lambda module, *to, **_: moved.extend(to) or module)
    assert segue.load("reclmis-chest").device == "cuda"
    segue.load("cocu-scenes")
    assert set(moved) == {"cuda"}
    segue.load("cocu-scenes", device="cpu")
    assert moved[-1] == "cpu"
    with pytest.raises(InputError, match="device 'tpu': not there"):
        segue.load("cocu-scenes", device="tpu")


@pytest.mark.parametrize("name", ["reclmis-chest", "scenes-encoder"])
def test_bf16_answers_nearly_as_float32_does_and_in_float32(name):
    plain, fast = (ANSWERS[name](found(name, dtype=dtype)) for dtype in ("float32", "bf16"))
    assert np.asarray(fast).dtype == np.asarray(plain).dtype
    assert 0 < np.abs(np.asarray(fast) - np.asarray(plain)).max() < 0.1


@pytest.mark.parametrize("name", ["cocu-scenes", "sgdiff-scenes", "crossmodal-scenes"])
def test_methods_that_know_no_bf16_refuse_it(name):
    with pytest.raises(InputError, match=r"dtype: got bf16, but models of the method .* compute in float32"):
        segue.load(name, dtype="bf16")
    assert segue.load(name, dtype="float32")


@pytest.mark.parametrize("name", ["reclmis-chest", "scenes-encoder", "cocu-scenes"])
def test_another_dtype_is_refused_when_a_model_is_loaded(name):
    with pytest.raises(InputError, match="dtype: got 'fp16', expected one of 'auto', 'float32', 'bf16'"):
        segue.load(name, dtype="fp16")


def found(name, **how):
    return load_label_segmenter(name, **how) if name == "scenes-encoder" else segue.load(name, **how)


def modules_in(thing: Any, seen: set[int]) -> Iterator[nn.Module]:
    """The modules that an object holds, at any depth."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Module):
        yield thing
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    inside = getattr(thing, "__dict__", {}).values() if type(thing).__module__.startswith("segue.") else ()
    for part in (*parts, *inside):
        yield from modules_in(part, seen)


@cache
def loaded(name):
    return found(name)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_predictor_moves_with_all_its_networks(name):
    """To torch's device without values and, loaded again, to the CPU, where it answers as before."""
    model = loaded(name)
    expected = ANSWERS[name](model)
    assert model.to("cpu") is model
    np.testing.assert_array_equal(ANSWERS[name](model), expected)
    model.to("meta")
    loaded.cache_clear()
    tensors = [t for module in modules_in(model, set()) for t in (*module.parameters(), *module.buffers())]
    assert tensors
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    with pytest.raises(InputError, match="device 'gpu': not there"):
        model.to("gpu")
