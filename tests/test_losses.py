"""The losses against naive loops written straight from the papers, and against values computed by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from segue.losses import (
    conditioned_similarity,
    contrastive_loss,
    dice_loss,
    hardest_negative_loss,
    info_nce,
    reconstruction_loss,
    segmentation_loss,
)

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


def test_equal_notes_are_no_negatives_and_pairs_without_a_note_are_left_out():
    similarity, temperature = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), 0.5
    notes = torch.tensor([7, 7, 9, -1])  # the first two have the same note, the last has none
    naive = 0.0
    for i in (0, 1, 2):
        rivals = [j for j in (0, 1, 2) if j == i or notes[j] != notes[i]]
        for scores in (similarity / temperature, similarity.T / temperature):
            naive -= math.log(scores[i, i].exp() / sum(scores[i, j].exp() for j in rivals)) / 6
    assert contrastive_loss(similarity, temperature, notes).item() == pytest.approx(naive, rel=1e-5)
    assert contrastive_loss(similarity, temperature, torch.tensor([7, 7, 7, 7])).item() == 0
    silent = similarity.requires_grad_()
    loss = contrastive_loss(silent, temperature, torch.tensor([-1, -1, -1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert not silent.grad.abs().sum()  # and no nan


@pytest.mark.parametrize("scale", ["mean", "detached", "printed", "released"])
def test_reconstruction_loss_is_equation_8_and_10_over_real_positions(features, scale):
    """Eq. 8 for patches, all of which count, and Eq. 10 for words, of which some are padding."""
    v, e, w_v, w_e, words = features
    for x, weight, mask in ((v, w_v, None), (e, w_e, words)):
        prediction, naive = x.flip(2), 0.0
        for b in range(B):
            real = [m for m in range(x.shape[1]) if mask is None or mask[b, m]]
            for m in real:
                squared = float(sum((x[b, m, d] - prediction[b, m, d]) ** 2 for d in range(D)))
                factor = {
                    "mean": weight[b, m] / D,
                    "detached": weight[b, m] / D,
                    "printed": weight[b, m] / len(real),
                    "released": 1 / (D * len(real)),
                }
                naive += float(factor[scale]) * squared / B
        assert reconstruction_loss(x, prediction, weight, mask, scale).item() == pytest.approx(naive, rel=1e-5)


@pytest.mark.parametrize(("scale", "learns"), [("mean", True), ("detached", False), ("released", False)])
def test_weights_may_learn_to_prefer_what_is_rebuilt_easily(features, scale, learns):
    x, weight = features[0], features[2].clone().requires_grad_()
    loss = reconstruction_loss(x, x.flip(2).requires_grad_(), weight, None, scale)
    (pull,) = torch.autograd.grad(loss, weight, allow_unused=True)
    assert (pull is not None and bool((pull != 0).any())) == learns


def test_the_mean_reconstruction_loss_is_the_same_at_every_size():
    sizes = [(4, 8), (196, 8), (4, 512)]
    losses = [
        reconstruction_loss(torch.ones(2, m, d), torch.zeros(2, m, d), torch.full((2, m), 1 / m)) for m, d in sizes
    ]
    assert [loss.item() for loss in losses] == pytest.approx([1, 1, 1])


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


def test_segmentation_loss_is_dice_and_cross_entropy_by_hand():
    y = torch.tensor([[[[1.0, 0.0]]]])
    logits = torch.tensor([[[[0.0, math.log(3)]]]])  # probabilities 1/2 and 3/4
    dice = 1 - (2 * 0.5 + 1) / (0.25 + 0.5625 + 1 + 1)
    entropy = (math.log(2) + math.log(4)) / 2
    assert segmentation_loss(logits, y).item() == pytest.approx(dice + entropy, rel=1e-6)
    assert dice_loss(logits, y, smooth=3.0).item() == pytest.approx(1 - 4 / (1.8125 + 3), rel=1e-6)


def test_info_nce_by_hand():
    """Cosines 1, 0, .6 and .8: the rows and the columns have different sums."""
    image, text = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.eye(2)
    s = 2.0
    rows = -math.log(math.exp(s) / (math.exp(s) + 1)) - math.log(
        math.exp(0.8 * s) / (math.exp(0.6 * s) + math.exp(0.8 * s))
    )
    columns = -math.log(math.exp(s) / (math.exp(s) + math.exp(0.6 * s))) - math.log(
        math.exp(0.8 * s) / (1 + math.exp(0.8 * s))
    )
    found = info_nce(image, text, torch.arange(2), torch.tensor(s)).item()
    assert found == pytest.approx((rows + columns) / 4, rel=1e-6)


def test_smoothed_info_nce_spreads_a_share_over_the_captions_of_other_images():
    """Written with a target for each row; rows 1 and 2 are of one image, so neither is the other's rival."""
    g = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(4, 8, generator=g), dim=-1) for _ in range(2))
    image_index, share = torch.tensor([0, 1, 1, 2]), 0.2
    allowed = [[0, 1, 2, 3], [0, 1, 3], [0, 2, 3], [0, 1, 2, 3]]
    expected = 0.0
    for a, b in ((image, text), (text, image)):
        for i, others in enumerate(allowed):
            log_p = (3.0 * a[i] @ b[others].T).log_softmax(0)
            target = torch.full((len(others),), share / len(others))
            target[others.index(i)] += 1 - share
            expected -= float((target * log_p).sum()) / 8
    found = info_nce(image, text, image_index, torch.tensor(3.0), label_smoothing=share)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_golden():
    image, text = torch.eye(2), torch.eye(2)
    scale = torch.tensor(2.0)
    expected = -torch.log(torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 1))
    torch.testing.assert_close(info_nce(image, text, torch.arange(2), scale), expected)


def test_captions_of_one_image_are_not_used_as_negatives():
    rows = F.normalize(torch.randn(4, 8), dim=-1)
    text = F.normalize(torch.randn(4, 8), dim=-1)
    image_index = torch.tensor([0, 1, 1, 2])
    before = info_nce(rows, text, image_index, torch.tensor(10.0))
    logits = 10 * rows @ text.T
    logits[1, 2] = logits[2, 1] = -torch.inf
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(before, expected)
    assert info_nce(rows, text, torch.zeros(4, dtype=torch.int64), torch.tensor(10.0)) == 0


def test_swapping_images_and_texts_changes_no_loss():
    a, b = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    image_index = torch.tensor([0, 1, 2, 2, 3])
    for loss in (
        lambda x, y: info_nce(x, y, image_index, torch.tensor(7.0)),
        lambda x, y: hardest_negative_loss(x, y, image_index),
    ):
        torch.testing.assert_close(loss(a, b), loss(b, a))


def test_hardest_negative_golden():
    image = torch.eye(3)
    text = F.normalize(torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]), dim=-1)
    # pairs score 1, .8, 1; image 0's hardest negative text scores .6, text 1's hardest negative image .6
    expected = (torch.tensor([0.0, 0, 0]).mean() + torch.tensor([0.0, 0.0, 0]).mean()) / 2
    torch.testing.assert_close(hardest_negative_loss(image, text, torch.arange(3)), expected)
    expected = ((0.5 + 0.6 - 1) + (0.5 + 0.6 - 0.8)) / 3 / 2
    torch.testing.assert_close(hardest_negative_loss(image, text, torch.arange(3), 0.5), torch.tensor(expected))
    assert hardest_negative_loss(image, text, torch.zeros(3, dtype=torch.int64)) == 0


def test_the_default_margin_of_the_hardest_negatives():
    """Pairs score 1 and .6; the negatives 0 and .8: only one hinge is open, .2 + .8 - .6 = .4 in each direction."""
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    open_hinges = ((0.2 + 0.8 - 1) + 0 + 0 + (0.2 + 0.8 - 0.6)) / 4
    assert hardest_negative_loss(image, text, torch.arange(2)).item() == pytest.approx(open_hinges, rel=1e-5)
