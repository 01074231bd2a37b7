"""A GroupViT on the cells of a dual encoder: it begins as that encoder, learns, and is the head of its cells."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.cocu.groupvit.tiny_groupvit import TINY, make_model
from scenes_and_encoder import write_encoder
from segue.methods.cocu.groupvit.cells import CellGroupsTask, keep_share, on_encoder
from segue.methods.cocu.groupvit.checkpoint import load_groupvit, save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError

ON_CELLS = GroupViTConfig(
    width=16, mlp=32, depths=(1, 0), group_tokens=(4, 0), output_groups=(4, 4), heads=2, image_size=4, patch=1,
    drop_path=0.0, projection=8, projection_hidden=12, image_encoder="tiny-encoder",
)  # fmt: skip


def make_on_cells(learned=0.0):
    torch.manual_seed(0)
    model = GroupViT(ON_CELLS)
    with torch.no_grad():
        model.cell_moves.weight.normal_(std=learned)
        model.cell_moves.bias.normal_(std=learned)
    return model


def cells_of(count=3, rows=4, columns=4):
    return F.normalize(torch.randn(count, 8, rows, columns), dim=1)


def task_and_batch():
    text = F.normalize(torch.randn(5, 8), dim=-1)
    named = torch.tensor([[1, 0, 0.4, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1.0]])
    task = CellGroupsTask(make_on_cells(), text, torch.tensor([False, False, False, False, True]))
    return task, {"image": cells_of(), "named": named}


def test_an_untrained_one_leaves_the_cells_as_they_are():
    model, cells = make_on_cells().eval(), cells_of(2, 3, 5)
    vision = model.encode_image(cells)
    assert vision.grid == (3, 5)
    flat = cells.flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.refine_cells(vision), flat)


def test_the_cells_of_a_group_are_moved_by_it():
    model = make_on_cells(learned=1.0).eval()
    vision = model.encode_image(cells_of())
    share = vision.patch_assignment()
    mean = F.normalize(torch.einsum("bgn,bnd->bgd", share, vision.cells), dim=-1)
    moves = model.cell_moves(mean)
    cell = vision.cells[1, 5] + sum(share[1, g, 5] * moves[1, g] for g in range(4))
    torch.testing.assert_close(model.refine_cells(vision)[1, 5], F.normalize(cell, dim=0))


def test_steps_bring_the_loss_down_and_reach_every_part_that_learns():
    task, batch = task_and_batch()
    learning = [(name, p) for name, p in task.named_parameters() if p.requires_grad]
    optimiser = torch.optim.Adam([p for _, p in learning], lr=1e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        terms = task.train().training_step(batch)
        assert set(terms) == {"loss", "somewhere", "outside", "room"}
        terms["loss"].backward()
        optimiser.step()
        losses.append(float(terms["loss"].detach()))
    assert losses[-1] < losses[0] - 0.3
    assert not [name for name, p in learning if p.grad is None or not p.grad.abs().max() > 0]
    learned = {name.split(".")[1] for name, _ in learning}
    assert learned == {"vision_model", "cell_moves"}


def test_it_has_no_texts_of_its_own():
    model = make_on_cells()
    assert not any(name.startswith("text") for name in model.state_dict())
    with pytest.raises(InputError, match="stands on tiny-encoder: take the texts' vectors of that"):
        model.embed_texts(["a dog"])
    with pytest.raises(InputError, match="patch must be 1, got 16"):
        replace(TINY, image_encoder="tiny-encoder")
    pixels = make_model().eval()
    vision = pixels.encode_image(torch.randn(1, 3, 32, 32))
    with pytest.raises(InputError, match="no cells to refine"):
        pixels.refine_cells(vision)


def test_a_checkpoint_keeps_the_encoders_name_and_half_of_what_was_learned_moves_half_as_far(tmp_path):
    model, cells = make_on_cells(learned=1.0).eval(), cells_of()
    save_groupvit(model, tmp_path / "m")
    again = load_groupvit(tmp_path / "m")
    assert again.config == ON_CELLS
    vision = again.encode_image(cells)
    torch.testing.assert_close(again.refine_cells(vision), model.refine_cells(model.encode_image(cells)))
    kept = keep_share(model, 0.5).eval()
    torch.testing.assert_close(2 * kept.cell_moves(vision.cells), model.cell_moves(vision.cells))


def test_the_encoder_segments_by_the_groups_and_stays_as_it_is_itself(tmp_path):
    encoder = load_dual_encoder(write_encoder(tmp_path / "e"), device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    before = encoder.embed_dense([image])
    torch.testing.assert_close(on_encoder(encoder, make_on_cells()).embed_dense([image]), before)
    model = make_on_cells(learned=1.0).eval()
    grouped = on_encoder(encoder, model)
    vision = model.encode_image(before)
    torch.testing.assert_close(grouped.embed_dense([image]).flatten(2).transpose(1, 2), model.refine_cells(vision))
    assert grouped.fingerprint == encoder.fingerprint
    assert torch.equal(encoder.embed_dense([image]), before)
    with pytest.raises(InputError, match="reads pixels and stands on no dual encoder"):
        on_encoder(encoder, make_model())
    with pytest.raises(InputError, match="expected tiny-encoder, a dual encoder of Segue of width 16, got one of wi"):
        on_encoder(encoder, GroupViT(replace(ON_CELLS, projection=16)))
