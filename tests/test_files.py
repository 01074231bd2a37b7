import os
from functools import partial
from pathlib import Path

import pytest

from segue.files import recover_folder, replace_folder, replacing, write_text


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


class Killed(BaseException):
    pass


def _write(text: str, folder: Path) -> None:
    (folder / "text").write_text(text)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_kill_while_replacing_a_folder_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    best = tmp_path / "best"
    replace_folder(best, partial(_write, "old"))
    left = iter(range(renames))
    rename = os.replace

    def rename_or_kill(*paths: Path) -> None:
        if next(left, None) is None:
            raise Killed
        rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", rename_or_kill)
        if renames < 2:
            with pytest.raises(Killed):
                replace_folder(best, partial(_write, "new"))
        else:
            replace_folder(best, partial(_write, "new"))
    recover_folder(best)
    assert (best / "text").read_text() == ("new" if renames == 2 else "old")
    replace_folder(best, partial(_write, "newest"))
    assert (best / "text").read_text() == "newest"
    assert {p.name for p in tmp_path.iterdir()} == {"best"}
