"""A training that rows share is done once, also where a row holds its own folder, and goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path

from segue.files import locked
from segue.lab.trained import train_once
from segue.recipes.labels import LABELS
from segue.training.state import write_state


def test_a_row_trains_in_its_own_folder_once_and_parts_are_resumed(tmp_path):
    settings, seen = replace(LABELS, out=tmp_path / "row", data=Path("data")), []

    def train(own):
        seen.append(own.resume)
        write_state(own.out / "vq" / "state", 1, {}, {})
        if len(seen) > 1:
            (own.out / "last").mkdir()
            (own.out / "last" / "config.json").write_text("{}")

    with locked(settings.out):
        for _ in range(3):
            assert train_once(settings, train) == settings.out / "last"
    assert seen == [False, True]
