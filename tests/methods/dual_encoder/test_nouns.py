"""The head of cells that learns from the nouns of captions: its loss by hand, and that nothing else moves."""

import pytest
import torch
import torch.nn.functional as F

from contract.encoders import pictures
from methods.dual_encoder.test_model import TEXTS, make_model
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.dense import embed_names
from segue.methods.dual_encoder.nouns import NounShifts, NounTask


def task(**weights):
    model = make_model().eval()
    text = F.normalize(torch.randn(3, model.width, generator=torch.Generator().manual_seed(0)), dim=-1)
    return NounTask(model, text, torch.tensor([False, False, True]), **weights)


def batch(width):
    cells = F.normalize(torch.randn(2, 20, width, generator=torch.Generator().manual_seed(1)), dim=-1)
    return {"cells": cells, "named": torch.tensor([[True, False, False], [True, True, False]])}


def test_the_loss_is_that_of_the_equation():
    one = task(outside=0.5, room=2.0, decay=0.1)
    with torch.no_grad():
        one.head.weight.copy_(0.1 * torch.eye(one.model.width).flip(0))
    given = batch(one.model.width)
    terms = one.training_step(given)
    log_q = F.normalize(given["cells"] + given["cells"] @ one.head.weight.T, dim=-1) @ one.text.T
    log_q = (log_q / one.model.temperature).log_softmax(-1)
    somewhere, outside, room = [], [], []
    for i, (named, may_be) in enumerate([([0], [0, 2]), ([0, 1], [0, 1, 2])]):
        somewhere.append(sum(-log_q[i, :, n].sort().values[-2:].mean() for n in named) / len(named))  # 2 of 20 cells
        outside.append(-log_q[i][:, may_be].exp().sum(1).log().mean())
        parts = [log_q[i, :, n].exp().mean() / 0.05 for n in named]
        room.append(sum(-part.clamp(1e-4, 1).log() for part in parts) / len(named))
    for name, values in (("somewhere", somewhere), ("outside", outside), ("room", room)):
        torch.testing.assert_close(terms[name], sum(values) / 2)
    decay = one.head.weight.square().sum()
    expected = terms["somewhere"] + 0.5 * terms["outside"] + 2 * terms["room"] + 0.1 * decay
    torch.testing.assert_close(terms["loss"], expected)


def test_training_gives_each_cell_the_noun_of_its_picture_that_it_is_nearest_to():
    one = task(decay=0.0)
    step, losses = torch.optim.Adam(one.head.parameters(), 0.02), []
    for _ in range(40):
        loss = one.training_step(batch(one.model.width))["loss"]
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert [name for name, weight in one.named_parameters() if weight.requires_grad] == ["head.weight"]


def test_only_vectors_of_cells_change_and_the_checkpoint_keeps_their_head(tmp_path):
    one, images = task(), pictures()
    torch.nn.init.normal_(one.head.weight, std=0.3)
    merged = one.merged(0.5)
    assert merged.fingerprint == one.model.fingerprint  # so what reads the vectors of pictures and texts still may
    assert torch.equal(merged.embed_images(images), one.model.embed_images(images))
    assert torch.equal(merged.embed_texts(TEXTS), one.model.embed_texts(TEXTS))
    before, after = one.model.embed_dense(images), merged.embed_dense(images)
    moved = before + 0.5 * torch.einsum("ed,ndhw->nehw", one.head.weight.detach(), before)
    torch.testing.assert_close(after, F.normalize(moved, dim=1))
    assert one.model.cell_head is None
    assert not one.model.config.cell_head
    save_dual_encoder(merged, tmp_path / "model", {})
    torch.testing.assert_close(load_dual_encoder(tmp_path / "model").embed_dense(images), after)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_is_that_of_the_trained_head(share):
    one = task()
    torch.nn.init.normal_(one.head.weight)
    head = one.merged(share).cell_head
    assert head is not None
    torch.testing.assert_close(head.weight, share * one.head.weight)


def unit(*rows):
    return F.normalize(torch.tensor(rows), dim=-1)


def test_shifts_are_those_of_the_cells_where_a_noun_leads():
    text = unit([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.1, 1.0])
    shifts = NounShifts(text, presence=-0.1)
    named, possible = torch.tensor([True, True, False]), torch.tensor([False, False, True])
    first, second, third = unit([0.9, 0.1, 0.2]), unit([0.1, 0.8, 0.3]), unit([0.0, 0.0, 1.0])
    cells = torch.cat([first.expand(3, -1), second.expand(3, -1), third.expand(14, -1)])  # 30 % of 20 are 6
    for _ in range(3):
        shifts.add(cells, unit([1.0, 1.0, 1.0])[0], named, possible)
    assert shifts.pictures.tolist() == [3, 3, 0]  # the third is no caption's
    places, found = shifts.shifts(0.5)
    assert places.tolist() == [0, 1]
    a, b = text[:2] - text[:2].mean(0), torch.cat([first, second]) - torch.cat([first, second]).mean(0)
    torch.testing.assert_close(found, 0.5 * (a.norm(dim=1).mean() / b.norm(dim=1).mean() * b - a))


def test_pictures_where_a_noun_leads_nowhere_do_not_count_and_seldom_ones_stay():
    text = unit([1.0, 0.0], [0.0, 1.0])
    shifts, named = NounShifts(text, presence=0.0), torch.tensor([True, False])
    for _ in range(3):
        shifts.add(unit([0.1, 0.9]).expand(20, -1), text[0], named, torch.tensor([False, True]))
    shifts.add(unit([0.9, 0.1]).expand(20, -1), text[0], named, torch.tensor([False, True]))
    assert shifts.pictures.tolist() == [1, 0]
    assert [len(part) for part in shifts.shifts(0.5)] == [0, 0]


def test_a_noun_and_its_plural_are_moved_and_a_checkpoint_keeps_that(tmp_path):
    model, prompts = make_model().eval(), ("a {}",)
    before = embed_names(model, ["dog", "Dogs", "grass"], prompts)
    model.set_noun_shifts(("cat", "dog"), torch.eye(2, model.width))
    save_dual_encoder(model, tmp_path / "e", {})
    again = load_dual_encoder(tmp_path / "e", device="cpu")
    after = embed_names(again, ["dog", "Dogs", "grass"], prompts)
    added = torch.eye(2, model.width)[[1, 1]]
    torch.testing.assert_close(after[:2], F.normalize(before[:2] + added, dim=-1))
    torch.testing.assert_close(after[2], before[2])
    assert again.fingerprint == model.fingerprint
