"""The table of archive scores: what is scored, and on which half."""

import numpy as np
import pytest

from segue.api.curation import CurationCorpus
from segue.lab.tables.archive_scores import (
    SCORES,
    Candidates,
    _calibration_error,
    _recovery,
    _truth_of_captions,
    _truth_of_scenes,
    archive_scores_table,
)
from segue.methods.cocu.vocabulary import Vocabulary
from segue.synthetic.scenes.language.omissions import NamedKinds
from segue.types import Picture

CAPTIONS = [("a dog", "grass"), ("a dog", "sky and grass"), ("a cat",), ("sky", "a cat on grass")]


def corpus():
    pictures = [Picture(f"{i}", lambda: None, captions=captions) for i, captions in enumerate(CAPTIONS)]
    return CurationCorpus(pictures, [c[:1] for c in CAPTIONS], Vocabulary(["dog", "cat", "grass", "sky"]))


def truth():
    return _truth_of_captions(corpus())


def test_concepts_of_the_first_caption_and_of_all():
    assert truth().named == [{0}, {0}, {1}, {3}]
    assert truth().shown == [{0, 2}, {0, 2, 3}, {1}, {1, 2, 3}]


def test_only_odd_rows_are_scored_and_only_the_best_three():
    row, concept = np.repeat([0, 1, 3], 4), np.tile(np.arange(4), 3)
    score = np.array([0.0, 0, 0, 0, 0.1, 0.9, 0.8, 0.7, 0.9, 0.8, 0.7, -np.inf])
    found = _recovery(truth(), row, concept, score)
    # row 1: cat, grass, sky of {grass, sky}; row 3: dog, cat, grass of {cat, grass}
    assert found["precision"] == pytest.approx(4 / 6)
    assert found["recall"] == 1


def scenes():
    words = ["dog", "hound", "car", "grass", "day"]
    pictures = [Picture(f"{i}.png", lambda: None, captions=("a dog",)) for i in (7, 8)]
    return CurationCorpus(pictures, [one.captions for one in pictures], Vocabulary(words))


def test_a_scene_s_concepts_count_by_their_kinds():
    omissions = {
        i: [NamedKinds(frozenset({"dog"}), frozenset({"car"} | more))] for i, more in ((7, set()), (8, {"grass"}))
    }
    found = _truth_of_scenes(scenes(), omissions)
    assert found.counted == ["dog", "dog", "car", "grass", None]
    assert found.named == [{0, 1}, {0, 1}]
    assert found.shown == [{0, 1, 2}, {0, 1, 2, 3}]
    row, concept = np.ones(5, int), np.arange(5)
    best = _recovery(found, row, concept, np.array([0.9, 0.8, 0.3, 0.2, 0.7]))  # dog and hound are one, day is nothing
    assert best["precision"] == 1
    assert best["recall"] == 1


def test_the_probability_is_fitted_on_even_rows():
    rng = np.random.default_rng(0)
    rows, z = rng.integers(0, 100, 4000), rng.normal(size=4000)
    right = rng.random(4000) < 1 / (1 + np.exp(-(z - 1)))
    support, named = rng.integers(1, 9, 4000), np.zeros(4000, bool)
    one = Candidates(rows, rows, support, z, z, named, right)
    other = Candidates(rows, rows, support, z, z, named, np.where(rows % 2, ~right, right))
    p = SCORES["probability"](one)
    np.testing.assert_array_equal(p, SCORES["probability"](other))
    assert _calibration_error(p, right) < 0.05
    assert _calibration_error(p, ~right) > 0.2


def test_rows():
    rows = archive_scores_table()
    assert len(rows) == 2 * (2 * 2 * len(SCORES) + 1)
    assert len({(row.experiment, row.system) for row in rows}) == len(rows)
