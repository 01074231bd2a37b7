"""Feature optimisation: Eq. 2 as printed, false negatives, Adam by row, chunks."""

import math

import numpy as np
import pytest
import torch

from segue.methods.syntic.feature_optimisation import alignment_loss, optimise_features
from segue.types import InputError


def pairs(n=40, d=8, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    v, t = rng.standard_normal((2, n, d)).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True), t / np.linalg.norm(t, axis=1, keepdims=True)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_equation_2_as_printed():
    v, t = pairs(6)
    loss = alignment_loss(torch.tensor(3 * v), torch.tensor(t), torch.arange(6), 0.1)
    for i in range(6):
        total = sum(math.exp(cosine(v[i], t[j]) / 0.1) for j in range(6))
        assert float(loss[i]) == pytest.approx(-math.log(math.exp(cosine(v[i], t[i]) / 0.1) / total), abs=1e-4)


def test_captions_of_one_picture_are_no_negatives_of_each_other():
    v, t = pairs(4)
    group = torch.tensor([5, 5, 9, 2])
    loss = alignment_loss(torch.tensor(v), torch.tensor(t), group, 0.1)
    for i, others in ((0, [0, 2, 3]), (1, [1, 2, 3]), (2, [0, 1, 2, 3])):
        total = sum(math.exp(cosine(v[i], t[j]) / 0.1) for j in others)
        assert float(loss[i]) == pytest.approx(-math.log(math.exp(cosine(v[i], t[i]) / 0.1) / total), abs=1e-4)


def test_equals_torch_adam_when_the_batch_is_everything():
    v, t = pairs(12)
    x = torch.tensor(v).requires_grad_()
    adam = torch.optim.Adam([x], lr=1e-2)
    for _ in range(7):
        adam.zero_grad()
        alignment_loss(x, torch.tensor(t), torch.arange(12), 0.01).mean().backward()
        adam.step()
    expected = torch.nn.functional.normalize(x.detach(), dim=1).numpy()
    got = optimise_features(v, t, steps=7, lr=1e-2, batch=12)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("chunk", [1000, 16])
def test_pairs_come_closer_and_stay_normalised(chunk):
    v, t = pairs(50)
    losses = []
    got = optimise_features(
        v,
        t,
        steps=30,
        lr=1e-2,
        batch=8,
        chunk=chunk,
        progress=lambda done, total, loss: losses.append((done, total, loss)),
    )
    assert (got * t).sum(1).mean() > (v * t).sum(1).mean() + 0.2
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert losses[-1][:2] == (1500, 1500)
    assert losses[29][2] < losses[0][2]
    assert [done for done, _, _ in losses] == sorted({done for done, _, _ in losses})


def test_the_paper_s_learning_rate_needs_many_steps():
    v, t = pairs(32, 512)
    few = optimise_features(v, t, steps=5, lr=1e-5)
    assert (few * v).sum(1).min() > 0.9999  # hardly moved


def test_groups_change_the_result_only_where_they_meet():
    v, t = pairs(10)
    own = optimise_features(v, t, np.arange(10), steps=3, lr=1e-2, tau=1.0)
    assert np.array_equal(own, optimise_features(v, t, steps=3, lr=1e-2, tau=1.0))
    shared = optimise_features(v, t, np.array([0, 0, 2, 3, 4, 5, 6, 7, 8, 9]), steps=3, lr=1e-2, tau=1.0)
    changed = np.abs(shared - own).max(1) > 0
    assert changed.tolist() == [True, True] + [False] * 8


def test_deterministic_and_the_input_is_left_alone():
    v, t = pairs(50)
    before = v.copy()
    runs = [optimise_features(v, t, steps=3, lr=1e-2, batch=8, chunk=20, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert np.array_equal(v, before)


def test_memory_maps_in_half_precision_and_in_place(tmp_path):
    v, t = (x.astype(np.float16) for x in pairs(50))
    maps = [np.memmap(tmp_path / str(i), np.float16, "w+", shape=v.shape) for i in range(2)]
    maps[0][:], maps[1][:] = v, t
    expected = optimise_features(v, t, steps=3, lr=1e-2, batch=8, chunk=20)
    got = optimise_features(maps[0], maps[1], steps=3, lr=1e-2, batch=8, chunk=20, out=maps[0])
    assert got is maps[0]
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, atol=1e-3)


def test_one_pair_alone_stays_where_it_is():
    v, t = pairs(1)
    np.testing.assert_allclose(optimise_features(v, t, steps=2, lr=1e-2), v, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": np.zeros((3, 8), np.float32)}, r"image features \(40, 8\) and text features \(3, 8\)"),
        ({"v": np.zeros((0, 8), np.float32)}, r"image features: got shape \(0, 8\)"),
        ({"v": np.zeros((40, 8), np.int64)}, "image features: .* type int64, expected an"),
        ({"group": np.zeros(3)}, r"group: got shape \(3,\), expected \(40,\)"),
        ({"out": np.zeros((40, 9))}, r"out: got shape \(40, 9\), expected \(40, 8\)"),
        ({"steps": 0}, "steps: got 0, expected more than 0"),
        ({"tau": 0.0}, "tau: got 0.0, expected more than 0"),
    ],
)
def test_bad_input(change, message):
    v, t = pairs()
    with pytest.raises(InputError, match=message):
        optimise_features(**({"v": v, "t": t, "steps": 1} | change))
