"""The losses against naive loops written straight from the paper (RecLMIS Eq. 5, 6, 8, 10)."""

import math

import pytest
import torch

from segue.losses import conditioned_similarity, contrastive_loss, dice_loss, reconstruction_loss

B, N, L, D = 3, 6, 5, 4


def cosine(x, y):
    return float((x @ y) / (x.norm() * y.norm()))


@pytest.fixture
def features():
    g = torch.Generator().manual_seed(0)
    v, e = torch.randn(B, N, D, generator=g), torch.randn(B, L, D, generator=g)
    words = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    w_v = torch.rand(B, N, generator=g).softmax(1)
    w_e = torch.rand(B, L, generator=g).masked_fill(~words, -torch.inf).softmax(1)
    return v, e, w_v, w_e, words


def naive_similarity(v, e, w_v, w_e, words):
    result = torch.zeros(B, B)
    for i in range(B):
        for k in range(B):
            real = [j for j in range(L) if words[k, j]]
            a = [[cosine(v[i, n], e[k, j]) for j in real] for n in range(N)]
            patches = sum(w_v[i, n] * max(a[n]) for n in range(N))
            said = sum(w_e[k, j] * max(a[n][at] for n in range(N)) for at, j in enumerate(real))
            result[i, k] = 0.5 * (patches + said)
    return result


def test_similarity_is_equation_5(features):
    torch.testing.assert_close(conditioned_similarity(*features), naive_similarity(*features), atol=1e-6, rtol=1e-5)


def test_padding_can_not_change_the_similarity(features):
    v, e, w_v, w_e, words = features
    loud = torch.where(words[..., None], e, torch.full_like(e, 1e3))
    torch.testing.assert_close(conditioned_similarity(v, loud, w_v, w_e, words), conditioned_similarity(*features))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_contrastive_loss_is_equation_6(features, temperature):
    s = conditioned_similarity(*features)
    total = 0.0
    for i in range(B):
        rows = sum(math.exp(s[i, j] / temperature) for j in range(B))
        columns = sum(math.exp(s[j, i] / temperature) for j in range(B))
        total += math.log(math.exp(s[i, i] / temperature) / rows) / B
        total += math.log(math.exp(s[i, i] / temperature) / columns) / B
    assert contrastive_loss(s, temperature).item() == pytest.approx(-total / 2, rel=1e-5)


def test_reconstruction_loss_is_equation_8(features):
    v, _, w_v, _, _ = features
    guess = v.flip(1)
    naive = sum(
        sum(w_v[b, n] * sum((v[b, n, d] - guess[b, n, d]) ** 2 for d in range(D)) / D for n in range(N)) / N
        for b in range(B)
    )
    assert reconstruction_loss(v, guess, w_v).item() == pytest.approx(float(naive) / B, rel=1e-5)


def test_reconstruction_loss_of_words_is_equation_10_over_real_words(features):
    _, e, _, w_e, words = features
    guess = e.flip(2)
    naive = 0.0
    for b in range(B):
        real = [j for j in range(L) if words[b, j]]
        naive += sum(w_e[b, j] * float(((e[b, j] - guess[b, j]) ** 2).mean()) for j in real) / len(real)
    assert reconstruction_loss(e, guess, w_e, words).item() == pytest.approx(float(naive) / B, rel=1e-5)


def test_dice_loss_of_tiny_masks():
    y = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    sure = torch.where(y > 0, 50.0, -50.0)
    assert dice_loss(sure, y).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-sure, y).item() == pytest.approx(1 - 1 / 5, abs=1e-6)  # no overlap, |p| + |y| = 4, smooth = 1
    assert dice_loss(torch.full_like(y, -50.0), torch.zeros_like(y)).item() == pytest.approx(0, abs=1e-6)


def test_dice_loss_is_the_mean_over_the_pictures():
    g = torch.Generator().manual_seed(1)
    logits, y = torch.randn(4, 1, 5, 5, generator=g), (torch.rand(4, 1, 5, 5, generator=g) > 0.5).float()
    one_by_one = torch.stack([dice_loss(a[None], b[None]) for a, b in zip(logits, y, strict=True)]).mean()
    torch.testing.assert_close(dice_loss(logits, y), one_by_one)
