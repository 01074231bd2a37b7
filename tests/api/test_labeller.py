"""Naming pixels: the predictor, how its checkpoints are recognised, and `segue segment --labels`."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

import segue as package
from segue.api import Labeller, NamedMap, load_labeller
from segue.api.labeller import GENERAL, changed_card
from segue.data.images import read_index
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import sized_for, train_tokenizer
from segue.methods.cocu.inference import PROTOCOLS, EvalProtocol, embed_names
from segue.types import InputError

LABELS = 'dog, grass, "chair, folding"'
WORDS = ["a photo of a dog on the grass.", "a folding chair, under the sky", "café 犬"]


@pytest.fixture(scope="module")
def groupvit(tmp_path_factory):
    """A tiny GroupViT on disk, which uses the card of the scenes."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS)
    config = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_groupvit(GroupViT(sized_for(config, tokenizer), tokenizer), folder, about={"card": "scenes"})
    return folder


def test_load_recognises_a_folder_of_ours_and_of_transformers(groupvit, tmp_path):
    assert isinstance(package.load(groupvit), Labeller)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        (theirs / name).write_bytes((groupvit / name).read_bytes())
    config = json.loads((groupvit / "config.json").read_text())
    del config["method"], config["segue"]
    (theirs / "config.json").write_text(json.dumps(config))
    assert isinstance(package.load(theirs), Labeller)
    assert package.load(theirs).card == EvalProtocol(448, 448, 224)
    assert package.load(groupvit).card == PROTOCOLS["scenes"]


def test_segment_names_every_pixel_of_the_pictures_own_grid(groupvit, picture):
    model = load_labeller(groupvit)
    found = model.segment(picture, ["dog", "grass", "sky"], card=EvalProtocol(32, 32, 16))
    assert isinstance(found, NamedMap)
    assert found.index.shape == found.scores.shape == (40, 56)
    assert set(np.unique(found.index)) <= {0, 1, 2}
    same = model.segment(np.asarray(Image.open(picture)), "dog, grass, sky", card=EvalProtocol(32, 32, 16))
    np.testing.assert_array_equal(same.index, found.index)


def test_background_overrides_the_cards_threshold(groupvit, picture):
    model = load_labeller(groupvit)
    plain = model.segment(picture, ["dog", "grass"], card=EvalProtocol(32, 32, 16, 0.999), background=0)
    cut = float(np.median(plain.scores))
    found = model.segment(picture, ["dog", "grass"], card=EvalProtocol(32, 32, 16, 0.999), background=cut)
    assert not (plain.index == plain.background).any()
    np.testing.assert_array_equal(found.index == found.background, plain.scores < cut)


def test_other_labels_of_the_same_model_are_embedded_anew(groupvit, picture):
    model = load_labeller(groupvit)
    first = model.segment(picture, ["dog", "grass"])
    model.segment(picture, ["sky", "chair"])
    np.testing.assert_array_equal(model.segment(picture, ["dog", "grass"]).scores, first.scores)
    turned = model.segment(picture, ["grass", "dog"])
    np.testing.assert_array_equal(turned.index, 1 - first.index)


@pytest.mark.parametrize(
    ("labels", "options", "match"),
    [
        (["dog"], {}, "expected two or more"),
        (["dog", "zebra"], {}, "'zebra' means nothing to this model"),
        (["dog", "dog"], {}, "'dog' is there twice"),
        (["dog", "sky"], {"card": "vok"}, "protocol 'vok': expected one of voc, coco-object"),
        (["dog", "sky"], {"background": 1.5}, "background: got 1.5"),
    ],
)
def test_what_can_not_be_segmented(groupvit, picture, labels, options, match):
    with pytest.raises(InputError, match=match):
        load_labeller(groupvit).segment(picture, labels, **options)


def test_a_model_that_reads_notes_takes_no_labels(tiny_model):
    with pytest.raises(InputError, match="method 'reclmis', which doesn't take labels"):
        load_labeller(tiny_model)


def test_the_command_writes_map_and_overlay(segue, groupvit, picture, tmp_path):
    out = tmp_path / "out" / "map.png"
    args = ("--labels", LABELS, "--model", groupvit, "-o", out, "--json", "--background", 0.34)
    status, told, error = segue("segment", picture, *args)
    assert status == 0, error
    answer, index = json.loads(told), read_index(out)
    assert index.shape == (40, 56)
    names = {one["name"]: one for one in answer["classes"]}
    assert list(names)[:3] == ["dog", "grass", "chair, folding"]
    for one in names.values():
        assert one["area"] == int((index == one["value"]).sum())
        assert one["score"] is None or 0 <= one["score"] <= 1
    assert sum(one["area"] for one in names.values()) == index.size
    assert answer["card"]["threshold"] == 0.34
    assert Image.open(out).mode == "P"
    assert Image.open(answer["overlay"]).height > 40  # magnified, with a legend below


def test_the_command_takes_a_folder_and_unicode(segue, groupvit, picture, tmp_path):
    (picture.parent / "broken.png").write_bytes(b"")
    out = tmp_path / "maps"
    status, told, error = segue("segment", picture.parent, "--labels", "café, 犬", "--model", groupvit, "-o", out)
    assert status == 2
    assert "1 of 2 pictures could not be read" in error
    assert (out / "scan.png").exists()
    assert "scan.png" in told
    assert "café" in told or "犬" in told


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("--labels", "dog, sky", "--note", "x"), "--note and --labels exclude each other"),
        (("--labels", "dog, sky", "--explain"), "--explain goes with notes"),
        (("--note", "x", "--card", "voc"), "--card goes with --labels"),
        (("--note", "x", "--top-k", 0), "--top-k goes with --labels"),
        (("--note", "x", "--hard"), "--hard goes with --labels"),
        (("--labels", "dog, sky", "--prompt", "a photo"), "prompt: got 'a photo', expected one {} where the name goes"),
        (("--labels", "dog, sky", "--top-k", -1), "top_k: got -1, expected 1 or more, or none (--top-k 0) for all"),
        (("--labels", "dog,,sky"), "name 2 of 3 is empty"),
        (("--labels", "dog, zebra"), "'zebra' means nothing"),
        (("--labels", "dog, sky", "--card", "vok"), "protocol 'vok'"),
        (("--labels", "dog, sky", "-o", "map.jpg"), "written as .png"),
        (("--labels", ", ".join(f"n{i}" for i in range(256))), "at most 255"),
    ],
)
def test_bad_requests_are_told_in_one_line(segue, groupvit, picture, args, match):
    status, _, error = segue("segment", picture, "--model", groupvit, *args)
    assert status == 2
    assert match in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ((), {}),
        (("--hard",), {"soft": False}),
        (("--prompt", "the {} under"), {"prompt": "the {} under"}),
        (("--top-k", 2), {"top_k": 2}),
        (("--card", "small", "--top-k", 1, "--hard"), {"top_k": 1, "soft": False}),
    ],
)
def test_the_command_changes_the_card(segue, groupvit, picture, tmp_path, args, values):
    card = replace(PROTOCOLS["small" if "--card" in args else "scenes"], **values)
    status, told, error = segue("segment", picture, "--labels", LABELS, "--model", groupvit, "--json", *args)
    assert status == 0, error
    answer = json.loads(told)
    assert answer["card"] == asdict(card)
    expected = load_labeller(groupvit).segment(picture, LABELS, card=card)
    np.testing.assert_array_equal(read_index(tmp_path / answer["map"]), expected.index)
    assert [one["closeness"] for one in answer["classes"]] == [round(float(v), 4) for v in expected.picture]
    plain = load_labeller(groupvit).segment(picture, LABELS)
    assert bool(values) == (not np.array_equal(expected.scores, plain.scores))


def test_all_names_may_be_asked_of_a_hub_model(groupvit):
    assert changed_card(GENERAL).top_k == 5
    assert changed_card(GENERAL, top_k=0) == replace(GENERAL, top_k=None)


def test_braces_around_the_names_place_are_kept(groupvit):
    """A prompt is a plain text with one {}, whatever else Python's formats could mean by it."""
    model = load_labeller(groupvit).model
    torch.testing.assert_close(embed_names(model, ["dog"], "{{}} {x}"), embed_names(model, ["{dog} {x}"], "{}"))


def test_without_a_model_the_bundled_one_names(segue, picture):
    status, told, error = segue("segment", picture, "--labels", "dog, sky", "--json")
    assert status == 0, error
    assert json.loads(told)["card"] == asdict(PROTOCOLS["small"])
