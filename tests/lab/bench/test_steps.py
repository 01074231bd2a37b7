"""A step is that of the stage that is meant, and data have the sizes of the papers'."""

import json
from pathlib import Path

import pytest
import torch

from segue.data.corpus import read_corpus
from segue.data.formats import read_pictures
from segue.lab.bench import steps
from segue.lab.bench.paper_sized import WORDS, write_coco, write_shards
from segue.lab.bench.steps import STEPS, Step, measure_step, run_here
from segue.methods.sgdiff.lexicon import build_lexicon
from segue.recipes.plan import recipe_settings
from segue.recipes.sgdiff import with_named_regions

MEGABYTE = 250_000  # numbers


def train_stages(*megabytes):
    """A training of several stages, each of two steps of a weight of so many megabytes by AdamW."""
    for size in megabytes:
        weight = torch.nn.Parameter(torch.ones(size * MEGABYTE))
        optimizer = torch.optim.AdamW([weight])
        for _ in range(2):
            optimizer.zero_grad()
            weight.sum().backward()
            optimizer.step()
    return Path()


@pytest.mark.parametrize(("stage", "batch", "size", "whole"), [(1, 1, 400, False), (2, 1, 80, True), (2, 2, 80, False)])
def test_a_step_of_a_stage_is_measured(stage, batch, size, whole, monkeypatch, capsys, tmp_path):
    def train(folder, batch):
        return lambda: train_stages(400, 80)

    toy = {str(n): Step(lambda folder: None, train, n, (1, 2), 16) for n in (1, 2)}
    monkeypatch.setattr(steps, "STEPS", toy)
    steps.RESET.write_text("5")  # what other tests held does not count
    run_here(str(stage), str(tmp_path), batch)
    found = json.loads(capsys.readouterr().out)
    assert found["trained_m"] == pytest.approx(size / 4)
    assert 0.75 < found["step_mb"] / (4 * size) < 1.75  # the weight, its gradient, two averages; AdamW takes two more
    assert found["cpu_s"] > 0
    assert ("run_mb" in found) == whole
    if whole:
        assert found["run_mb"] > 3 * 400  # the first stage, too


def test_the_recipe_s_batch_is_read_off_a_line(monkeypatch):
    monkeypatch.setitem(STEPS, "toy", Step(lambda folder: None, lambda *_: None, 1, (2, 6), 16))
    monkeypatch.setattr(steps, "_in_a_process", lambda name, folder, batch: {"step_mb": 100.0 + 50 * batch})
    found = measure_step("toy")
    assert found == {
        "batch": 6, "step_mb": 400.0, "fixed_mb": 100.0, "picture_mb": 50.0, "recipe_batch": 16, "recipe_gb": 0.9,
    }  # fmt: skip


def test_a_step_of_a_recipe_has_its_batch():
    assert {name.partition(",")[0] for name in STEPS} == {
        "reclmis-qata", "cocu-cc3m", "syntic-coco", "sgdiff-coco", "crossmodal-cocostuff",
    }  # fmt: skip
    for name, step in STEPS.items():
        whole = recipe_settings(name.partition(",")[0]).batch_size
        assert step.whole == (whole // 16 if name == "cocu-cc3m" else whole)  # which has 16 processes


def test_data_have_as_many_words_and_classes_as_the_papers(tmp_path):
    write_coco(tmp_path / "coco", train=2, val=1)
    train = read_pictures(tmp_path / "coco", "train")
    assert len(train.classes) == 171
    assert train.pictures[0].label_map().shape == (480, 640)
    named = with_named_regions(train, "train")
    assert len(build_lexicon(named, 5).words) > WORDS
    assert max(len(caption.split()) for picture in named for caption in picture.captions) >= 50
    assert len(read_corpus(tmp_path / "coco" / "dataset_coco.json")) == sum(len(p.captions) for p in train.pictures)
    shards = read_pictures(write_shards(tmp_path / "shards", 3), "train")
    assert [len(picture.captions) for picture in shards.pictures] == [1, 1, 1]
