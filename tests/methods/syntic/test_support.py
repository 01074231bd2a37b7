"""The support set: Eq. 3 as printed, its memory, retrieval, and the index against the exact."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from segue.methods.syntic import support as module
from segue.methods.syntic.support import SupportSet
from segue.types import InputError


def unit(n, d=16, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def clustered(n, d=32, centres=20, seed=0):
    rng = np.random.default_rng(seed)
    x = unit(centres, d, 99)[rng.integers(0, centres, n)] + 0.1 * rng.standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def naive_projection(v, t, tau):
    rows = []
    for query in v:
        query = query / np.linalg.norm(query)
        score = [float(query @ s) / tau for s in t]
        weight = [math.exp(x - max(score)) for x in score]
        p = sum(w * s for w, s in zip(weight, t, strict=True))
        rows.append(p / np.linalg.norm(p))
    return np.array(rows)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(module, "TILE", 7)
    monkeypatch.setattr(module, "QUERIES", 3)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("tau", [0.01, 1 / 80, 1.0])
def test_equation_3_as_printed(tau):
    v, t = 5 * unit(8, seed=1), unit(50)
    got = SupportSet(t, tau=tau).project(torch.tensor(v))
    np.testing.assert_allclose(got, naive_projection(v, t, tau), atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_a_query_leaves_out_the_captions_of_its_number():
    """A whole tile is its own, and the nearest of all captions is too."""
    t = unit(50)
    v, of_caption = np.concatenate([t[3:4], unit(7, seed=1)]), torch.arange(50) // 10
    own = torch.tensor([0, 4, 4, 0, 2, 9, 1, 3])
    got = SupportSet(t, tau=0.05).project(torch.tensor(v), without=(own, of_caption))
    for one, query, number in zip(got, v, own.tolist(), strict=True):
        kept = t[of_caption.numpy() != number]
        np.testing.assert_allclose(one, naive_projection(query[None], kept, 0.05)[0], atol=1e-5)
    with pytest.raises(InputError, match="none is left for that picture"):
        SupportSet(t).project(torch.tensor(v), without=(own, torch.zeros(50)))


@pytest.mark.usefixtures("small_tiles")
def test_scores_far_apart_are_stable():
    t = np.stack([unit(1)[0], -unit(1)[0], unit(1, seed=2)[0]])
    got = SupportSet(np.concatenate([t] * 5), tau=1e-4).project(torch.tensor(t))
    assert torch.isfinite(got).all()
    np.testing.assert_allclose(got, t, atol=1e-5)


def test_half_precision_memory_map(tmp_path):
    t = np.memmap(tmp_path / "t", np.float16, "w+", shape=(60, 16))
    t[:] = unit(60)
    t.flush()
    readonly = np.memmap(tmp_path / "t", np.float16, "r", shape=(60, 16))
    v = unit(5, seed=1)
    got = SupportSet(readonly).project(torch.tensor(v).half())
    np.testing.assert_allclose(
        got, naive_projection(v.astype(np.float16).astype(np.float32), readonly.astype(np.float32), 0.01), atol=1e-4
    )


@pytest.mark.usefixtures("small_tiles")
def test_nearest_equals_sorting():
    v, t = unit(8, seed=1), unit(50)
    score, place = SupportSet(t).nearest(torch.tensor(v), 20)
    order = np.argsort(-(v @ t.T), axis=1)[:, :20]
    assert np.array_equal(place, order)
    np.testing.assert_allclose(score, np.take_along_axis(v @ t.T, order, 1), atol=1e-6)
    assert SupportSet(t).nearest(torch.tensor(v), 999)[1].shape == (8, 50)


def test_retrieved_captions_are_distinct():
    t = np.repeat(unit(5), 3, axis=0)
    captions = [f"caption {i // 3}" for i in range(15)]
    found = SupportSet(t, captions).retrieve(torch.tensor(unit(5)[2:3]), 3)
    assert found[0][0] == "caption 2"
    assert len(set(found[0])) == 3


def test_memory_stays_bounded():
    """256 queries onto 100,000 x 256 halves: dense floats would take 200 MB, the tiles 17 MB and a little."""
    code = """
import resource, numpy as np, torch
from segue.methods.syntic.support import SupportSet
t = np.full((100_000, 256), 1 / 16, np.float16)
v = torch.ones(256, 256)
SupportSet(t[:20_000]).project(v)  # what libraries take once
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
SupportSet(t).project(v)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40


@pytest.fixture(scope="module")
def indexed():
    pytest.importorskip("faiss")
    support = SupportSet(clustered(51_000).astype(np.float16), tau=0.01)
    support.build_index(cells=64, probes=16)
    return support


def test_the_index_finds_what_is_near(indexed):
    v = torch.tensor(clustered(40, seed=1))
    score, place = indexed.nearest_by_index(v, 50)
    true_score, true_place = indexed.nearest(v, 50)
    hits = [len(set(a.tolist()) & set(b.tolist())) / 50 for a, b in zip(place, true_place, strict=True)]
    assert np.mean(hits) > 0.97
    np.testing.assert_allclose(score[:, 0], true_score[:, 0], atol=1e-4)  # exact, though the index holds 8 bits
    assert (score.diff(dim=1) <= 0).all()


def test_the_weight_lost_is_reported(indexed):
    v = torch.tensor(clustered(20, seed=1))
    few, many = (indexed.project_by_index(v, k, measure=True) for k in (2, 2000))
    assert 0 < many.lost_weight.mean() < few.lost_weight.mean() < 1
    exact = indexed.project(v)
    assert (many.features - exact).norm(dim=1).mean() < (few.features - exact).norm(dim=1).mean()
    score = torch.tensor(indexed.features.astype(np.float32)) @ v[0] / 0.01
    kept = indexed.nearest_by_index(v, 2)[1][0]
    assert few.lost_weight[0] == pytest.approx(1 - score.softmax(0)[kept].sum().item(), abs=1e-4)
    assert indexed.project_by_index(v, 2).lost_weight is None


def test_a_flat_index_is_exact():
    pytest.importorskip("faiss")
    support, v = SupportSet(unit(300)), torch.tensor(unit(9, seed=1))
    assert torch.equal(support.nearest_by_index(v, 7)[1], support.nearest(v, 7)[1])
    whole = support.project_by_index(v, 300, measure=True)
    torch.testing.assert_close(whole.features, support.project(v), atol=1e-5, rtol=0)
    assert whole.lost_weight.max() < 1e-4


def test_bad_input(monkeypatch):
    support = SupportSet(unit(5))
    with pytest.raises(InputError, match="queries: got 8 columns, expected 16; embed with the dual encoder"):
        support.project(torch.zeros(2, 8))
    with pytest.raises(InputError, match="5 features and 2 captions"):
        SupportSet(unit(5), ["a", "b"])
    with pytest.raises(InputError, match=r"support set: got shape \(0, 4\)"):
        SupportSet(np.zeros((0, 4), np.float32))
    with pytest.raises(InputError, match="support set: got features of length 3 to 3, expected 1"):
        SupportSet(3 * unit(5))
    with pytest.raises(InputError, match="tau: got 0, expected more than 0"):
        SupportSet(unit(5), tau=0)
    with pytest.raises(InputError, match="k: got 0, expected 1 or more"):
        support.nearest(torch.zeros(1, 16), 0)
    with pytest.raises(InputError, match="holds no captions"):
        support.retrieve(torch.zeros(1, 16))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r'needs faiss: pip install "(\.|segue)\[cluster\]"'):
        support.nearest_by_index(torch.zeros(1, 16), 1)


def test_an_index_has_as_many_cells_and_probes_as_asked_for(indexed):
    assert (indexed.index.nlist, indexed.index.nprobe) == (64, 16)


def test_an_index_by_default_has_the_square_root_of_cells_and_searches_one_in_32(monkeypatch):
    faiss, built = pytest.importorskip("faiss"), []

    class Counted(faiss.IndexIVFScalarQuantizer):
        def __init__(self, quantiser, width, cells, *more):
            built.append(cells)
            super().__init__(quantiser, width, min(cells, 8), *more)

    monkeypatch.setattr(faiss, "IndexIVFScalarQuantizer", Counted)
    support = SupportSet(np.full((50_001, 4), 0.5, np.float16))
    support.build_index()
    assert built == [223]
    assert support.index.nprobe == 8
    support.build_index(cells=512)
    assert built[1:] == [512]
    assert support.index.nprobe == 16
