"""The cost model of `segue data plan`: lines through two measured steps, and bytes that are counted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from segue.recipes import plan
from segue.recipes.cocu import train_cocu
from segue.recipes.plan import Workload, _kept, _line
from segue.recipes.sgdiff import COCO
from segue.recipes.sgdiff_plan import plan_sgdiff
from tiny_dual_encoder import tiny_scenes


def test_a_line_goes_through_both_values_and_never_falls():
    line = _line([2, 6], [3.0, 7.0])
    assert (line(2), line(6), line(10)) == (3.0, 7.0, 11.0)
    assert _line([2, 6], [5.0, 4.0])(1000) == 5.0
    assert _line([2, 6], [0.0, 8.0])(1) == 0.0


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(10))

    def training_step(self, batch):
        return {"loss": ((batch * self.factor) ** 2).sum()}


def test_what_the_backward_pass_needs_is_counted_and_the_weights_are_not():
    # batch * factor keeps the batch, the square keeps its product: two tensors of n * 10 numbers of 4 bytes
    assert _kept(Squares(), torch.ones(6, 10), "float32") == 2 * 6 * 10 * 4


def test_memory_is_weights_and_what_is_kept(monkeypatch):
    work = Workload(100, 50, 8, False, Squares(), lambda count: torch.ones(count, 10))
    monkeypatch.setattr(plan, "resolve_name", lambda name: train_cocu if "train" in name else lambda settings: work)
    found = plan.plan_training("cocu", Path("data"), processes=2)
    assert found["memory_gb"] == round((4 * 10 * 4 + 2 * 4 * 10 * 4) / 1e9, 3)
    assert found["batch_of_a_process"] == 4
    assert plan._weights(work._replace(averaged=True)) == 5 * 10 * 4


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))

    def training_step(self, batch):
        return {"loss": self.layers(batch).float().sum()}


def test_a_step_is_measured_in_the_training_s_own_precision():
    single, half = (_kept(Product(), torch.ones(500, 64), precision) for precision in ("float32", "bf16"))
    assert single == 2 * 500 * 64 * 4  # what each layer reads
    assert half < 0.8 * single


@pytest.mark.parametrize(("room", "sizes"), [(4.0, [2, 6]), (2.0, [2, 1])])
def test_a_step_that_has_no_room_is_not_tried(monkeypatch, room, sizes):
    tried = []
    work = Workload(100, 50, 8, False, Squares(), lambda count: tried.append(count) or torch.ones(count, 10))
    kept_by_six = 2 * 6 * 10 * 4
    monkeypatch.setattr(plan, "_free_memory", lambda device: room * plan.ROOM / 3 * kept_by_six)
    held = plan._measure(work, "cpu", "float32")[2]
    assert tried == sizes
    assert held(8) == 2 * 8 * 10 * 4


def test_memory_that_is_left_is_told():
    assert 0 < plan._free_memory("cpu") < 1e15


def test_the_papers_own_training_of_grounded_captions_can_be_planned(tmp_path):
    """Its steps are the paper's; here its network is small, so that the test is quick."""
    data = tiny_scenes(tmp_path / "scenes")
    small = replace(COCO, data=data, size=32, widths=(8, 8, 8, 8), channels=16, width=16, blocks=1, min_count=1)
    work = plan_sgdiff(small)
    assert (work.examples, work.steps, work.batch_size) == (6, 2 * 424_800, 16)
    assert (COCO.size, COCO.lr, COCO.prompt) == (1024, 1e-4, "first")
    terms = work.task.training_step(work.batch(2))
    assert {"mask", "dice", "mecl", "cross_entropy"} <= set(terms)
