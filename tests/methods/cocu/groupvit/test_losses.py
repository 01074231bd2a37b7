"""GroupViT's losses against naive ones, and what the loss of groups asks for."""

import math

import pytest
import torch
import torch.nn.functional as F

from segue.methods.cocu.groupvit.losses import SHARE_EXPONENT, group_concept_loss, multi_label_loss


def naive_multi_label(images, texts, scale):
    count, each = len(images), texts.shape[1]
    loss = 0.0
    for i in range(count):
        every = [[math.exp(scale * float(images[i] @ texts[j, m])) for m in range(each)] for j in range(count)]
        loss -= math.log(sum(every[i]) / sum(map(sum, every))) / count / 2
        for m in range(each):
            others = [math.exp(scale * float(images[j] @ texts[i, m])) for j in range(count)]
            loss -= math.log(others[i] / sum(others)) / (count * each) / 2
    return loss


@pytest.mark.parametrize("each", [1, 3])
def test_multi_label_loss_is_the_papers(each):
    torch.manual_seed(each)
    images, texts = F.normalize(torch.randn(5, 8), dim=-1), F.normalize(torch.randn(5, each, 8), dim=-1)
    assert float(multi_label_loss(images, texts, 4.0)) == pytest.approx(naive_multi_label(images, texts, 4.0), abs=1e-5)
    if each == 1:
        s, own = 4 * images @ texts[:, 0].T, torch.arange(5)
        clip = (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2
        torch.testing.assert_close(multi_label_loss(images, texts, 4.0), clip)


def released(images, texts, scale):
    """The released multi-label loss, number by number: a target of 1 / M for each of a picture's M prompts."""
    count, each = len(images), texts.shape[1]
    loss = 0.0
    for i in range(count):
        weights = [[math.exp(scale * float(images[i] @ texts[j, m])) for m in range(each)] for j in range(count)]
        whole = sum(sum(row) for row in weights)
        loss -= sum(math.log(weights[i][m] / whole) / each for m in range(each)) / count / 2
        for m in range(each):
            others = [math.exp(scale * float(images[j] @ texts[i, m])) for j in range(count)]
            loss -= math.log(others[i] / sum(others)) / (count * each) / 2
    return loss


@pytest.mark.parametrize("each", [1, 3])
def test_soft_targets_are_the_released_loss(each):
    torch.manual_seed(each)
    images, texts = F.normalize(torch.randn(5, 8), dim=-1), F.normalize(torch.randn(5, each, 8), dim=-1)
    found = float(multi_label_loss(images, texts, 4.0, soft_targets=True))
    assert found == pytest.approx(released(images, texts, 4.0), abs=1e-5)
    papers = float(multi_label_loss(images, texts, 4.0))
    assert (found == pytest.approx(papers)) == (each == 1)
    assert found >= papers  # every prompt must fit, not one of them


NOTHING = torch.tensor([[-1]])


def naive_group_concept(groups, shares, texts, names, known, scale, sure=None):
    """-log p, name by name and group by group. sure: how probable each name is, where it isn't known."""
    different = sorted({n for row in names for n in row if n >= 0})
    places = {}
    for c in different:
        mean = sum(texts[i, m] for i, row in enumerate(names) for m, n in enumerate(row) if n == c)
        places[c] = mean / mean.norm()
    of_pictures = []
    for i, row in enumerate(names):
        mine = {n for n in [*row, *known[i]] if n in different}
        said = []
        for group in groups[i]:
            weight = {n: math.exp(scale * float(group @ places[n])) for n in different}
            said.append({n: value / sum(weight.values()) for n, value in weight.items()})
        if mine:
            how = {n: 1.0 if sure is None or n in known[i] else sure[i][row.index(n)] for n in mine}
            weights = [float(a) ** SHARE_EXPONENT for a in shares[i]]
            claims = [{c: weight * p for c, p in one.items()} for weight, one in zip(weights, said, strict=True)]
            of_names = sum(how[c] * math.log(max(one[c] for one in claims)) for c in mine) / sum(how.values())
            held = (sum(how[c] * one[c] for c in mine) for one in said)
            of_pixels = sum(float(a) * math.log(p) for a, p in zip(shares[i], held, strict=True))
            of_pictures.append(-of_names - of_pixels)
    return sum(of_pictures) / len(of_pictures)


def test_each_concept_has_a_group_and_each_pixel_a_concept():
    torch.manual_seed(0)
    groups, texts = F.normalize(torch.randn(4, 3, 8), dim=-1), F.normalize(torch.randn(4, 3, 8), dim=-1)
    names = [[5, 2, 2], [7, 5, 9], [-1, -1, -1], [2, 0, -1]]  # one twice in a picture, one shared, one without any
    known = [[-1, -1], [7, 2], [-1, -1], [6, -1]]  # one of its own, one of others', one of nobody's
    shares = torch.randn(4, 3).softmax(1)
    loss = group_concept_loss(groups, shares, texts, torch.tensor(names), torch.tensor(known), 4.0)
    assert float(loss) == pytest.approx(naive_group_concept(groups, shares, texts, names, known, 4.0), abs=1e-5)
    sure = [[0.3, 0.9, 0.9], [0.2, 0.6, 0.1], [1.0, 1.0, 1.0], [0.5, 0.7, 1.0]]  # one of a name that is known too
    loss = group_concept_loss(groups, shares, texts, torch.tensor(names), torch.tensor(known), 4.0, torch.tensor(sure))
    expected = naive_group_concept(groups, shares, texts, names, known, 4.0, sure)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    no_names, no_known = torch.full((4, 3), -1), torch.full((4, 2), -1)
    nothing = group_concept_loss(groups.requires_grad_(), shares, texts, no_names, no_known, 4.0)
    nothing.backward()
    assert nothing.item() == 0


def test_a_name_that_two_pictures_share_is_true_of_both():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog])[None].expand(2, -1, -1), torch.stack([sky, dog])[None].expand(2, -1, -1)
    names, half = torch.tensor([[0, 1], [0, 1]]), torch.full((2, 2), 0.5)
    loss = float(group_concept_loss(groups, half, texts, names, NOTHING, 50.0))
    assert loss == pytest.approx(SHARE_EXPONENT * math.log(2), abs=1e-4)
    shown = F.normalize(groups.mean(1), dim=-1)
    assert float(multi_label_loss(shown, texts, 50.0)) > math.log(2) * 0.99  # the papers' can't tell the two apart


def test_groups_that_are_one_thing_are_better_than_one_that_is_all_or_one_without_pixels():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    texts, names = torch.stack([sky, dog])[None], torch.tensor([[0, 1]])
    mixed = F.normalize(sky + dog, dim=0).expand(1, 2, -1)
    half, whole = torch.full((1, 2), 0.5), torch.tensor([[1.0, 0.0]])
    apart = float(group_concept_loss(texts, half, texts, names, NOTHING, 50.0))
    assert apart == pytest.approx(SHARE_EXPONENT * math.log(2), abs=1e-4)
    assert float(group_concept_loss(mixed, whole, texts, names, NOTHING, 50.0)) == pytest.approx(math.log(2), abs=1e-4)
    assert float(group_concept_loss(texts, whole, texts, names, NOTHING, 50.0)) > math.log(2)


def test_what_a_picture_is_known_to_show_is_true_of_it_though_only_another_draws_it():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog]).expand(2, -1, -1), torch.stack([sky, dog])[:, None]
    names, half = torch.tensor([[0], [1]]), torch.full((2, 2), 0.5)
    unknown = float(group_concept_loss(groups, half, texts, names, NOTHING, 50.0))
    assert float(group_concept_loss(groups, half, texts, names, torch.tensor([[1], [0]]), 50.0)) < unknown / 10


def test_pixels_go_to_groups_that_have_one_of_the_names():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog]).expand(2, -1, -1), torch.stack([sky, dog])[:, None]
    shares = torch.full((2, 2), 0.5, requires_grad=True)
    group_concept_loss(groups, shares, texts, torch.tensor([[0], [1]]), NOTHING, 50.0).backward()
    assert shares.grad is not None
    assert (shares.grad.argmin(1) == torch.tensor([0, 1])).all()
