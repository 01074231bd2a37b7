"""The cost of a curation is measured on a small one, and grows as it says."""

import pytest

from segue.methods.cocu.curation import cost
from segue.methods.cocu.curation.cost import STAGES, plan_curation, projected_hours

pytest.importorskip("faiss")


def test_projection_grows_as_it_says():
    seconds = dict.fromkeys(STAGES, 0.0) | {"ranking": 36.0, "retrieval": 36.0}
    assert projected_hours(seconds, 100, 400) == {"retrieval_to_clustering": 0.12, "all": 0.12}


def test_a_plan_takes_more_for_larger_sets(monkeypatch):
    monkeypatch.setattr(cost, "MEASURED_ON", 1000)
    found = plan_curation({"small": 10**6, "large": 10**8}, width=16, concepts=50)
    assert found["large"] > 100 * found["small"] > 0
