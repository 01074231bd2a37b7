"""The fuzz: the same case again is the same bytes, and what a reader does wrong is seen."""

import os
import random
import subprocess
from pathlib import Path

import pytest

import fuzz
from fuzz_inputs import INPUTS, Input
from segue.types import InputError

SMALL = Input(lambda folder: (folder / "a.json").write_text('{"a": [1, 2, {"b": "c"}]}'), lambda folder: None, "*.json")


def case(folder: Path, number: int) -> bytes:
    folder.mkdir()
    fuzz.make_case(SMALL, 0, "small", number, folder)
    return (folder / "a.json").read_bytes()


def test_a_case_is_a_function_of_its_seed(tmp_path):
    cases = [case(tmp_path / str(i), i) for i in range(30)]
    assert cases[7] == case(tmp_path / "again", 7)
    assert len(set(cases)) > 20


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_files_are_broken(name):
    data = b'{"a": [1, 2, {"b": "c"}]}'
    changed = [fuzz.broken(data, name, random.Random(i)) for i in range(50)]
    assert sum(found != data for found in changed) > 45


def refuse(folder):
    raise InputError("no picture there")


def hang(folder):
    fuzz.time.sleep(60)


@pytest.mark.parametrize(
    ("read", "outcome", "text"),
    [
        (lambda folder: 3, fuzz.ANSWERED, ""),
        (refuse, fuzz.REFUSED, "no picture there"),
        (lambda folder: {}["a"], fuzz.OTHER, "KeyError"),
        (lambda folder: bytearray(3 << 30), fuzz.OTHER, "MemoryError"),
        (lambda folder: os.kill(os.getpid(), 9), fuzz.OTHER, "ended with -9"),
        (hang, fuzz.OTHER, "more than 0.3 seconds"),
        (lambda folder: (folder.parent / "other").write_text("x"), fuzz.OTHER, "outside of its folder"),
        (lambda folder: subprocess.run(["true"], check=True), fuzz.OTHER, "subprocess.Popen true"),
    ],
)
def test_what_a_reader_does_is_seen(tmp_path, monkeypatch, read, outcome, text):
    if read is hang:
        monkeypatch.setattr(fuzz, "SECONDS", 0.3)
    folder = tmp_path / "input"
    folder.mkdir()
    found, why = fuzz.run_case(read, folder)
    assert found == outcome
    assert text in why


def test_every_reader_reads_its_true_input(tmp_path):
    for name in ("coco", "masks", "notes (csv)", "caption files", "scene graphs", "karpathy"):
        folder = tmp_path / name
        folder.mkdir()
        INPUTS[name].write(folder)
        INPUTS[name].read(folder)
        assert list(folder.glob(INPUTS[name].broken))
