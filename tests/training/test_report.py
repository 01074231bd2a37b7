"""The page of a run: what it shows, and that nothing of it can end a training."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segue.training import FitOptions, fit
from segue.training.report import write_run_report
from segue.types import InputError

OPTIONS = FitOptions(steps=6, batch_size=2, lr=0.1, evaluate_every=2)


@pytest.fixture(autouse=True)
def _cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch):
        error = (self.weight - batch).square().mean()
        return {"size": batch.mean(), "loss": error}


class Points:
    def __len__(self):
        return 5

    def collate(self, keys):
        return torch.tensor([[index / 5] for _, index in keys])


def run(out, options=OPTIONS, scores=(0.25, 0.75, 0.5), **more):
    left = iter(scores)
    save = lambda module, path: save_file(module.state_dict(), path / "model.safetensors")  # noqa: E731
    evaluate = (lambda module: {"iou": 0.125, "dice": next(left)}) if scores else None
    about = {"system": "<full>", "lr": "0.1"}
    return fit(Line(), Points(), out=out, options=options, save=save, evaluate=evaluate, about=about, **more)


def page(out):
    return (out / "report/index.html").read_text()


def test_a_training_ends_with_its_page(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"found": {"pictures": 1234}}))
    (tmp_path / "large.json").write_text(json.dumps(list(range(20_000))))
    result = run(tmp_path, illustrate=lambda folder: f"<p>examples of {folder.name}</p>")
    html = page(tmp_path)
    assert "6 of 6" in html
    assert "0.75 at step 4, kept in best/" in html
    assert "best: 0.75 at 4" in html
    assert html.index("<b>dice</b>") < html.index("<b>iou</b>")  # what is monitored comes first
    assert html.index("<b>loss") < html.index("<b>size</b>") < html.index("<b>learning rate</b>")
    assert f"6: {result.history[-1]['train/loss']:.4g}</title>" in html
    assert "&lt;full&gt;" in html
    assert "<h3>plan.json</h3>" in html
    assert "<td>1,234</td>" in html
    assert "too long for this page" in html
    assert "examples of best" in html


def test_a_run_without_evaluation_shows_its_last_weights(tmp_path):
    run(tmp_path, scores=(), illustrate=lambda folder: f"<p>examples of {folder.name}</p>")
    assert "examples of last" in page(tmp_path)
    assert "Validation" not in page(tmp_path)


def test_an_interrupted_run_has_a_page_and_a_resumed_one_that_of_the_whole(tmp_path):
    with pytest.raises(StopIteration):
        run(tmp_path / "stopped", scores=(0.25, 0.75))
    assert "4 of 6" in page(tmp_path / "stopped")
    assert "best: 0.75 at 4" in page(tmp_path / "stopped")
    run(tmp_path / "stopped", scores=(0.5,), resume=True)
    run(tmp_path / "whole")
    assert page(tmp_path / "stopped") == page(tmp_path / "whole").replace("whole", "stopped")


def test_a_failure_in_drawing_is_told_and_loses_nothing(tmp_path):
    def fail(folder):
        raise RuntimeError("no examples today")

    with pytest.warns(UserWarning, match=r"report: could not be drawn \(RuntimeError: no examples today\)"):
        result = run(tmp_path / "a", illustrate=fail)
    assert result == run(tmp_path / "b")
    assert page(tmp_path / "a") == page(tmp_path / "b").replace("Training of b", "Training of a")
    (tmp_path / "c/report").mkdir(parents=True)
    (tmp_path / "c/report/mine.txt").write_text("mine")
    with pytest.warns(UserWarning, match="holds files but no report"):
        assert run(tmp_path / "c") == result
    assert [path.name for path in (tmp_path / "c/report").iterdir()] == ["mine.txt"]


def test_a_page_can_be_made_of_a_runs_folder_alone(tmp_path):
    run(tmp_path, replace(OPTIONS, steps=4), scores=(0.1, 0.2))
    before = page(tmp_path)
    (tmp_path / "report/index.html").unlink()
    assert write_run_report(tmp_path).read_text() == before
    with pytest.raises(InputError, match=r"no history.jsonl there, expected the folder of a training"):
        write_run_report(tmp_path / "best")
