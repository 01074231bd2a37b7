"""Open-vocabulary segmentation: the predictor, its options, and how its checkpoints are recognised."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import segue as package
from groupvit_folder import write_groupvit
from segue.api.open_vocabulary import DEFAULT_PROTOCOL, LabelMap, OpenVocabularySegmenter, load_open_vocabulary
from segue.methods.cocu.inference import embed_names
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.options import LabelOptions
from segue.types import InputError


@pytest.fixture(scope="module")
def groupvit(tmp_path_factory):
    return write_groupvit(tmp_path_factory.mktemp("models") / "tiny")


def test_load_recognises_a_folder_of_ours_and_of_transformers(groupvit, tmp_path):
    assert isinstance(package.load(groupvit), OpenVocabularySegmenter)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        (theirs / name).write_bytes((groupvit / name).read_bytes())
    config = json.loads((groupvit / "config.json").read_text())
    del config["method"], config["segue"]
    (theirs / "config.json").write_text(json.dumps(config))
    assert isinstance(package.load(theirs), OpenVocabularySegmenter)
    assert package.load(theirs).protocol == EvalProtocol(448, 448, 224)
    assert package.load(groupvit).protocol == PROTOCOLS["scenes"]


def test_a_predictor_knows_its_folder(groupvit):
    assert load_open_vocabulary(groupvit).folder == groupvit
    assert OpenVocabularySegmenter(load_open_vocabulary(groupvit).model).folder is None


def test_segment_names_every_pixel_of_the_pictures_own_grid(groupvit, picture):
    model = load_open_vocabulary(groupvit)
    model.protocol = EvalProtocol(32, 32, 16)
    found = model.segment(picture, ["dog", "grass", "sky"])
    assert isinstance(found, LabelMap)
    assert found.index.shape == found.scores.shape == (40, 56)
    assert set(np.unique(found.index)) <= {0, 1, 2}
    same = model.segment(np.asarray(Image.open(picture)), "dog, grass, sky")
    np.testing.assert_array_equal(same.index, found.index)


def test_background_overrides_the_protocols_threshold(groupvit, picture):
    model = load_open_vocabulary(groupvit)
    model.protocol = EvalProtocol(32, 32, 16, 0.999)
    plain = model.segment(picture, ["dog", "grass"], options=LabelOptions(background=0))
    cut = float(np.median(plain.scores))
    found = model.segment(picture, ["dog", "grass"], options=LabelOptions(background=cut))
    assert not (plain.index == plain.background).any()
    np.testing.assert_array_equal(found.index == found.background, plain.scores < cut)


def test_other_labels_of_the_same_model_are_embedded_anew(groupvit, picture):
    model = load_open_vocabulary(groupvit)
    first = model.segment(picture, ["dog", "grass"])
    model.segment(picture, ["sky", "chair"])
    np.testing.assert_array_equal(model.segment(picture, ["dog", "grass"]).scores, first.scores)
    turned = model.segment(picture, ["grass", "dog"])
    np.testing.assert_array_equal(turned.index, 1 - first.index)


def test_the_same_labels_are_embedded_once(groupvit, picture, monkeypatch):
    model = load_open_vocabulary(groupvit)
    model.segment(picture, ["dog", "grass"])
    monkeypatch.setattr(model.model, "embed_texts", None)
    assert model.segment(picture, "dog, grass").names == ("dog", "grass")
    with pytest.raises(TypeError):  # another prompt is another text
        model.segment(picture, ["dog", "grass"], options=LabelOptions(prompt="a {}"))


@pytest.mark.parametrize(
    ("labels", "options", "match"),
    [
        (["dog"], {}, "expected two or more"),
        (["dog", "zebra"], {}, "'zebra' means nothing to this model"),
        (["dog", "dog"], {}, "'dog' is there twice"),
        (["dog", "sky"], {"protocol": "vok"}, "protocol 'vok': expected one of voc, coco-object"),
        (["dog", "sky"], {"background": 1.5}, "background: got 1.5"),
    ],
)
def test_what_can_not_be_segmented(groupvit, picture, labels, options, match):
    with pytest.raises(InputError, match=match):
        load_open_vocabulary(groupvit).segment(picture, labels, options=LabelOptions(**options))


def test_a_model_that_reads_notes_takes_no_labels(tiny_model):
    with pytest.raises(InputError, match="method 'reclmis', which doesn't take labels"):
        load_open_vocabulary(tiny_model)


def test_all_names_may_be_asked_of_a_hub_model(groupvit):
    model = OpenVocabularySegmenter(load_open_vocabulary(groupvit).model)
    assert model.chosen_protocol(LabelOptions()).top_k == 5
    assert model.chosen_protocol(LabelOptions(top_k=0)) == replace(DEFAULT_PROTOCOL, top_k=None)


def test_braces_around_the_names_place_are_kept(groupvit):
    """A prompt is a plain text with one {}, whatever else Python's formats could mean by it."""
    model = load_open_vocabulary(groupvit).model
    torch.testing.assert_close(embed_names(model, ["dog"], "{{}} {x}"), embed_names(model, ["{dog} {x}"], "{}"))
