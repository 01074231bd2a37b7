"""Segmentation by names: the names' rules, windows, thresholds, groups."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.cocu.groupvit.tiny_groupvit import CAPTIONS, make_model
from segue.methods.cocu import inference as zero
from segue.methods.cocu import protocols, windows
from segue.methods.cocu.inference import dense_scores, embed_names, parse_labels, segment, vocabulary_overlap
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.types import InputError

SMALL = EvalProtocol(32, 32, 16, top_k=None)
NAMES = ["dog", "grass", "sky"]


def model_of(**changes):
    return make_model(image_size=32, patch=8, logit_scale=3.0, **changes).eval()


def picture(height=40, width=56, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_labels_are_parsed():
    assert parse_labels("dog, grass,sky") == ["dog", "grass", "sky"]
    assert parse_labels('dog, "chair, folding" ,  traffic   light') == ["dog", "chair, folding", "traffic light"]
    assert parse_labels("café, 犬,\nсобака") == ["café", "犬", "собака"]
    assert parse_labels("cafe\u0301, x") == ["café", "x"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "got no name"),
        (" \n", "got no name"),
        ("dog,,sky", "name 2 of 3 is empty"),
        ("dog,", "name 2 of 2 is empty"),
        ("dog, Dog", "'Dog' is there twice"),
        ('dog, "chair, folding', "double quotes"),
        ('"dog" x, sky', "double quotes"),
    ],
)
def test_bad_labels_are_refused(text, match):
    with pytest.raises(InputError, match=match):
        parse_labels(text)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.from_regex(r"\A[^\W_]+( [^\W_]+|, [^\W_]+){0,2}\Z"), min_size=1, max_size=4, unique_by=str.casefold))
def test_quoted_labels_come_back(names):
    names = [zero.unicodedata.normalize("NFC", name) for name in names]
    if len({name.casefold() for name in names}) == len(names):
        assert parse_labels(", ".join(f'"{name}"' for name in names)) == names


def test_names_the_tokenizer_does_not_know():
    model = model_of()
    with pytest.raises(InputError, match="'zebra' means nothing to this model"):
        embed_names(model, ["dog", "zebra"])
    with pytest.raises(InputError, match="means nothing"):
        embed_names(model, ["dog", "犬"])
    with pytest.warns(UserWarning, match="'red zebra'.*all of its words"):
        embed_names(model, ["red zebra"])
    with pytest.raises(InputError, match="longer than the model's 12 tokens"):
        embed_names(model, ["dog " * 30])


def test_map_is_on_the_pictures_grid_and_scores_are_probabilities():
    found = segment(model_of(), picture(), NAMES, SMALL)
    assert found.index.shape == found.scores.shape == (40, 56)
    assert found.index.dtype == np.uint8
    assert set(np.unique(found.index)) <= {0, 1, 2}
    assert 1 / 3 - 1e-6 <= found.scores.min() <= found.scores.max() <= 1
    assert found.image_similarity.shape == (3,)


def test_threshold_leaves_background():
    plain = segment(model_of(), picture(), NAMES, SMALL)
    cut = float(np.median(plain.scores))
    found = segment(model_of(), picture(), NAMES, EvalProtocol(32, 32, 16, cut, None))
    assert found.background == 255
    np.testing.assert_array_equal(found.index == 255, plain.scores < cut)
    np.testing.assert_array_equal(found.index[found.index < 255], plain.index[plain.scores >= cut])


def test_one_window_is_the_formula():
    model, image = model_of(), picture(32, 32)
    text = embed_names(model, NAMES)
    scored, maps, cosine = dense_scores(model, image, text, SMALL)
    pixels = zero._preprocess(model, image, SMALL)[None]
    with torch.no_grad():
        vision = model.encode_image(pixels)
        share = vision.assignments[1][0] @ vision.assignments[0][0]  # (G, N)
        probability = (model.scale * model.embed_groups(vision)[0] @ text.T).softmax(-1)
        expected = (probability.T @ share).view(1, 3, 4, 4)
        torch.testing.assert_close(cosine, (model.embed_image(vision) @ text.T)[0])
    torch.testing.assert_close(maps, F.interpolate(expected, (32, 32), mode="bilinear")[0])
    assert scored.tolist() == [0, 1, 2]


def test_only_the_pictures_top_names_score():
    model = model_of()
    text = embed_names(model, NAMES)
    scored, maps, cosine = dense_scores(model, picture(), text, EvalProtocol(32, 32, 16, top_k=2))
    assert set(scored.tolist()) == set(cosine.topk(2).indices.tolist())
    assert maps.shape[0] == 2
    torch.testing.assert_close(maps.sum(0), torch.ones(maps.shape[1:]))  # shared out among them
    found = segment(model, picture(), NAMES, EvalProtocol(32, 32, 16, top_k=2))
    assert set(np.unique(found.index)) <= set(scored.tolist())


def test_hard_groups_give_other_scores_that_still_sum_to_one():
    model = model_of()
    text = embed_names(model, NAMES)
    soft = dense_scores(model, picture(), text, SMALL)[1]
    hard = dense_scores(model, picture(), text, EvalProtocol(32, 32, 16, top_k=None, rule="hard"))[1]
    torch.testing.assert_close(hard.sum(0), torch.ones(hard.shape[1:]))
    assert not torch.allclose(soft, hard)


def test_heat_maps_are_cosines_without_rivals():
    model = model_of()
    both = dense_scores(model, picture(), embed_names(model, NAMES), SMALL, cosines=True)[1]
    alone = dense_scores(model, picture(), embed_names(model, ["grass"]), SMALL, cosines=True)[1]
    torch.testing.assert_close(both[1], alone[0])
    assert both.abs().max() <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.data())
def test_windows_cover_everything_and_stay_inside(height, width, crop, data):
    stride = data.draw(st.integers(1, crop))
    corners = windows.window_corners(height, width, crop, stride)
    seen = np.zeros((height, width), bool)
    for top, left in corners:
        seen[top : top + crop, left : left + crop] = True
        assert top + min(crop, height) <= height
        assert left + min(crop, width) <= width
    assert seen.all()
    assert len(set(corners)) == len(corners)


def test_windows_of_a_constant_picture_agree(monkeypatch):
    model, grey = model_of(), np.full((32, 80, 3), 90, np.uint8)
    text = embed_names(model, NAMES)
    slid = dense_scores(model, grey, text, SMALL)[1]
    once = dense_scores(model, grey[:, :32], text, SMALL)[1]
    torch.testing.assert_close(slid[:, :, :16], once[:, :, :16], atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(windows, "WINDOW_BATCH", 1)
    torch.testing.assert_close(dense_scores(model, grey, text, SMALL)[1], slid, atol=1e-5, rtol=1e-4)


def test_one_name_alone_is_refused():
    with pytest.raises(InputError, match="'dog' alone, expected two or more"):
        segment(model_of(), picture(), ["dog"], SMALL)


def test_a_long_strip_is_refused_before_it_grows():
    with pytest.raises(InputError, match="got 4000x2 pixels, expected a longer side of at most 20 times the shorter"):
        segment(model_of(), picture(2, 4000), ["dog", "grass"], PROTOCOLS["small"])


def test_many_names_take_two_bytes():
    model = model_of()
    text = F.normalize(torch.randn(300, 16), dim=1)
    found = segment(model, picture(), [f"name {i}" for i in range(300)], EvalProtocol(32, 32, 16, 0.999), text)
    assert found.index.dtype == np.uint16
    assert found.background == 65535
    assert (found.index == 65535).any()


@pytest.mark.parametrize("rule", ["soft", "published"])
def test_thousands_of_names_are_scored_a_few_at_a_time(monkeypatch, rule):
    model, protocol = model_of(), EvalProtocol(32, 32, 16, None, None, rule)
    text = F.normalize(torch.randn(5000, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    names = [f"name {i}" for i in range(5000)]
    found = segment(model, picture(), names, protocol, text)
    assert found.index.dtype == np.uint16
    assert found.index.max() < 5000
    few = text[:100]
    at_once = segment(model, picture(), names[:100], protocol, few)
    monkeypatch.setattr(zero, "NAMES_AT_ONCE", 7)
    np.testing.assert_array_equal(segment(model, picture(), names[:100], protocol, few).index, at_once.index)


def test_names_that_differ_in_their_writing_alone_are_one():
    for names, match in (
        (["dog", "Dog"], "'Dog' is there twice, also as 'dog'"),
        (["café", "cafe\u0301"], "there twice"),
        (["traffic light", "traffic  light"], "there twice"),
        (["dog", "dog "], "there twice"),
        (["dog", "dog"], "'dog' is there twice; name each once"),
        (["dog", ""], "name 2 of 2 is empty"),
        ([], "got no name"),
    ):
        with pytest.raises(InputError, match=match):
            zero.check_names(names)


def test_protocols_are_the_published_ones():
    assert (PROTOCOLS["voc"].threshold, PROTOCOLS["context"].threshold, PROTOCOLS["imagenet-s-300"].threshold) == (
        0.95,
        0.35,
        0.75,
    )
    assert (PROTOCOLS["cityscapes"].short_side, PROTOCOLS["cityscapes"].crop, PROTOCOLS["cityscapes"].threshold) == (
        1024,
        448,
        None,
    )
    assert (PROTOCOLS["ade20k"].short_side, PROTOCOLS["ade20k"].crop, PROTOCOLS["ade20k"].stride) == (512, 224, 112)
    for values, match in (
        ((32, 32, 33), "stride no longer"),
        ((0, 1, 1), "expected 1 or more"),
        ((1, 1, 1, None, 0), "top_k"),
        ((1, 1, 1, None, 5, "soft", "a photo"), "one {} where the name goes"),
        ((1, 1, 1, None, 5, "loud"), "rule: got 'loud', expected one of published, soft, hard"),
    ):
        with pytest.raises(InputError, match=match):
            EvalProtocol(*values)


def test_overlap_with_the_vocabulary():
    assert vocabulary_overlap(["Dog", "sky", "sofa"], {"dog", "sky", "cat"}) == (2, ["sofa"])
    assert CAPTIONS


def test_unknown_protocols_are_refused_with_the_known_ones():
    assert protocols.find_protocol("voc") is PROTOCOLS["voc"]
    with pytest.raises(InputError, match="protocol 'vok': expected one of voc, coco-object"):
        protocols.find_protocol("vok")


def test_a_text_is_no_list_of_names():
    with pytest.raises(InputError, match="got one text 'dog, sky', expected a list of names"):
        zero.check_names("dog, sky")


def test_names_are_embedded_in_their_prompt_and_in_order():
    model = model_of()
    names = ["dog", "grass", "sky", "man"]
    alone = torch.cat([model.embed_texts([f"a photo of a {name}."]) for name in names]).detach()
    torch.testing.assert_close(embed_names(model, names), alone)
    many = [f"dog {'a ' * i}" for i in range(3)]
    assert embed_names(model, many).shape == (3, 16)


def test_windows_are_averaged_where_they_overlap():
    model, image = model_of(), picture(32, 48)
    text = embed_names(model, NAMES)
    both = dense_scores(model, image, text, SMALL)[1]
    left, right = (dense_scores(model, image[:, part], text, SMALL)[1] for part in (slice(32), slice(16, 48)))
    torch.testing.assert_close(both[:, :, :16], left[:, :, :16], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[:, :, 32:], right[:, :, 16:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[:, :, 16:32], (left[:, :, 16:] + right[:, :, :16]) / 2, atol=1e-5, rtol=1e-4)
