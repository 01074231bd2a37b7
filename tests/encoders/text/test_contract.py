"""What text encoders share."""

import os
from pathlib import Path

import pytest


def test_save_replaces_the_file_whole(small, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("before")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        small.save(tmp_path)
    assert Path(tmp_path / "tokenizer.json").read_text() == "before"
