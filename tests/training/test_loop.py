"""The loop in one process: what a step does, when it stops, what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from segue.training import FitOptions, example_keys, fit, learning_rate, loop, read_history
from segue.types import InputError

OPTIONS = FitOptions(steps=6, batch_size=4, lr=0.1, evaluate_every=2)


@pytest.fixture(autouse=True)
def _cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


class Line(nn.Module):
    """y = w x: 'loss' is the mean of its squared errors; the term 'size' is only reported."""

    def __init__(self, poison_at=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 1))
        self.register_buffer("index", torch.arange(50))
        self.register_buffer("seen", torch.zeros(()))
        self.batches, self.poison_at = [], poison_at

    def training_step(self, batch):
        assert self.training
        self.batches.append(batch)
        self.seen += 1
        error = (batch @ self.weight - batch.sum(1, keepdim=True)).square().mean()
        size = batch.abs().mean()
        if len(self.batches) == self.poison_at:
            error, size = error * math.inf, size / 0
        return {"loss": error, "size": size}


class Points:
    def __init__(self, examples=7):
        self.examples = examples

    def __len__(self):
        return self.examples

    def collate(self, keys):
        return torch.tensor([[epoch + 1.0, index / 7] for epoch, index in keys])


def save(module, path):
    save_file(module.state_dict(), path / "model.safetensors")


def run(out, options=OPTIONS, task=None, examples=7, **arguments):
    return fit(task or Line(), Points(examples), out=out, options=options, save=save, **arguments)


def test_a_device_is_the_cpu_or_a_gpu():
    for device in ("cpu", "cuda", "auto"):
        assert replace(OPTIONS, device=device).device == device
    with pytest.raises(InputError, match="device: got 'tpu', expected auto, cpu or cuda"):
        replace(OPTIONS, device="tpu")


@pytest.mark.parametrize(
    ("device", "there", "on_cpu"), [("cpu", True, True), ("auto", True, False), ("auto", False, True)]
)
def test_the_device_is_given_to_accelerate(device, there, on_cpu, tmp_path, monkeypatch):
    asked = []

    def accelerator(**options):
        asked.append(options["cpu"])
        return Accelerator(mixed_precision="no", cpu=True)

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.setattr(loop, "Accelerator", accelerator)
    run(tmp_path / "run", replace(OPTIONS, device=device))
    assert asked == [on_cpu]


def test_a_run_may_be_resumed_on_another_device(tmp_path):
    run(tmp_path / "run", replace(OPTIONS, steps=2, device="auto"))
    assert run(tmp_path / "run", replace(OPTIONS, steps=4, device="cpu"), resume=True).steps == 4


def weight(out, folder="last"):
    return load_file(out / folder / "model.safetensors")["weight"]


def scores(*values):
    """An evaluation that gives these values one after another."""
    left = iter(values)
    return lambda module: {"dice": next(left)}


def test_learning_rate_warms_up_then_falls_as_a_cosine():
    options = FitOptions(steps=12, batch_size=1, lr=2.0, warmup=4)
    rates = [learning_rate(step, options) for step in range(13)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.0)


def test_learning_rate_can_start_and_end_above_zero():
    options = FitOptions(steps=30, batch_size=4, lr=1.0, warmup=10, first_lr=0.1, last_lr=0.2)
    rates = [learning_rate(step, options) for step in range(31)]
    assert rates[0] == pytest.approx(0.1 + 0.9 / 10)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[20] == pytest.approx(0.6)
    assert rates[30] == pytest.approx(0.2)


def test_keys_are_whole_epochs_in_a_seeded_order_from_any_position():
    keys = example_keys(5, seed=1, first=0, count=13)
    assert [epoch for epoch, _ in keys] == [0] * 5 + [1] * 5 + [2] * 3
    assert sorted(keys[:5]) == [(0, i) for i in range(5)]
    assert sorted(keys[5:10]) == [(1, i) for i in range(5)]
    assert [i for _, i in keys[:5]] != [i for _, i in keys[5:10]]
    assert keys[7:10] == example_keys(5, seed=1, first=7, count=3)
    assert keys != example_keys(5, seed=2, first=0, count=13)


def test_training_learns_and_writes_what_it_says(tmp_path):
    result = run(tmp_path, replace(OPTIONS, steps=60), evaluate=scores(*range(30)))
    assert result.history == read_history(tmp_path)
    assert set(result.history[0]) == {"step", "lr", "train/loss", "train/size"}
    assert set(result.history[1]) == {*result.history[0], "evaluate/dice"}
    assert result.history[-1]["train/loss"] < 0.01 * result.history[0]["train/loss"]
    assert (result.steps, result.best, result.best_step) == (60, 29, 60)
    assert list((tmp_path / "tensorboard").iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {"best", "last", "state", "tensorboard", "report", "history.jsonl"}


def test_accumulation_equals_one_large_batch(tmp_path):
    run(tmp_path / "large")
    task = Line()
    accumulated = run(tmp_path / "small", replace(OPTIONS, accumulate=2), task)
    torch.testing.assert_close(weight(tmp_path / "small"), weight(tmp_path / "large"), atol=1e-6, rtol=1e-5)
    assert [len(batch) for batch in task.batches] == [2] * 12
    large = read_history(tmp_path / "large")
    assert [r["train/loss"] for r in accumulated.history] == pytest.approx([r["train/loss"] for r in large])


def test_workers_make_the_same_batches(tmp_path):
    alone, helped = Line(), Line()
    run(tmp_path / "alone", replace(OPTIONS, steps=2), alone)
    run(tmp_path / "helped", replace(OPTIONS, steps=2, workers=1), helped)
    assert all(torch.equal(a, b) for a, b in zip(alone.batches, helped.batches, strict=True))


def test_average_follows_the_weights_slowly_and_is_what_is_saved(tmp_path):
    task, evaluated = Line(), []

    def evaluate(module):
        evaluated.append(module.weight.detach().clone())
        return {"dice": 1.0}

    run(tmp_path, replace(OPTIONS, ema=0.5, steps=3, evaluate_every=1), task, evaluate=evaluate)
    plain = tmp_path / "plain"
    raw = []
    run(
        plain,
        replace(OPTIONS, steps=3, evaluate_every=1),
        evaluate=lambda m: {"dice": float(len(raw.append(m.weight.detach().clone()) or raw))},
    )
    second = raw[0].lerp(raw[1], 9 / 11)
    torch.testing.assert_close(evaluated, [raw[0], second, second.lerp(raw[2], 9 / 12)])
    assert torch.equal(weight(tmp_path), evaluated[2])
    assert torch.equal(weight(tmp_path, "best"), evaluated[0])
    assert torch.equal(task.weight.detach(), raw[2])
    assert not task.training
    saved = load_file(tmp_path / "last/model.safetensors")
    assert torch.equal(saved["index"], torch.arange(50))
    assert 1 < saved["seen"] < 3


def test_patience_stops_the_run_and_keeps_the_best(tmp_path):
    result = run(tmp_path, replace(OPTIONS, steps=40, patience=2), evaluate=scores(0.1, 0.5, 0.4, math.nan, 0.9))
    assert (result.steps, result.best, result.best_step) == (8, 0.5, 4)
    assert not torch.equal(weight(tmp_path, "best"), weight(tmp_path, "last"))
    again = run(tmp_path, replace(OPTIONS, steps=40, patience=2), evaluate=scores(), resume=True)
    assert again == result


def test_clipping_bounds_the_gradient(tmp_path):
    norms = []
    task = Line()
    step = torch.optim.AdamW.step

    def recorded(self, *arguments, **keywords):
        norms.append(task.weight.grad.norm().item())
        return step(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", recorded)
        run(tmp_path, replace(OPTIONS, clip_norm=0.01), task)
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)


def test_infinite_loss_names_step_and_terms_and_spares_the_weights(tmp_path):
    task = Line(poison_at=3)
    with pytest.raises(FloatingPointError, match=r"step 3: loss is inf, size is inf; expected finite terms"):
        run(tmp_path, task=task)
    assert torch.isfinite(task.weight).all()
    assert (tmp_path / "state/current").read_text() == "step-00000002\n"


class Recording(Line):
    """Records the type that its products have in the forward pass."""

    def training_step(self, batch):
        self.product = (batch @ self.weight).dtype
        return super().training_step(batch)


@pytest.mark.parametrize(
    ("precision", "product"), [("bf16", torch.bfloat16), ("float32", torch.float32), ("auto", torch.float32)]
)
def test_bf16_is_used_where_it_is_asked_for_and_the_weights_stay_float32(tmp_path, precision, product):
    task = Recording()
    result = run(tmp_path, replace(OPTIONS, precision=precision, steps=2), task)
    assert task.product == product
    assert task.weight.dtype == torch.float32
    assert all(math.isfinite(row["train/loss"]) for row in result.history)


def test_auto_is_bf16_where_that_is_fast(tmp_path, monkeypatch):
    monkeypatch.setattr("segue.nn.devices.has_fast_bf16", lambda kind: True)
    task = Recording()
    run(tmp_path, replace(OPTIONS, precision="auto", steps=1), task)
    assert task.product == torch.bfloat16


def test_folder_of_another_run_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(InputError, match=r"holds the state of a run; pass --resume"):
        run(tmp_path)


def test_nothing_to_resume_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no saved state to resume from; start the run without --resume"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": replace(OPTIONS, steps=4)}, r"steps: got 4, but the run in .* has 6"),
        ({"options": replace(OPTIONS, lr=0.2)}, r"lr: got 0.2, but the run in .* has 0.1"),
        ({"examples": 8}, r"examples: got 8, but the run in .* has 7"),
        ({"about": {"system": "full"}}, r"system: got full, but the run in .* has other"),
        (
            {"about": {"system": "other", "tau": "1"}},
            r"tau: got 1, but the run in .* has no such setting.* of an earlier",
        ),
        ({"about": {"lr": "0.1"}, "options": replace(OPTIONS, lr=0.2)}, r"lr: got 0.2, but the run in .* has 0.1"),
        ({"task": nn.Linear(1, 1)}, r"of another model than the one to train"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, changes, message):
    about = {"about": {"system": "other", "lr": "0.1"}}
    run(tmp_path, **about)
    with pytest.raises(InputError, match=message):
        run(tmp_path, resume=True, **about | changes)


def test_what_is_recorded_is_recorded_before_the_first_step_of_a_run_that_is_not_refused(tmp_path):
    task, seen = Line(), []

    def record():
        seen.append(len(task.batches))

    run(tmp_path, task=task, record=record)
    assert seen == [0]
    with pytest.raises(InputError, match=r"lr: got 0\.2"):
        run(tmp_path, replace(OPTIONS, lr=0.2), resume=True, record=record)
    run(tmp_path, resume=True, record=record)  # it is finished
    assert seen == [0]
    with pytest.warns(UserWarning, match="12 steps in the place of 6"):
        run(tmp_path, replace(OPTIONS, steps=12), resume=True, record=record)
    assert len(seen) == 2


def test_a_resumed_run_of_more_steps_goes_on_by_the_longer_schedule(tmp_path):
    run(tmp_path, replace(OPTIONS, warmup=1))
    longer = replace(OPTIONS, steps=12, warmup=2, evaluate_every=4)
    with pytest.warns(UserWarning, match="12 steps in the place of 6: from step 6 on .* it rises once"):
        result = run(tmp_path, longer, resume=True)
    assert (result.steps, [row["step"] for row in result.history]) == (12, list(range(1, 13)))
    assert [row["lr"] for row in result.history[6:]] == [learning_rate(step, longer) for step in range(6, 12)]
    with pytest.raises(InputError, match=r"steps: got 6, but the run in .* has 12"):
        run(tmp_path, replace(OPTIONS, warmup=1), resume=True)


def test_a_run_that_patience_stopped_goes_on_with_more_steps(tmp_path):
    options = replace(OPTIONS, steps=40, patience=2)
    run(tmp_path, options, evaluate=scores(0.5, 0.4, 0.3))
    with pytest.warns(UserWarning, match="60 steps in the place of 40"):
        result = run(tmp_path, replace(options, steps=60), evaluate=scores(0.2, 0.6, 0.1, 0.1), resume=True)
    assert (result.steps, result.best, result.best_step) == (14, 0.6, 10)


def test_workers_may_change_on_resume(tmp_path):
    first = run(tmp_path)
    assert run(tmp_path, replace(OPTIONS, workers=1), resume=True) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: got 0, expected 1 or more"),
        ({"lr": -1.0}, "lr: got -1.0, expected 0 or more"),
        ({"lr": math.nan}, "lr: got nan, expected 0 or more"),
        ({"ema": 1.0}, "ema: got 1.0, expected a decay"),
        ({"precision": "fp16"}, "precision: got 'fp16', expected auto, float32 or bf16"),
        (
            {"accumulate": 3},
            "batch_size: got 4, expected a multiple of accumulate x processes = 3 x 1; for instance 6",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, replace(OPTIONS, **changes))


def test_no_examples_are_refused(tmp_path):
    with pytest.raises(InputError, match="got no example"):
        run(tmp_path, examples=0)


def test_unknown_monitor_lists_the_metrics(tmp_path):
    with pytest.raises(InputError, match=r"monitor: got 'iou', expected one of .*: dice"):
        run(tmp_path, evaluate=scores(0.1), monitor="iou")


class TwoLines(nn.Module):
    """Two lines of which the first has a gradient a thousand times as large."""

    def __init__(self, clip_apart):
        super().__init__()
        self.steep, self.flat = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
        self.clip_apart = clip_apart

    def training_step(self, batch):
        return {"loss": 1000 * self.steep(batch).square().mean() + self.flat(batch).square().mean()}


@pytest.mark.parametrize("apart", [(), ("steep.",)])
def test_a_part_is_clipped_apart(tmp_path, monkeypatch, apart):
    torch.manual_seed(0)
    clipped = []

    def step(self, whole=torch.optim.AdamW.step):
        clipped.append([float(p.grad.norm()) for group in self.param_groups for p in group["params"]])
        return whole(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(tmp_path, replace(OPTIONS, steps=1, evaluate_every=1, clip_norm=0.01), TwoLines(apart))
    steep, flat = clipped[0]
    assert steep == pytest.approx(0.01, rel=0.02)
    assert (flat == pytest.approx(0.01, rel=0.02)) is bool(apart)


class SlopeAndHeight(Line):
    """y = w x + b, with a rate of its own for b, if any."""

    def __init__(self, lr_scale):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.lr_scale = lr_scale

    def training_step(self, batch):
        return {"loss": (batch @ self.weight + self.bias).square().mean()}


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_matrices_decay_and_other_parameters_do_not(tmp_path, monkeypatch, scale):
    groups = []

    def step(self, whole=torch.optim.AdamW.step):
        groups.extend((g["weight_decay"], g["lr"], [p.ndim for p in g["params"]]) for g in self.param_groups)
        return whole(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    options = replace(OPTIONS, steps=1, evaluate_every=1, weight_decay=0.3)
    run(tmp_path, options, SlopeAndHeight({"bias": scale}))
    assert groups == [(0.3, 0.1, [2]), (0.0, pytest.approx(0.1 * scale), [1])]
