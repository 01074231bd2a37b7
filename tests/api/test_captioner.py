"""The captioner's predictor: batches, objects, other support sets, and pairs that do not fit."""

import json
import shutil

import numpy as np
import pytest
import torch

import segue
from segue.data.tokenizer import CaptionTokenizer
from segue.methods import syntic
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import Support, SynticConfig, build_syntic, system_config
from segue.options import Decoding
from segue.synthetic.scenes.language.parser import text_to_image
from segue.types import InputError, Region
from tiny_pair import CAPTIONS, tiny_pair

SHORT = Decoding(max_tokens=6)


def made(folder, pair_folder, system="full"):
    """An untrained captioner on disk, with the pair's own features of CAPTIONS as its support set."""
    torch.manual_seed(0)
    pair, words = load_dual_encoder(pair_folder), CaptionTokenizer.learn(CAPTIONS * 2, size=300)
    config = system_config(SynticConfig(width=16, layers=1, heads=2, max_tokens=8), system)
    model = build_syntic(config, vocabulary=len(words), pair_width=pair.width, end=words.end, silent=words.silent)
    for p in model.parameters():  # else the prefix hardly counts
        torch.nn.init.normal_(p, std=0.2)
    about = {"width": pair.width, "fingerprint": pair.fingerprint, "name": str(pair_folder)}
    support = Support(pair.embed_texts(CAPTIONS).numpy(), CAPTIONS)
    syntic.save_captioner(syntic.Captioner(model, words, about, support, names=["car", "dog", "sheep"]), folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    tiny_pair(folder / "pair")
    tiny_pair(folder / "wider", width=24)
    tiny_pair(folder / "other", seed=1)
    made(folder / "model", folder / "pair")
    return folder


@pytest.fixture(scope="module")
def captioner(home):
    return segue.load(home / "model")


@pytest.fixture(scope="module")
def pictures():
    return text_to_image(CAPTIONS, size=64)


def test_batches_answer_like_single_pictures_and_keep_their_order(captioner, pictures):
    many = list(captioner.caption_many(iter(pictures), num=2, options=SHORT))
    captioner.batch_size, before = 3, captioner.batch_size
    parts = list(captioner.caption_many(pictures, num=2, options=SHORT))
    captioner.batch_size = before
    ones = [captioner.caption(picture, num=2, options=SHORT) for picture in pictures]
    assert [[c.text for c in one] for one in many] == [[c.text for c in one] for one in ones]
    assert [[c.text for c in one] for one in parts] == [[c.text for c in one] for one in ones]
    assert [c.score for c in many[0]] == pytest.approx([c.score for c in ones[0]], abs=1e-5)


def test_five_captions_are_five_and_sorted(captioner, pictures):
    found = captioner.caption(pictures[0], num=5, options=SHORT)
    assert len({c.text for c in found}) == 5
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    assert all(0 < c.score <= 1 for c in found)


def test_objects_may_be_given_as_names_or_regions_and_count(captioner, pictures):
    def say(objects):
        return captioner.caption(pictures[0], objects=objects, options=SHORT)

    region = Region("horse", (1, 2, 3, 4))
    assert say(["horse", "kite"]) == say([region, "kite", "horse"])
    assert len({say(o)[0] for o in (["horse"], ["kite"], [])}) == 3
    with pytest.raises(InputError, match="objects: got 7, expected names such as 'dog'"):
        say([7])
    with pytest.raises(InputError, match="objects: got 1 lists for 2 pictures"):
        captioner.caption_features(torch.ones(2, 16), objects=[["dog"]])


def test_another_support_set_changes_the_captions_and_is_retrieved_from(home, captioner, pictures, tmp_path):
    file = tmp_path / "domain.txt"
    file.write_text("a boat on the water\na boat on the water\na bus in the snow\n")
    for support in (file, str(file), ["a boat on the water", "a bus in the snow"]):
        other = segue.load(home / "model", support=support)
        assert other.trained.support.captions == ["a boat on the water", "a bus in the snow"]
        assert {c.text for c in other.caption(pictures[0], num=2, retrieve=True)} == set(other.trained.support.captions)
        assert other.caption(pictures[0], options=SHORT) != captioner.caption(pictures[0], options=SHORT)
    with pytest.raises(InputError, match="no caption in it"):
        captioner.with_support(_empty(tmp_path))


def _empty(folder):
    (folder / "empty.txt").write_text("\n")
    return folder / "empty.txt"


def test_retrieval_gives_the_nearest_captions_with_their_cosines(captioner):
    t = captioner.pair.embed_texts(CAPTIONS)
    found = captioner.caption_features(t, 2, retrieve=True)
    assert [one[0].text for one in found] == CAPTIONS
    assert [one[0].score for one in found] == pytest.approx([1.0] * 4, abs=1e-3)
    assert found[0][1].score == pytest.approx(float(np.sort(t[0] @ t.T)[-2]), abs=1e-3)


def test_a_pair_that_moved_is_named_and_one_that_does_not_fit_is_refused(home, tmp_path):
    shutil.copytree(home / "pair", tmp_path / "moved")
    shutil.copytree(home / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["pair"]["name"] = str(tmp_path / "gone")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model: pair '.*gone': neither a folder.*--pair FOLDER"):
        segue.load(tmp_path / "model")
    assert segue.load(tmp_path / "model", pair=tmp_path / "moved").pair.width == 16
    with pytest.raises(InputError, match="pair: its features have 24 columns, this captioner reads 16"):
        segue.load(home / "model", pair=home / "wider")
    with pytest.raises(InputError, match="pair: its fingerprint is"):
        segue.load(home / "model", pair=home / "other")


def test_bad_pictures_and_numbers_are_refused(captioner, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png: can't be read as a picture"):
        captioner.caption(tmp_path / "text.png")
    with pytest.raises(InputError, match="num: got 0"):
        captioner.caption_features(torch.ones(1, 16), 0)


def test_without_a_support_set_retrieval_is_refused(home, captioner, pictures):
    plain = captioner.with_support(["a dog"])
    plain.trained.support = None
    with pytest.raises(InputError, match="retrieval: this captioner holds no support set"):
        plain.caption(pictures[0], retrieve=True)
