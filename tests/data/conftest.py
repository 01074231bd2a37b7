"""A small folder in the LViT layout, to be broken by the tests."""

from pathlib import Path

import pytest
from hypothesis import settings

from data.lvit_folder import write_lvit

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")


@pytest.fixture
def lvit(tmp_path) -> Path:
    return write_lvit(tmp_path / "data")
