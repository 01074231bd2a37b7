import json

import numpy as np
import pytest

from segue.metrics.acceptance import (
    Acceptance,
    fit_acceptance,
    judge_captions,
    read_acceptance,
    write_acceptance,
)
from segue.types import InputError


def test_a_fitted_probability_is_the_share_that_is_accepted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3)) * [1, 2, 0] + 1  # the last tells nothing
    accepted = rng.random(4000) < 1 / (1 + np.exp(-(0.5 + features @ [1.0, -0.5, 0.0])))
    fit = fit_acceptance(features, accepted)
    p = np.array([fit.probability(row) for row in features])
    assert p == pytest.approx(1 / (1 + np.exp(-np.array([fit.logit(row) for row in features]))))
    for low in (0.1, 0.4, 0.7):
        some = (p > low) & (p < low + 0.2)
        assert accepted[some].mean() == pytest.approx(p[some].mean(), abs=0.05)


def test_a_weight_may_have_an_upper_bound_and_the_others_are_fitted_beside_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 2))
    features[:, 1] += features[:, 0]  # so that the first one's weight depends on the second one's
    accepted = rng.random(2000) < 1 / (1 + np.exp(-(features @ [1.0, 0.5])))
    free = fit_acceptance(features, accepted)
    assert free.weights == pytest.approx((1, 0.5), abs=0.15)
    assert fit_acceptance(features, accepted, {1: 0.9}) == free
    held = fit_acceptance(features, accepted, {1: -1.0})
    assert held.weights[1] == pytest.approx(-1)
    assert held.weights[0] > 2


def test_what_can_not_be_fitted():
    with pytest.raises(InputError, match="got 3 accepted of 3 captions"):
        fit_acceptance(np.zeros((3, 2)), np.ones(3, bool))


def test_probabilities_of_any_features_are_finite():
    fit = Acceptance((1.0,), 0.0)
    assert (fit.probability([-1e9]), fit.probability([0.0])) == (pytest.approx(0, abs=1e-9), 0.5)


def test_people_accept_what_they_say_themselves():
    references = [["a dog runs on the grass", "a brown dog runs"], ["two boats on a lake"], ["a man reads a book"]]
    captions = ["a dog runs on the grass", "a man reads a book", "a man reads a book"]
    assert judge_captions(captions, references).tolist() == [True, False, True]


def test_it_lies_in_a_checkpoints_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"method": "syntic", "model": {"width": 8}}))
    write_acceptance(fit := Acceptance((1.0, 2.0), -0.5), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == {"width": 8}
    assert read_acceptance(config["acceptance"], 2, tmp_path) == fit
    assert read_acceptance(None, 2, tmp_path) is None
    with pytest.raises(InputError, match="acceptance: got 2 weights, expected 3"):
        read_acceptance(config["acceptance"], 3, tmp_path)
