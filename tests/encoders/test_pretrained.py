"""Weights from elsewhere: fingerprints, and what is missing or foreign."""

import copy
import json
import os

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


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("section", "name"),
    [("vision_config", "hidden_size"), ("text_config", "num_hidden_layers"), ("text_config", "vocab_size")],
)
def test_sizes_that_the_weights_have_not_are_refused_before_memory_is_taken(folder, reader, section, name):
    """A width of 10^9 asked for terabytes, 10^9 layers for hours."""
    config = json.loads((folder / "config.json").read_text())
    for value in (10**9, "x", [], None, -5):
        (folder / "config.json").write_text(json.dumps({**config, section: {**config[section], name: value}}))
        with pytest.raises(InputError) as error:
            READERS["both"](str(folder))
        assert "\n" not in str(error.value)


def test_a_pipe_among_the_files_is_refused(folder):
    os.mkfifo(folder / "vocab.json.pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        ClipTextEncoder(str(folder))


def test_code_beside_a_model_is_neither_run_nor_asked_about(folder):
    """transformers asks on the terminal, and waits, whether a model's own code may be run."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoTokenizer": ["code.T", None]}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputError, match="no text encoder could be read there"):
        ClipTextEncoder(str(folder))
