from itertools import pairwise

import pytest
import torch

from segue.methods.sgdiff.masked_diffusion import FILL_WEIGHT, hide, loss_weights, sample_masked

V, L = 6, 8


def test_some_cells_are_hidden_and_the_share_is_returned():
    torch.manual_seed(0)
    token_ids = torch.randint(1, V, (500, L))
    shown, share = hide(token_ids, V)
    hidden = shown == V
    assert torch.equal(hidden.float().mean(1), share)
    assert hidden.any(1).all()
    assert torch.equal(shown[~hidden], token_ids[~hidden])
    assert float(share.mean()) == pytest.approx(2 / torch.pi + 0.5 / L, abs=0.03)  # cos(pi / 2 u), rounded up
    assert share.min() < 0.2 < 0.9 < share.max()


def test_cells_behind_the_end_count_less():
    token_ids = torch.tensor([[3, 0, 0, 0]])
    shown = torch.tensor([[V, V, V, 0]])
    assert loss_weights(token_ids, shown, V).tolist() == [pytest.approx([1, 1, FILL_WEIGHT, 0])]


def sample(logits, **options):
    generator = torch.Generator().manual_seed(0)
    seen = []

    def fill(found):
        seen.append(found.clone())
        return logits

    rows = len(logits)
    given = {"steps": 4, "temperature": 0.0, "constrain": lambda x: x, "device": torch.device("cpu")} | options
    draw = lambda: torch.rand(logits.shape, generator=generator)  # noqa: E731
    return *sample_masked(fill, rows, L, V, draw=draw, **given), seen


def test_the_surest_come_first_and_stay():
    torch.manual_seed(0)
    logits = torch.randn(3, L, V) * torch.linspace(1, 8, L)[None, :, None]
    found, log_p, seen = sample(logits)
    assert torch.equal(found, logits.argmax(-1))
    torch.testing.assert_close(log_p, logits.log_softmax(-1).amax(-1))
    assert [(one != V).sum(1).tolist() for one in seen] == [[0] * 3, [1] * 3, [3] * 3, [5] * 3]  # cosine
    for before, after in pairwise(seen):
        assert torch.equal(after[before != V], before[before != V])
    first = seen[1] != V
    assert torch.equal(first.int().argmax(1), log_p.argmax(1))


def test_one_step_finds_all_and_temperature_makes_samples_differ():
    logits = torch.zeros(40, L, V)
    found, _, seen = sample(logits, steps=1, temperature=1.0)
    assert len(seen) == 1
    assert len({tuple(row) for row in found.tolist()}) > 30


def test_constraints_hold_at_every_step_and_do_not_move_what_is_found():
    def constrain(logits):
        logits = logits.clone()
        logits[:, 2] = -torch.inf
        logits[:, 2, 5] = 0
        return logits

    torch.manual_seed(0)
    found, _, _ = sample(torch.randn(3, L, V), constrain=constrain, temperature=0.7)
    assert (found[:, 2] == 5).all()
    assert ((found >= 0) & (found < V)).all()
