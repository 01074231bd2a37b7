import numpy as np
import pytest

from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.quality import (
    FEATURES,
    QualityGate,
    caption_features,
    find_contradictions,
    names_something,
)
from segue.metrics.acceptance import fit_acceptance

LEXICON = Lexicon(
    ("a", "dog", "dogs", "cat", "people"),
    ("dog", "cat", "man", "woman"),
    nouns=(("cat", "cat"), ("dog", "dog"), ("dogs", "dog"), ("man", "man"), ("people", "man", "woman")),
)
BOXES = np.array([[0, 0, 4, 4], [10, 0, 4, 4], [20, 10, 4, 8]], np.float32)
GRAPH = SceneGraph(("Dog", "dog", "man"), BOXES, (), (32, 32))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog next to a man", ()),
        ("two dogs and a man", ()),
        ("people with a dog", ()),
        ("a zebra", ()),  # no class of the lexicon
        ("a cat on a dog", ("no cat",)),
        ("three dogs running", ("2, not three, dogs",)),
        ("two people", ("1, not two, people",)),
        ("two red balls and a dog", ()),
        ("a dog to the left of a man", ()),
        ("a dog left of a dog", ()),
        ("a dog to the right of a man", ("dog right of man",)),
        ("a man above a dog", ("man above dog",)),
        ("a man below a dog", ()),
        ("a cat left of a dog", ("no cat",)),  # once is enough
        ("", ()),
    ],
)
def test_captions_against_their_graph(caption, expected):
    assert find_contradictions(caption, GRAPH, LEXICON) == expected


def test_a_lexicon_without_nouns_knows_the_names_of_its_classes():
    lexicon = Lexicon(("a",), ("person", "dog"))
    assert lexicon.classes_of("puppies") == {"dog"}
    assert lexicon.classes_of("woman") == {"person"}
    assert lexicon.classes_of("parked") == frozenset()
    assert {"dog", "puppy", "woman"} <= set(lexicon.noun_words)
    assert LEXICON.noun_words == ("dog",)


def test_sensible_captions_come_first_without_a_fit():
    gate = QualityGate(GRAPH, LEXICON, None)
    sound, broken, false = "a dog next to a man", "a dog dog", "a dog next to a cat"
    assert gate.score(sound, -0.7, -0.1) == pytest.approx(np.exp(-0.8))
    assert gate.score(sound, -2.0, 0.0) > gate.score(broken, -0.5, 0.0)
    assert gate.score(sound, -2.0, 0.0) > gate.score(false, -0.5, 0.0)


def test_a_fitted_score_is_the_share_that_is_accepted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, len(FEATURES))) * [1, 2, 1, 1, 0, 3] + 1  # one of them tells nothing
    truth = 0.5 + features @ [1.0, -0.5, 0.0, -1.0, 0.0, 0.2]
    accepted = rng.random(4000) < 1 / (1 + np.exp(-truth))
    fit = fit_acceptance(features, accepted)
    p = 1 / (1 + np.exp(-np.array([fit.logit(row) for row in features])))
    for low in (0.1, 0.4, 0.7):
        some = (p > low) & (p < low + 0.2)
        assert accepted[some].mean() == pytest.approx(p[some].mean(), abs=0.05)
    gate = QualityGate(GRAPH, LEXICON, fit)
    given = caption_features("a dog dog", -1.0, -2.0, GRAPH, LEXICON)
    assert given == (-1.0, -2.0, 1.0, 1.0, 0.0, 0.3)
    assert gate.score("a dog dog", -1.0, -2.0) == pytest.approx(1 / (1 + np.exp(-fit.logit(given))))
    assert gate.value("a dog dog", -1.0, -2.0) == pytest.approx(fit.logit(given))


def test_phrases_that_name_something():
    assert names_something(["a", "red", "ball"])
    assert not names_something(["a", "parked"])
