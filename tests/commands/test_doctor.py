"""segue doctor: what is wrong with the core is told, with exit status 1."""

import json
import tempfile
from importlib import metadata

import pytest

from segue.commands import doctor


@pytest.fixture
def quick(monkeypatch):
    """Without the self-test."""
    monkeypatch.setattr(doctor, "_self_test", lambda: {"model": "none"})


def without(monkeypatch, package, found=metadata.version):
    def version(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def test_a_sound_machine_answers(segue):
    status, output, _ = segue("doctor", "--json")
    found = json.loads(output)
    assert (status, found["problems"]) == (0, [])
    assert found["self_test"]["dice"] > 0.8
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["machine"]["threads"] > 0


def test_a_wrong_answer_and_a_model_that_does_not_load_are_faults(segue, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_DICE", 1.01)
    status, output, _ = segue("doctor", "--json")
    assert (status, "expected 1.01 or more" in json.loads(output)["problems"][0]) == (1, True)
    monkeypatch.setattr(doctor, "MODEL", "nothing")
    status, output, _ = segue("doctor", "--json")
    assert (status, "nor a bundled model" in json.loads(output)["self_test"]["failed"]) == (1, True)


def test_an_extra_that_lacks_something_is_no_fault(segue, monkeypatch, quick):
    without(monkeypatch, "onnxruntime")
    status, output, _ = segue("doctor")
    (line,) = [line for line in output.splitlines() if "onnxruntime" in line]
    assert (status, line.split()[0]) == (0, "onnx")
    assert "lacks onnxruntime>=1.20: pip install" in line
    assert output.endswith("none\n")


def test_a_package_of_the_core_that_is_missing_or_too_old_is_a_fault(segue, monkeypatch, quick):
    without(monkeypatch, "tyro")
    status, output, _ = segue("doctor", "--json")
    found = json.loads(output)
    assert (status, found["problems"]) == (1, ["tyro>=0.9.1: missing or too old; pip install 'tyro>=0.9.1'"])
    assert not any("tyro" in package for lacks in found["extras"].values() for package in lacks)
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.9.0" if name == "tyro" else "2000")
    assert any(problem.startswith("tyro>=0.9.1") for problem in json.loads(segue("doctor", "--json")[1])["problems"])


def test_no_temporary_folder_is_a_fault(segue, monkeypatch, quick, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    status, output, _ = segue("doctor", "--json")
    (problem,) = json.loads(output)["problems"]
    assert status == 1
    assert problem.startswith("temporary folder: ")
    assert problem.endswith("name another in TMPDIR")
