from pathlib import Path

import pytest

from segue.lab.bench import commands
from segue.lab.bench.commands import measure_folder, measure_start


@pytest.fixture
def taken(monkeypatch):
    """The words of the processes that are not started; each takes 2 s, and 2 ms a picture of its folder more."""
    asked = []

    def take(words):
        asked.append([*words])
        folder = Path(words[3]) if words[2:3] == ["segment"] else None
        return 2 + (0.002 * len([*folder.iterdir()]) if folder else 0)

    monkeypatch.setattr(commands, "_taken", take)
    return asked


def test_a_start_is_measured_beside_all_weights_that_the_command_reads(taken, monkeypatch):
    monkeypatch.setattr(commands, "_ready_seconds", lambda: 1.5)
    assert measure_start(3) == {"bare_ms": 2000, "caption_ms": 2000, "share": 1, "ready_ms": 1500}
    bare, caption = taken[:2]
    assert len(bare) == 6
    assert caption[:3] == ["-m", "segue", "caption"]
    assert len(taken) == 6


def test_the_start_of_a_command_is_no_pictures(taken, monkeypatch):
    monkeypatch.setattr(commands, "MANY", 20)
    monkeypatch.setattr(commands, "AT_ONCE", 4)
    found = measure_folder("reclmis-chest", 1)
    assert found["folder_ms"] == pytest.approx(2)
    assert found["share"] == pytest.approx(found["bare_ms"] / 2)
    assert [words[words.index("--model") + 1] for words in taken] == ["reclmis-chest"] * 2
