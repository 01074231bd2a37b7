import math

import pytest
import torch
import torch.nn.functional as F

from segue.methods.sgdiff.adaptor import AdaptorOutput
from segue.methods.sgdiff.analog_bits import bit_codes
from segue.methods.sgdiff.losses import (
    MECL,
    adaptor_losses,
    caption_losses,
    inter_sample_loss,
    intra_sample_loss,
    mask_losses,
    matching_scores,
)

B, N, L, C = 3, 4, 5, 8


@pytest.fixture
def made():
    torch.manual_seed(0)
    m, s = F.normalize(torch.randn(B, N, C), dim=-1), F.normalize(torch.randn(B, L, C), dim=-1)
    there = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    pairs = torch.rand(B, N, L) < 0.4
    return m, s, there, real, pairs


def intra(m, s, there, real, pairs, scale):
    return intra_sample_loss(scale * m @ s.transpose(1, 2), there, real, pairs)


def inter(m, s, there, real, scale, rows=1):
    return inter_sample_loss(scale * matching_scores(m, s, there, real), rows)


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
    assert float(intra(*made, 5.0)) == pytest.approx(naive_intra(*made, 5.0), rel=1e-5)


def test_matching_against_naive(made):
    m, s, there, real, _ = made
    assert torch.allclose(matching_scores(m, s, there, real), naive_matching(m, s, there, real), atol=1e-6)


def test_inter_against_naive(made):
    m, s, there, real, _ = made
    g = naive_matching(m, s, there, real) * 5
    expected = -sum(g.log_softmax(1)[i, i] + g.log_softmax(0)[i, i] for i in range(B)) / B
    assert torch.allclose(inter(m, s, there, real, 5.0), expected)


def test_rows_of_one_picture_are_no_negatives_of_each_other(made):
    m, s, there, real, _ = made
    twice = [part.repeat_interleave(2, 0) for part in (m, s, there, real)]
    g = naive_matching(m, s, there, real) * 5
    expected = torch.zeros(())
    for axis in (0, 1):
        others = g.clone().fill_diagonal_(-torch.inf).logsumexp(axis) + math.log(2)  # each of them has two rows
        expected = expected + (torch.logaddexp(g.diagonal(), others) - g.diagonal()).mean()
    torch.testing.assert_close(inter(*twice, 5.0, 2), expected)


def test_padding_takes_no_part(made):
    m, s, there, real, pairs = made
    other = torch.where(there[..., None], m, torch.randn_like(m)), torch.where(real[..., None], s, torch.randn_like(s))
    assert torch.allclose(intra(m, s, there, real, pairs, 5.0), intra(*other, there, real, pairs, 5.0))
    assert torch.allclose(inter(m, s, there, real, 5.0), inter(*other, there, real, 5.0), atol=1e-6)


def test_the_loss_is_bounded_below(made):
    """Without the positive in the denominator, perfect pairs would send it to minus infinity."""
    eye = torch.eye(4)[None]
    flags, pairs = torch.ones(1, 4, dtype=torch.bool), torch.eye(4, dtype=torch.bool)[None]
    assert 0 <= float(intra(eye, eye, flags, flags, pairs, 100.0)) < 1e-6


def test_without_pairs_there_is_nothing_to_learn(made):
    m, s, there, real, pairs = made
    assert float(intra(m, s, there, real, torch.zeros_like(pairs), 5.0)) == 0


def test_the_scale_starts_at_the_usual_temperature_and_stops_at_100():
    mecl = MECL(8, 8, "both", 4)
    assert float(mecl.scale.detach()) == pytest.approx(1 / 0.07)
    mecl.log_scale.data.fill_(9.0)
    assert float(mecl.scale.detach()) == 100


def test_the_levels_add_up(made):
    masks, words, there, real, pairs = made
    parts = {}
    for level in ("intra", "inter", "both"):
        torch.manual_seed(0)
        parts[level] = MECL(C, C, level, 6)(masks, words, there, real, pairs)
    assert torch.allclose(parts["both"], parts["intra"] + parts["inter"])


def test_adaptor_losses_are_means_over_the_known_nodes():
    torch.manual_seed(0)
    found = AdaptorOutput(torch.randn(2, 3, 8), torch.randn(2, 3), torch.randn(2, 3, 5))
    known = torch.tensor([[True, True, False], [True, False, False]])
    relevant, ranks = torch.tensor([[1, 0, 1], [1, 1, 1]]).bool(), torch.tensor([[0, 4, 2], [1, 2, 3]])
    terms = adaptor_losses(found, relevant, ranks, known)
    p = found.relevance.sigmoid()
    assert torch.allclose(terms["adaptor"], -(p[0, 0].log() + (1 - p[0, 1]).log() + p[1, 0].log()) / 3)
    log_r = found.ranking.log_softmax(-1)
    assert torch.allclose(terms["ranking"], -(log_r[0, 0, 0] + log_r[0, 1, 4] + log_r[1, 0, 1]) / 3)
    assert adaptor_losses(AdaptorOutput(found.nodes, None, None), relevant, ranks, known) == {}


def test_losses_do_not_see_what_follows_the_end():
    torch.manual_seed(0)
    codes, token_ids = bit_codes(12), torch.tensor([[4, 7, 0, 0, 0]])
    logits = torch.randn(1, 5, 12)
    changed = logits.clone()
    changed[:, 3:] = torch.randn(1, 2, 12) * 9
    assert caption_losses(logits, token_ids, codes) == caption_losses(changed, token_ids, codes)
    changed[:, 2] += torch.randn(12)
    assert caption_losses(logits, token_ids, codes)[1] != caption_losses(changed, token_ids, codes)[1]


def test_losses_against_their_definitions():
    torch.manual_seed(1)
    codes, token_ids, logits = bit_codes(6), torch.tensor([[2, 3, 0]]), torch.randn(1, 3, 6)
    bit, cross = caption_losses(logits, token_ids, codes)
    p = logits[0].softmax(-1)
    assert torch.allclose(bit, ((p @ codes - codes[token_ids[0]]) ** 2).mean())
    goal = torch.full((3, 6), 0.1 / 6)
    goal[range(3), token_ids[0]] += 0.9
    assert torch.allclose(cross, -(goal * p.log()).sum(-1).mean())


def test_mask_losses_are_those_of_the_known_masks():
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) > 0.5).float()
    known = torch.tensor([[True, False, False], [False, False, True]])
    cross, dice = mask_losses([logits], masks, known)
    chosen, truth = torch.stack([logits[0, 0], logits[1, 2]]), torch.stack([masks[0, 0], masks[1, 2]])
    assert torch.allclose(cross, F.binary_cross_entropy_with_logits(chosen, truth))
    p = chosen.sigmoid()
    each = 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    assert torch.allclose(dice, each.mean())
    assert [float(x) for x in mask_losses([logits], masks, torch.zeros_like(known))] == [0, 0]
