"""The nearest pictures: never the anchor, of the true ones as many as the index promises."""

import faiss
import numpy as np
import pytest

from methods.cocu.curation.curated import corpus
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.retrieval import build_index, index_recall, search_neighbours


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    faiss.omp_set_num_threads(1)


def test_nearest_is_never_the_anchor_even_among_twins():
    embeddings = corpus(60)[0]
    embeddings[7:19] = embeddings[7]  # twelve times the same picture
    anchors = np.arange(60)
    found = search_neighbours(build_index(embeddings, CurateSettings()), embeddings, anchors, 8)
    assert found.shape == (60, 8)
    assert not (found == anchors[:, None]).any()
    assert all(len(set(row)) == 8 for row in found.tolist())
    near = embeddings.astype(np.float64) @ embeddings.astype(np.float64).T
    np.fill_diagonal(near, -2)
    best = np.sort(near, 1)[:, :-9:-1]
    np.testing.assert_allclose(np.take_along_axis(near, found, 1), best, atol=1e-6)


def test_fewer_pictures_than_neighbours():
    embeddings = corpus(3)[0]
    index = build_index(embeddings, CurateSettings())
    found = search_neighbours(index, embeddings, np.arange(3), 8)
    assert sorted(found[0].tolist()) == [-1] * 6 + [1, 2]
    alone = build_index(embeddings[:1], CurateSettings())
    assert search_neighbours(alone, embeddings[:1], np.arange(1), 8).tolist() == [[-1] * 8]
    assert index_recall(index, embeddings, 8) == index_recall(alone, embeddings[:1], 8) == 1


def test_index_by_size_and_its_recall():
    embeddings = corpus(1500, seed=1)[0]
    flat = build_index(embeddings, CurateSettings())
    lists = build_index(embeddings, CurateSettings(flat_below=1000, probes=1))
    assert isinstance(flat, faiss.IndexFlatIP)
    assert "IVF" in type(faiss.downcast_index(lists)).__name__
    assert index_recall(flat, embeddings, 8) == 1
    few = index_recall(lists, embeddings, 8)
    lists.nprobe = 64
    assert few < index_recall(lists, embeddings, 8) <= 1


@pytest.mark.parametrize(("pictures", "lists"), [(30, 1), (1500, 38), (4000, 102), (20_000, 512)])
def test_an_index_has_four_times_sqrt_lists_but_none_without_enough_pictures(pictures, lists):
    rows = np.random.default_rng(0).standard_normal((pictures, 8))
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    index = build_index(embeddings, CurateSettings(flat_below=10))
    assert faiss.downcast_index(index).nlist == lists
