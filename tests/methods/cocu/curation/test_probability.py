"""The probability of a concept: its statistics, its fit, and the archive that has it as its score."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from methods.cocu.curation.curated import CONCEPTS, corpus
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.probability import (
    ProbabilityWeights,
    candidate_closeness,
    closeness_statistics,
    fit_probability,
    probabilities,
)
from segue.methods.cocu.curation.run import curate
from segue.types import InputError


def test_closeness_is_the_standard_score_over_all_pictures(monkeypatch):
    monkeypatch.setattr("segue.methods.cocu.curation.probability.ROWS_AT_ONCE", 7)
    embeddings, _, _, texts = corpus(60)
    similarity = np.asarray(embeddings, np.float64) @ np.asarray(texts, np.float64).T
    statistics = closeness_statistics(embeddings, texts)
    np.testing.assert_allclose(statistics, [similarity.mean(0), similarity.std(0)], atol=1e-9)
    rows, concepts = np.array([3, 50]), np.array([1, 0])
    z = candidate_closeness(embeddings, texts, statistics, rows, concepts)
    expected = (similarity - similarity.mean(0)) / similarity.std(0)
    np.testing.assert_allclose(z, expected[rows, concepts], atol=1e-6)


def test_probabilities_by_hand():
    found = probabilities(ProbabilityWeights(-1.0, 0.5, 2.0), np.array([2.0, -2.0]), np.array([4, 0]))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array([2 * np.log(4), -2.0]))))


def test_the_fit_finds_the_weights_that_made_the_answers():
    rng = np.random.default_rng(0)
    closeness, support = rng.normal(size=40_000), rng.integers(1, 33, 40_000)
    true = ProbabilityWeights(-3.0, 0.5, 1.2)
    right = rng.random(40_000) < probabilities(true, closeness, support)
    found = fit_probability(closeness, support, right)
    for name in ("intercept", "closeness", "votes"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=0.1)
    p = probabilities(found, closeness, support)
    assert p.mean() == pytest.approx(right.mean(), abs=1e-4)  # with an intercept the likeliest weights are unbiased


def test_answers_that_are_all_wrong_are_refused():
    with pytest.raises(InputError, match="got 0 right ones of 2"):
        fit_probability(np.zeros(2), np.ones(2, int), np.zeros(2, bool))


def test_the_archive_is_ranked_by_it_and_a_run_that_goes_on_has_the_same(tmp_path):
    embeddings, captions, vocabulary, texts = corpus()
    inputs = CurationInputs(embeddings, captions, vocabulary, texts)
    settings = CurateSettings(probability=ProbabilityWeights(), shard=50)
    curate(inputs, tmp_path / "a", settings)
    table = pq.read_table(tmp_path / "a/archive.parquet").to_pydict()
    concept = np.array([CONCEPTS.index(name) for name in table["concept"]])
    z = candidate_closeness(embeddings, texts, closeness_statistics(embeddings, texts), np.array(table["row"]), concept)
    expected = probabilities(ProbabilityWeights(), z, np.array(table["support"]))
    np.testing.assert_allclose(table["score"], expected, rtol=1e-5)
    (tmp_path / "b").mkdir()
    for name in ("manifest.json", "statistics.npy"):  # as after a run that was killed before its first shard
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    curate(inputs, tmp_path / "b", settings)
    assert (tmp_path / "a/archive.parquet").read_bytes() == (tmp_path / "b/archive.parquet").read_bytes()
    (tmp_path / "b/statistics.npy").write_bytes(b"half")
    (tmp_path / "b/archive.parquet").unlink()
    with pytest.raises(InputError, match=r"statistics\.npy: broken"):
        curate(inputs, tmp_path / "b", settings)
