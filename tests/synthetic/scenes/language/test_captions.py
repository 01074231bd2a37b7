import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.synthetic.scenes.language.captions import (
    MIN_VISIBLE_SHARE,
    caption_scene,
    describable_attributes,
    scene_relations,
)
from segue.synthetic.scenes.language.parser import parse, scene_from_caption
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_scene
from segue.types import InputError
from synthetic.scenes.scene_truth import shows

SEEDS = st.integers(0, 10**6)
DOMAINS = st.sampled_from("ab")


def captioned(seed, domain="a"):
    """A scene, the share of the picture that each segment has, and five captions."""
    scene = sample_scene(seed, domain)
    segments = render(scene, 64, "photo").segments
    share = np.bincount(segments.ravel(), minlength=len(scene.stuff) + len(scene.things)) / segments.size
    return scene, share, caption_scene(scene, share, seed, domain=domain)


def in_view(scene, share):
    return [k for k in range(len(scene.things)) if share[len(scene.stuff) + k] >= MIN_VISIBLE_SHARE]


MANY = {domain: [captioned(seed, domain) for seed in range(80)] for domain in "ab"}
TEXTS = {domain: [t.text for _, _, captions in scenes for t in captions] for domain, scenes in MANY.items()}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SEEDS, DOMAINS)
def test_what_is_said_is_so(seed, domain):
    scene, share, captions = captioned(seed, domain)
    for one in captions:
        assert shows(scene, parse(one.text), in_view(scene, share)), one.text


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS, DOMAINS)
def test_every_caption_is_drawn_as_it_says_and_with_nothing_else(seed, domain):
    for one in captioned(seed, domain)[2][:2]:
        request, drawn = parse(one.text), scene_from_caption(one.text, seed)
        assert shows(drawn, request), one.text
        fewest, most = (sum(wanted.count[end] for wanted in request.things) for end in (0, 1))
        assert fewest <= len(drawn.things) <= most


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SEEDS, DOMAINS)
def test_said_and_left_out_are_all_that_is_to_be_seen(seed, domain):
    scene, share, captions = captioned(seed, domain)
    m, things = len(scene.stuff), in_view(scene, share)
    stuff = [k for k in range(m) if share[k] >= MIN_VISIBLE_SHARE]
    for one in captions:
        named = {k for phrase in one.phrases for k in phrase.segments}
        left = one.omissions
        assert {*left.things, *left.stuff}.isdisjoint(named)
        assert {*left.things, *left.stuff} | named == {*stuff, *(m + k for k in things)}
        seen = {*stuff, *(m + k for k in things)}
        assert set(left.relations) <= {f for f in scene_relations(scene) if f[0] in seen and f[2] in seen}
        assert all(what in describable_attributes(scene, k - m) for k, what in left.attributes)
        for k in left.things:
            assert {(k, what) for what in describable_attributes(scene, k - m)} <= set(left.attributes)


def test_a_colour_that_is_said_is_not_left_out_and_the_other_way_round():
    for scene, share, captions in MANY["a"]:
        m = len(scene.stuff)
        for one in captions:
            said = {w.colour for w in parse(one.text).things if w.colour}
            left = {k for k, what in one.omissions.attributes if what == "colour"}
            assert said == {scene.things[k].colour for k in in_view(scene, share) if m + k not in left}


def test_phrases_point_to_their_words():
    for scene, _, captions in MANY["a"] + MANY["b"]:
        for one in captions:
            for phrase in one.phrases:
                words = one.text[phrase.start : phrase.end]
                assert words == words.strip(" ,.")
                request = parse(words)
                kinds = {(*scene.stuff, *scene.things)[k].kind for k in phrase.segments}
                assert kinds <= {k for w in request.things for k in w.kinds} | set(request.stuff)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_captions_read_like_english(domain):
    for text in TEXTS[domain]:
        words = re.findall(r"[A-Za-z]+", text)
        assert 5 <= len(words) <= 18
        low = text.lower()
        assert not re.search(r"\b(\w+) \1\b", low), text
        assert not re.search(r"\ba [aeiou]", low), text
        assert not re.search(r"\ban [^aeiou]", low), text
        assert not re.search(r"\b(a|an|the|and|with|is|are|of)[.,]?$", low), text
        assert not re.search(r"\b(there are|are) (a|an) (?!couple|pair|number)|\bthere is (two|three|some)", low), text
        assert low.count("the grass") < 2
        assert "  " not in text
        assert " ," not in text
        assert " ." not in text


def test_captions_of_a_scene_differ_and_come_again():
    distinct = [len({t.text for t in captions}) for _, _, captions in MANY["a"]]
    assert all(len(captions) == 5 for _, _, captions in MANY["a"])
    assert np.mean(distinct) > 4.9
    scene, share, captions = MANY["a"][3]
    assert caption_scene(scene, share, 3) == captions
    assert caption_scene(scene, share, 4) != captions


def test_what_is_often_there_is_not_often_mentioned():
    there, named = Counter(), Counter()
    for scene, share, captions in MANY["a"]:
        kinds = [s.kind for s in scene.stuff] + [t.kind for t in scene.things]
        seen = [k for k in range(len(kinds)) if share[k] >= MIN_VISIBLE_SHARE]
        for one in captions:
            left = {*one.omissions.things, *one.omissions.stuff}
            there.update({kinds[k] for k in seen})
            named.update({kinds[k] for k in seen if k not in left})
    rate = {k: named[k] / there[k] for k in there}
    assert there["tree"] > there["horse"]
    assert rate["tree"] < 0.35 < 0.5 < rate["horse"]
    assert rate["wall"] < 0.3


def test_the_domains_have_words_of_their_own():
    words = {w: {word for text in TEXTS[w] for word in re.findall(r"[a-z]+", text.lower())} for w in "ab"}
    assert len(words["a"]) > 120
    assert len(words["b"] - words["a"]) > 60
    assert len(words["a"] & words["b"]) > 60


def test_an_unknown_domain():
    scene, share, _ = MANY["a"][0]
    with pytest.raises(InputError, match="got 'c', expected one of a, b"):
        caption_scene(scene, share, 0, domain="c")
