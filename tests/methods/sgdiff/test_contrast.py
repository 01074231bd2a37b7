import math

import pytest
import torch
import torch.nn.functional as F

from segue.methods.sgdiff.contrast import Contrast, inter_sample, intra_sample, matching_scores

B, N, L, C = 3, 4, 5, 8


@pytest.fixture
def made():
    torch.manual_seed(0)
    m, s = F.normalize(torch.randn(B, N, C), dim=-1), F.normalize(torch.randn(B, L, C), dim=-1)
    there = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    pairs = torch.rand(B, N, L) < 0.4
    return m, s, there, real, pairs


def naive_intra(m, s, there, real, pairs, scale):
    """Eq. 10 with the positive in the denominator, by loops."""

    def side(anchors, others, anchor_there, other_there, own):
        losses = []
        for b in range(B):
            for i in range(anchors.shape[1]):
                columns = [j for j in range(others.shape[1]) if other_there[b, j]]
                positives = [j for j in columns if own[b, i, j]]
                if not anchor_there[b, i] or not positives:
                    continue
                total = sum(math.exp(scale * float(anchors[b, i] @ others[b, j])) for j in columns)
                each = [math.log(math.exp(scale * float(anchors[b, i] @ others[b, j])) / total) for j in positives]
                losses.append(-sum(each) / len(each))
        return sum(losses) / len(losses)

    return side(m, s, there, real, pairs) + side(s, m, real, there, pairs.transpose(1, 2))


def naive_matching(m, s, there, real):
    g = torch.zeros(B, B)
    for i in range(B):
        for k in range(B):
            masks, words = m[i][there[i]], s[k][real[k]]
            for word in words:
                score = masks @ word
                g[i, k] += (score.softmax(0) * score).sum() / len(words)
    return g


def test_intra_against_naive(made):
    assert float(intra_sample(*made, 5.0)) == pytest.approx(naive_intra(*made, 5.0), rel=1e-5)


def test_matching_against_naive(made):
    m, s, there, real, _ = made
    assert torch.allclose(matching_scores(m, s, there, real), naive_matching(m, s, there, real), atol=1e-6)


def test_inter_against_naive(made):
    m, s, there, real, _ = made
    g = naive_matching(m, s, there, real) * 5
    expected = -sum(g.log_softmax(1)[i, i] + g.log_softmax(0)[i, i] for i in range(B)) / B
    assert torch.allclose(inter_sample(m, s, there, real, 5.0), expected)


def test_rows_of_one_picture_are_not_held_against_each_other(made):
    m, s, there, real, _ = made
    twice = [part.repeat_interleave(2, 0) for part in (m, s, there, real)]
    g = naive_matching(m, s, there, real) * 5
    expected = torch.zeros(())
    for axis in (0, 1):
        others = g.clone().fill_diagonal_(-torch.inf).logsumexp(axis) + math.log(2)  # each of them has two rows
        expected = expected + (torch.logaddexp(g.diagonal(), others) - g.diagonal()).mean()
    torch.testing.assert_close(inter_sample(*twice, 5.0, 2), expected)


def test_padding_takes_no_part(made):
    m, s, there, real, pairs = made
    other = torch.where(there[..., None], m, torch.randn_like(m)), torch.where(real[..., None], s, torch.randn_like(s))
    assert torch.allclose(intra_sample(m, s, there, real, pairs, 5.0), intra_sample(*other, there, real, pairs, 5.0))
    assert torch.allclose(inter_sample(m, s, there, real, 5.0), inter_sample(*other, there, real, 5.0), atol=1e-6)


def test_the_loss_is_bounded_below(made):
    """Without the positive in the denominator, perfect pairs would send it to minus infinity."""
    eye = torch.eye(4)[None]
    flags, pairs = torch.ones(1, 4, dtype=torch.bool), torch.eye(4, dtype=torch.bool)[None]
    assert 0 <= float(intra_sample(eye, eye, flags, flags, pairs, 100.0)) < 1e-6


def test_without_pairs_there_is_nothing_to_learn(made):
    m, s, there, real, pairs = made
    assert float(intra_sample(m, s, there, real, torch.zeros_like(pairs), 5.0)) == 0


def test_the_scale_starts_at_the_usual_temperature_and_stops_at_100():
    contrast = Contrast(8, 8, "both", 4)
    assert float(contrast.scale.detach()) == pytest.approx(1 / 0.07)
    contrast.log_scale.data.fill_(9.0)
    assert float(contrast.scale.detach()) == 100


def test_the_levels_add_up(made):
    masks, words, there, real, pairs = made
    parts = {}
    for wanted in ("intra", "inter", "both"):
        torch.manual_seed(0)
        parts[wanted] = Contrast(C, C, wanted, 6)(masks, words, there, real, pairs)
    assert torch.allclose(parts["both"], parts["intra"] + parts["inter"])
