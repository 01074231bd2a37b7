"""The captioner's predictor: batches, objects, other support sets, and dual encoders that do not fit."""

import json
import shutil
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import segue
from segue.api.captioner import Captioner, load_captioner
from segue.data.english import word_spans
from segue.data.tokenizer import CaptionTokenizer
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import (
    SupportSet,
    SynticCheckpoint,
    SynticConfig,
    build_syntic,
    load_syntic,
    save_syntic,
    system_config,
)
from segue.metrics.acceptance import Acceptance
from segue.options import Decoding
from segue.synthetic.scenes.language.parser import text_to_image
from segue.types import InputError, Region
from tiny_dual_encoder import CAPTIONS, tiny_dual_encoder

SHORT = Decoding(max_tokens=6)


def made(folder, encoder_folder, system="full"):
    """An untrained captioner on disk, with the dual encoder's own features of CAPTIONS as its support set."""
    torch.manual_seed(0)
    encoder, words = load_dual_encoder(encoder_folder), CaptionTokenizer.learn(CAPTIONS * 2, size=300)
    config = system_config(SynticConfig(width=16, layers=1, heads=2, max_tokens=8), system)
    model = build_syntic(
        config,
        vocabulary=len(words),
        encoder_width=encoder.width,
        end=words.end,
        suppressed_token_ids=words.suppressed_token_ids,
    )
    for p in model.parameters():  # else the prefix hardly counts
        torch.nn.init.normal_(p, std=0.2)
    about = {"width": encoder.width, "fingerprint": encoder.fingerprint, "name": str(encoder_folder)}
    support = SupportSet(encoder.embed_texts(CAPTIONS).numpy(), CAPTIONS)
    save_syntic(SynticCheckpoint(model, words, about, support, object_names=["car", "dog", "sheep"]), folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    tiny_dual_encoder(folder / "pair")
    tiny_dual_encoder(folder / "wider", width=24)
    tiny_dual_encoder(folder / "other", seed=1)
    made(folder / "model", folder / "pair")
    return folder


@pytest.fixture(scope="module")
def captioner(home):
    return segue.load(home / "model")


@pytest.fixture(scope="module")
def pictures():
    return text_to_image(CAPTIONS, size=64)


def test_batches_answer_like_single_pictures_and_keep_their_order(captioner, pictures):
    many = list(captioner.caption_many(iter(pictures), options=replace(SHORT, num=2)))
    captioner.batch_size, before = 3, captioner.batch_size
    parts = list(captioner.caption_many(pictures, options=replace(SHORT, num=2)))
    captioner.batch_size = before
    ones = [captioner.caption(picture, options=replace(SHORT, num=2)) for picture in pictures]
    assert [[c.text for c in one] for one in many] == [[c.text for c in one] for one in ones]
    assert [[c.text for c in one] for one in parts] == [[c.text for c in one] for one in ones]
    assert [c.likelihood for c in many[0]] == pytest.approx([c.likelihood for c in ones[0]], abs=1e-5)


def test_five_captions_are_five_and_sorted(captioner, pictures):
    found = captioner.caption(pictures[0], options=replace(SHORT, num=5))
    assert len({c.text for c in found}) == 5
    assert [c.likelihood for c in found] == sorted((c.likelihood for c in found), reverse=True)
    assert all(0 < c.likelihood <= 1 and c.score is None for c in found)


def test_captions_that_agree_with_the_nearest_come_first_where_the_model_says_so(captioner, pictures):
    """Of the ten likeliest; not when sampled, and not without reranking."""
    v, eight = captioner.encoder.embed_images(pictures), replace(SHORT, num=8)
    likeliest = captioner.caption_features(v, options=eight)
    said = [
        some[i].text for some in likeliest[:2] for i in (1, 2)
    ]  # no word of the usual support set is in an untrained caption
    captioner = captioner.with_support(SupportSet(captioner.checkpoint.support.features, said))
    ranking = copy(captioner)
    ranking.checkpoint = replace(captioner.checkpoint, consensus=1000.0)
    found = ranking.caption_features(v, options=eight)
    agreement = captioner.agreement(v, [[one.text for one in some] for some in found])
    assert all(each == sorted(each, reverse=True) for each in agreement)
    assert len({x for each in agreement for x in each}) > 1  # else nothing is ranked
    assert [{one.text for one in some} for some in found] == [{one.text for one in some} for some in likeliest]
    assert all(len(some) == 3 for some in ranking.caption_features(v, options=replace(SHORT, num=3)))
    assert ranking.caption_features(v, options=SHORT, rerank=False) == captioner.caption_features(v, options=SHORT)
    sampled = replace(SHORT, top_p=0.9, num=2)
    assert ranking.caption_features(v, options=sampled) == captioner.caption_features(v, options=sampled)
    assert ranking.caption_features(v[:1], options=SHORT) == ranking.caption_features(v, options=SHORT)[:1]
    other = ranking.with_support(SupportSet(captioner.checkpoint.support.features))
    with pytest.raises(InputError, match="support set holds no captions; pass rerank=False"):
        other.caption_features(v)


def test_a_score_is_the_fitted_probability_that_people_accept_the_caption(captioner, pictures):
    fitted = copy(captioner)
    fitted.checkpoint = replace(captioner.checkpoint, acceptance=Acceptance((1.0, 2.0, -0.5), 0.25))
    for picture in pictures[:2]:
        v = captioner.encoder.embed_images([picture])[0]
        found = (each.caption(picture, options=replace(SHORT, num=2)) for each in (captioner, fitted))
        for plain, one in zip(*found, strict=True):
            cosine = 0.0
            if any(map(str.isalnum, one.text)):
                t = captioner.encoder.embed_texts([one.text])[0]
                cosine = float(v @ t / v.norm() / t.norm())
            logit = 0.25 + np.log(plain.likelihood) + 2 * cosine - 0.5 * len(one.text.split())
            assert (one.text, one.likelihood) == (plain.text, plain.likelihood)
            assert one.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
            assert set(one.to_dict()) == {"text", "score", "likelihood"}


def test_a_words_probability_falls_only_where_the_picture_is_covered(captioner):
    picture = np.full((60, 90, 3), 90, np.uint8)
    picture[2:6, 80:86] = 120  # of the mean colour by less than a rounding
    caption = CAPTIONS[0]
    (words,) = captioner.attribute_words(picture, [caption])
    _, end = captioner.checkpoint.tokenizer.spans(caption, 8)[-1]
    read = [word for word, start, _ in word_spans(caption) if start < end]
    assert [caption[one.start : one.end].lower() for one in words] == read
    moved = np.abs([one.falls for one in words]).max(0)
    assert moved[0, 5] > 0
    expected = np.zeros((6, 6))
    expected[:2, 4:] = 1  # the cells that are hidden together with the bright one
    np.testing.assert_array_equal(moved > 1e-6, expected > 0)
    plain = captioner.attribute_words(np.full((60, 90, 3), 90, np.uint8), [caption, caption])
    assert np.abs([one.falls for words in plain for one in words]).max() < 1e-5


def test_the_tokens_of_a_caption_have_their_places_and_probabilities(captioner, pictures):
    v, caption, model = captioner.encoder.embed_images(pictures[:2]), "a dog, a car", captioner.checkpoint.model
    objects = captioner._object_features(v, None)
    spans, logp = captioner.checkpoint.log_probabilities(v, caption, *objects)
    assert "".join(caption[a:b].strip() for a, b in spans) == "adog,acar"
    tokens = captioner.checkpoint.tokenizer.encode([caption] * 2, 8)[0][:, :-1]
    prefix = model.prefix(captioner.checkpoint.support.project(v), v, *objects)
    loss = model.decoder.loss(prefix, tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert logp.shape == tokens.shape == (2, len(spans))
    assert float(-logp.mean()) == pytest.approx(float(loss), abs=1e-5)


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


def test_objects_are_refused_where_the_model_reads_none(home, pictures, tmp_path):
    blind = load_captioner(made(tmp_path / "blind", home / "pair", "decap"))
    assert blind.caption(pictures[0], options=SHORT)
    with pytest.raises(InputError, match="objects: this captioner reads none"):
        blind.caption(pictures[0], objects=["dog"], options=SHORT)


def test_another_support_set_changes_the_captions_and_is_retrieved_from(home, captioner, pictures, tmp_path):
    file = tmp_path / "domain.txt"
    file.write_text("a boat on the water\na boat on the water\na bus in the snow\n")
    for support in (file, str(file), ["a boat on the water", "a bus in the snow"]):
        other = segue.load(home / "model", support=support)
        assert other.checkpoint.support.captions == ["a boat on the water", "a bus in the snow"]
        assert {c.text for c in other.caption(pictures[0], retrieve=True, options=Decoding(num=2))} == set(
            other.checkpoint.support.captions
        )
        assert other.caption(pictures[0], options=SHORT) != captioner.caption(pictures[0], options=SHORT)
    with pytest.raises(InputError, match="no caption in it"):
        captioner.with_support(_empty(tmp_path))


def _empty(folder):
    (folder / "empty.txt").write_text("\n")
    return folder / "empty.txt"


def test_retrieval_gives_the_nearest_captions_with_their_cosines(captioner):
    t = captioner.encoder.embed_texts(CAPTIONS)
    found = captioner.caption_features(t, retrieve=True, options=Decoding(num=2))
    assert [one[0].text for one in found] == CAPTIONS
    assert [one[0].cosine for one in found] == pytest.approx([1.0] * 4, abs=1e-3)
    assert found[0][1].cosine == pytest.approx(float(np.sort(t[0] @ t.T)[-2]), abs=1e-3)


def test_a_dual_encoder_that_moved_is_named_and_one_that_does_not_fit_is_refused(home, tmp_path):
    shutil.copytree(home / "pair", tmp_path / "moved")
    shutil.copytree(home / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["encoder"]["name"] = str(tmp_path / "gone")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model: dual encoder '.*gone': neither a folder.*--encoder FOLDER"):
        segue.load(tmp_path / "model")
    assert segue.load(tmp_path / "model", encoder=tmp_path / "moved").encoder.width == 16
    with pytest.raises(InputError, match="encoder: its features have 24 columns, this captioner reads 16"):
        segue.load(home / "model", encoder=home / "wider")
    with pytest.raises(InputError, match="encoder: its fingerprint is"):
        segue.load(home / "model", encoder=home / "other")


def test_bad_pictures_and_numbers_are_refused(captioner, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png: can't be read as a picture"):
        captioner.caption(tmp_path / "text.png")
    with pytest.raises(InputError, match="num: got 0"):
        captioner.caption_features(torch.ones(1, 16), options=Decoding(num=0))


def test_without_a_support_set_retrieval_is_refused(home, captioner, pictures):
    plain = captioner.with_support(["a dog"])
    plain.checkpoint.support = None
    with pytest.raises(InputError, match="retrieval: this captioner holds no support set"):
        plain.caption(pictures[0], retrieve=True)


def test_it_knows_the_folder_it_was_loaded_from_unless_it_was_changed(home, captioner):
    assert load_captioner(home / "model").folder == home / "model"
    assert captioner.with_support(["a dog"]).folder is None
    assert Captioner(load_syntic(home / "model"), captioner.encoder).folder is None
