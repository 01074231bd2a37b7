"""Weights from elsewhere: fingerprints, and what is missing or foreign."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from segue.encoders.dual_encoder import ClipDualEncoder
from segue.encoders.image.clip import ClipImageEncoder
from segue.encoders.pretrained import complete, fingerprint
from segue.encoders.text.clip import ClipTextEncoder
from segue.types import InputError
from tiny_clip import write_clip

READERS = {"image": ClipImageEncoder, "text": ClipTextEncoder, "both": ClipDualEncoder}


@pytest.fixture
def folder(tmp_path):
    return write_clip(tmp_path)


def change(folder, changes):
    tensors = load_file(folder / "model.safetensors")
    changes(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_fingerprint_feels_one_weight(folder):
    model = ClipTextEncoder(str(folder)).model
    before = fingerprint(model)
    assert before == fingerprint(copy.deepcopy(model))
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    assert fingerprint(model) != before


@pytest.mark.parametrize("reader", READERS)
def test_a_foreign_tensor_is_named(folder, reader):
    """transformers would leave it out, and answer with other layers than the folder's."""
    change(folder, lambda tensors: tensors.update({"adapter.weight": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"has no place for \(adapter\.weight\); name another model"):
        READERS[reader](str(folder))


@pytest.mark.parametrize(
    ("reader", "name"), [("image", "vision_model"), ("text", "text_model"), ("both", "text_model")]
)
def test_a_missing_tensor_is_named(folder, reader, name):
    weight = f"{name}.encoder.layers.0.mlp.fc1.weight"
    change(folder, lambda tensors: tensors.pop(weight))
    with pytest.raises(InputError, match=r"weights missing \(.*layers\.0\.mlp\.fc1\.weight\);"):
        READERS[reader](str(folder))


def test_tensors_of_another_shape_and_long_lists():
    report = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": {("a.weight", (1,), (2,))}}
    model = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"here: weights of another shape \(a\.weight\)"):
        complete("here", (model, report))
    with pytest.raises(InputError, match=r"\(a, b, c and 2 more\)"):
        complete("here", (model, report | {"missing_keys": set("edcba")}))
    kept = report | {"mismatched_keys": set(), "unexpected_keys": {"head.bias", "header"}}
    assert complete("here", (model, kept), unused=("head",)) is model
    with pytest.raises(InputError, match=r"a Linear has no place for \(header\)"):
        complete("here", (model, kept), unused=("head.",))
