"""segue models: one line a model, bundled or in a folder of the user's."""

import json
import shutil

import pytest

from segue.api import LOADERS
from segue.commands import models
from segue.weights import bundled


def listed(segue, *folders):
    status, output, _ = segue("models", *folders, "--json")
    assert status == 0
    return {model["name"]: model for model in json.loads(output)["models"]}


def test_every_bundled_model_and_every_method_is_described(segue):
    found = listed(segue)
    assert list(found) == list(bundled())
    assert {
        name for name, model in found.items() if models.NOT_STATED in (model["trained_on"], model["license"])
    } == set()
    assert set(LOADERS) <= set(models.JOBS)
    chest = found["reclmis-chest"]
    assert (chest["method"], chest["job"], chest["needs"]) == ("reclmis", "segment --note", [])
    assert 3 < chest["megabytes"] < 4


def test_a_missing_extra_is_reported_also_of_a_models_encoder(segue, monkeypatch, tmp_path):
    captioner = {"method": "syntic", "encoder": {"name": "photos-encoder"}}
    (tmp_path / "captioner").mkdir()
    (tmp_path / "captioner/config.json").write_text(json.dumps(captioner))
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    status, output, _ = segue("models", "captioner")
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert status == 0
    assert "offline (missing)" in lines["photos-encoder"]
    assert "offline (missing)" in lines["captioner"]
    assert "missing" not in lines["reclmis-chest"]
    monkeypatch.setattr(models, "find_spec", lambda name: name)
    assert listed(segue, "captioner")["captioner"]["lacks"] == []


def test_runs_of_a_folder_are_listed_with_what_they_tell(segue, tiny_model, tmp_path):
    for run in ("one/best", "two/last"):
        shutil.copytree(tiny_model, tmp_path / "runs" / run)
    (tmp_path / "runs/one/best/README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (tmp_path / "runs/features").mkdir()
    found = listed(segue, "runs")
    own = [model for name, model in found.items() if name.startswith("runs/")]
    assert [model["name"] for model in own] == ["runs/one", "runs/two"]
    assert [model["license"] for model in own] == ["cc-by-4.0", models.NOT_STATED]
    assert {(model["job"], model["trained_on"]) for model in own} == {("segment --note", "a test")}


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_model_is_refused(segue, folder):
    status, _, error = segue("models", folder)
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith(f"segue: {folder}: no model there; expected a checkpoint")
