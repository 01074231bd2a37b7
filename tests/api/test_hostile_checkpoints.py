"""Checkpoint folders from anywhere: each loads, or ends in one InputError of one line."""

import copy
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import segue
from segue.api.hub import save_pretrained
from segue.api.models import about, members, method_of
from segue.types import InputError
from segue.weights import bundled

HOSTILE = (None, True, -1, 0, 10**9, 10**30, 1e308, "x", "", [], {}, [[1]], ["x"], [10**9], {"a": 1}, "../" * 2000)


def leaves(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(len(value), 4)):
            yield from leaves(value[key], (*path, key))


def changed(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


@pytest.fixture(params=sorted(set(bundled()) - {"groupvit-scenes"}))
def folder(request, tmp_path):
    return shutil.copytree(bundled()[request.param], tmp_path / request.param)


def test_hostile_values_load_or_are_refused_in_one_line(folder):
    """54 of 175 such values ended in tracebacks, or in more memory than there is."""
    config, draw, refused = json.loads((folder / "config.json").read_text()), random.Random(0), []
    places = [path for path in leaves(config) if "about" not in path]
    for _ in range(60):
        hostile = changed(config, draw.choice(places), draw.choice(HOSTILE))
        (folder / "config.json").write_text(json.dumps(hostile))
        try:
            segue.load(folder)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert [message for message in refused if "\n" in message or len(message) > 1000] == []


def test_files_that_are_no_files_and_json_that_is_too_deep(folder):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).exists():
            continue
        kept = (folder / name).rename(folder / "kept")
        for make in (os.mkfifo, Path.mkdir):
            make(folder / name)
            with pytest.raises(InputError, match="not a file"):
                segue.load(folder)
            (folder / name).unlink() if (folder / name).is_fifo() else (folder / name).rmdir()
        kept.rename(folder / name)
    (folder / "config.json").write_text('{"method":' * 50_000)
    with pytest.raises(InputError, match="not readable as JSON"):
        segue.load(folder)


@pytest.mark.parametrize("method", [["reclmis"], {"a": 1}, 5, True])
def test_a_method_that_is_no_text(tmp_path, method):
    """A list or an object as the method was looked up in a dict: TypeError."""
    (tmp_path / "config.json").write_text(json.dumps({"method": method, "model_type": method}))
    assert method_of(tmp_path) is None
    with pytest.raises(InputError, match="a checkpoint of the method"):
        segue.load(tmp_path)


@pytest.mark.parametrize("names", [None, [], "fold", ["../other"], ["a/../../b"], ["/etc"], [3], {"a": 1}])
def test_an_ensemble_names_folders_beside_it(tmp_path, names):
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": names}))
    with pytest.raises(InputError, match=r"ensemble\.json"):
        members(tmp_path)


def test_what_a_checkpoint_says_of_itself_is_an_object(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"method": "unet", "about": ["x"]}))
    with pytest.raises(InputError, match=r"about: got \['x'\], expected an object"):
        about(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"method": "cocu", "segue": {"about": {"steps": 3}}}))
    assert about(tmp_path) == {"method": "cocu", "steps": "3"}


def test_weights_of_another_type_are_refused(tmp_path):
    folder = shutil.copytree(bundled()["sgdiff-scenes"], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    for kind in (torch.int64, torch.complex64):
        save_file({**tensors, name: tensors[name].to(kind)}, folder / "model.safetensors")
        with pytest.raises(InputError, match=r"has the type torch\.\w+, expected torch\.float32"):
            segue.load(folder)


def test_only_a_dual_encoder_is_copied_along(tmp_path):
    """A captioner's config may name any folder: its texts would be pushed to the hub with the model."""
    folder, secret = shutil.copytree(bundled()["syntic-scenes"], tmp_path / "model"), tmp_path / "secret"
    secret.mkdir()
    (secret / "notes.txt").write_text("private")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(changed(config, ("encoder", "name"), str(secret))))
    with pytest.raises(InputError, match=r"no config\.json there|holds no encoder"):
        save_pretrained(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
