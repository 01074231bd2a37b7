import os
from pathlib import Path

import pytest

from segue.files import replacing, write_text


def test_a_text_replaces_what_was_there_and_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "page.md"
    write_text(path, "first")
    write_text(path, "höher")
    assert path.read_text(encoding="utf-8") == "höher"
    assert os.listdir(path.parent) == ["page.md"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_error_on_the_way_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "whole")
    with pytest.raises(FileNotFoundError), replacing(path) as fresh:
        fresh.write_text((tmp_path / "missing").read_text())
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 251 + ".txt"), "x")
    assert len(list(tmp_path.iterdir())) == 1
