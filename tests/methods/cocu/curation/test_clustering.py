"""K-means over the concepts of each archive."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.cocu.curation.curated import halves
from segue.methods.cocu.curation.clustering import cluster_candidates
from segue.methods.cocu.curation.expansion import Candidates


def test_clusters_are_k_means():
    texts = halves(np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0.1, 0.99, 0], [0, 0, 1.0]]))
    candidates = Candidates(
        np.array([0] * 5 + [2]), np.array([0, 1, 2, 3, 4, 4]), np.zeros((6, 1), bool), np.zeros(6, bool)
    )
    found = cluster_candidates(texts, np.array([10, 11, 12]), candidates).tolist()
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert len(set(found[:5])) == 3  # ceil(5 / 2)
    assert found[5] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 25), st.integers(0, 1000))
def test_clusters_are_a_fixed_point_of_lloyd(count, seed):
    rng = np.random.default_rng(seed)
    texts = halves(rng.normal(size=(count, 8)))
    candidates = Candidates(np.zeros(count, int), np.arange(count), np.zeros((count, 1), bool), np.zeros(count, bool))
    found = cluster_candidates(texts, np.array([seed]), candidates, iterations=100)
    assert len(set(found.tolist())) <= (count + 1) // 2
    points = texts.astype(np.float64)
    centres = {k: points[found == k].mean(0) for k in set(found.tolist())}
    for point, mine in zip(points, found.tolist(), strict=True):
        distance = {k: ((point - centre) ** 2).sum() for k, centre in centres.items()}
        assert distance[mine] <= min(distance.values()) + 1e-5
