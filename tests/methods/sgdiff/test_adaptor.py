import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import golden
from segue.methods.sgdiff.adaptor import (
    Adaptor,
    EdgeFusion,
    hungarian_ranks,
    relevance_gate,
    sample_node_sets,
    set_log_probability,
    suppress_similar_sets,
)


def test_padded_nodes_change_nothing():
    torch.manual_seed(0)
    adaptor = Adaptor(width=16, heads=2, feed_forward=32, blocks=2, max_ranked=3, filters_nodes=True, ranks_nodes=True)
    nodes, real = torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)
    padded = torch.cat([nodes, torch.randn(1, 2, 16) * 9], 1)
    alone = adaptor(nodes, real)
    with_more = adaptor(padded, F.pad(real, (0, 2)))
    for a, b in zip(alone, with_more, strict=True):
        assert torch.allclose(a, b[:, :4], atol=1e-5)


def test_gate_is_the_probability_on_kept_nodes_and_one_on_the_prompts():
    logits = torch.tensor([[0.0, 2.0, -1.0]])
    keep = torch.tensor([[True, False, True]])
    gate = relevance_gate(logits, keep, torch.tensor([2]))
    assert torch.allclose(gate, torch.tensor([[0.5, 0.0, 1.0]]))
    assert relevance_gate(None, keep, torch.tensor([2])).tolist() == [[1.0, 0.0, 1.0]]


@given(st.permutations(range(4)))
def test_hungarian_finds_a_permutation(order):
    logits = torch.zeros(1, 4, 6)
    logits[0, range(4), list(order)] = 5.0
    keep = torch.ones(1, 4, dtype=torch.bool)
    assert hungarian_ranks(logits, keep).tolist() == [list(order)]


def test_hungarian_is_the_best_of_all_assignments():
    torch.manual_seed(0)
    logits, keep = torch.randn(3, 3, 4) * 2, torch.ones(3, 3, dtype=torch.bool)
    found, log_p = hungarian_ranks(logits, keep), logits.log_softmax(-1)
    for row in range(3):
        best = max(
            sum(float(log_p[row, i, place]) for i, place in enumerate(places))
            for places in itertools.product(range(4), repeat=3)
            if all(places.count(k) <= 1 for k in range(3))  # place 3 is "unranked"
        )
        assert sum(float(log_p[row, i, found[row, i]]) for i in range(3)) == pytest.approx(best)


def test_nodes_left_out_or_unwanted_are_unranked():
    logits = torch.zeros(1, 3, 3)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 2, 0] = 4.0
    keep = torch.tensor([[True, True, False]])
    assert hungarian_ranks(logits, keep).tolist() == [[1, 2, 2]]


def test_more_nodes_than_ranks():
    logits, keep = torch.zeros(1, 5, 3), torch.ones(1, 5, dtype=torch.bool)
    places = hungarian_ranks(logits, keep)[0].tolist()
    assert places.count(0) <= 1
    assert places.count(1) <= 1


def test_node_sets_hold_the_prompt_and_differ():
    p = np.array([0.1, 0.5, 0.9, 0.5, 0.4])
    sets = sample_node_sets(p, 0, 5, np.random.default_rng(0))
    assert 1 < len(sets) <= 5
    assert all(nodes[0] for nodes in sets)
    for a, b in itertools.combinations(sets, 2):
        assert (a & b).sum() / (a | b).sum() <= 0.75
    likely = set_log_probability(np.stack(sets), p, 0)
    assert (np.diff(likely) <= 0).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 9))
def test_the_most_probable_set_comes_first(p, seed):
    p = np.array(p)
    first = sample_node_sets(p, 0, 3, np.random.default_rng(seed))[0]
    clipped = p.clip(1e-6, 1 - 1e-6)
    best = set_log_probability(((p >= 0.5) | (np.arange(len(p)) == 0))[None], clipped, 0)
    assert set_log_probability(first[None], clipped, 0) >= best - 1e-9


def test_a_sure_adaptor_has_one_set():
    sets = sample_node_sets(np.array([0.0, 1.0, 0.0]), 0, 5, np.random.default_rng(0))
    assert [nodes.tolist() for nodes in sets] == [[True, True, False]]


def test_the_probability_of_a_set():
    p = np.array([0.2, 0.7, 0.4])
    found = set_log_probability(np.array([[True, True, False]]), p, 0)
    assert np.exp(found) == pytest.approx(0.7 * 0.6)


def test_suppression_against_naive():
    rng = np.random.default_rng(0)
    sets = rng.random((30, 8)) < 0.6
    sets[:, 0] = True
    naive = []
    for nodes in sets:
        if not any((nodes & k).sum() / (nodes | k).sum() > 0.75 for k in naive):
            naive.append(nodes)
    kept = suppress_similar_sets(sets, 100, 0.75)
    assert [k.tolist() for k in kept] == [k.tolist() for k in naive]
    assert [k.tolist() for k in suppress_similar_sets(sets, 3, 0.75)] == [k.tolist() for k in naive[:3]]


def test_edges_as_vsua_has_them():
    torch.manual_seed(0)
    fusion, nodes = EdgeFusion(6, 3), torch.randn(1, 4, 6)
    made = fusion(nodes, torch.tensor([[[2, 3, 0], [1, 0, 1]]]))
    r = fusion.predicate.weight
    first = F.relu(fusion.projection(torch.cat([nodes[0, 2], r[3], nodes[0, 0]]))) + r[3]
    second = F.relu(fusion.projection(torch.cat([nodes[0, 1], r[0], nodes[0, 1]]))) + r[0]
    assert torch.allclose(made[0], torch.stack([first, second]), atol=1e-6)


def test_weights_mean_what_they_meant():
    torch.manual_seed(0)
    adaptor = Adaptor(width=16, heads=2, feed_forward=24, blocks=2, max_ranked=3, filters_nodes=True, ranks_nodes=True)
    fusion = EdgeFusion(16, 5)
    for part in (adaptor, fusion):
        golden.set_weights(part)
    nodes, there = golden.inputs("nodes", 2, 4, 16), torch.tensor([[True] * 4, [True, True, True, False]])
    found = adaptor(nodes, there)
    edges = torch.tensor([[[0, 1, 2], [3, 5, 1]], [[2, 3, 0], [1, 4, 1]]])
    picked = found.select(torch.tensor([1, 0, 1]))
    golden.same_as_before(
        "sgdiff adaptor", nodes=found.nodes[there], relevance=found.relevance[there], ranking=found.ranking[there],
        edges=fusion(nodes, edges), picked=picked.ranking[0, :3],
    )  # fmt: skip
