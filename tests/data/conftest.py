"""A small folder in the LViT layout, to be broken by the tests."""

from pathlib import Path

import pytest
from hypothesis import settings

from data.lvit_folder import LEFT, RIGHT, write_book, write_pair

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")


@pytest.fixture
def lvit(tmp_path) -> Path:
    root, number = tmp_path / "data", 0
    for split, count in (("Train", 4), ("Val", 2), ("Test", 2)):
        rows = []
        for i in range(count):
            number += 1
            side = ("left", "right")[i % 2]
            write_pair(root, split, number, side)
            rows.append((f"mask_covid_{number}.png", LEFT if side == "left" else RIGHT))
        write_book(root / f"{split}_text.xlsx", rows)
    return root
