import errno
import os
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from safetensors import SafetensorError

from segue import files
from segue.files import put_folder, recover_folder, replace_folder, replacing, save_tensors, write_text


def test_a_text_replaces_what_was_there_and_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "page.md"
    write_text(path, "first")
    write_text(path, "höher")
    assert path.read_text(encoding="utf-8") == "höher"
    assert os.listdir(path.parent) == ["page.md"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_that_can_not_be_written_leaves_the_old_one_and_no_remains(tmp_path, monkeypatch):
    write_text(tmp_path / "table.csv", "whole")
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "table.csv", "new")
    assert (tmp_path / "table.csv").read_text() == "whole"
    assert os.listdir(tmp_path) == ["table.csv"]


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


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    """The link itself was replaced: the file that it led to, on which others rely, stayed old."""
    real = tmp_path / "elsewhere" / "real.json"
    write_text(real, "old")
    real.chmod(0o640)
    (tmp_path / "first.json").symlink_to(real)
    (tmp_path / "second.json").symlink_to("first.json")
    write_text(tmp_path / "second.json", "new")
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.readlink(tmp_path / "second.json") == "first.json"
    assert os.listdir(real.parent) == ["real.json"]
    (tmp_path / "dangling").symlink_to("made.txt")
    write_text(tmp_path / "dangling", "x")
    assert (tmp_path / "made.txt").read_text() == "x"


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_text(pipe, "through")
    reader.join(10)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device() -> None:
    """As root, which is usual in containers, /dev/null became a text file."""
    write_text(Path("/dev/null"), "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_standard_output_gets_the_text_after_what_it_has(tmp_path: Path) -> None:
    """A shell's `> file` is no reason to replace that file: what was printed before would be lost."""
    path = tmp_path / "notes.txt"
    code = (
        "from pathlib import Path; from segue.files import write_text\n"
        "print('first', flush=True); write_text(Path('/dev/stdout'), 'second')"
    )
    with path.open("wb") as output:
        subprocess.run([sys.executable, "-c", code], stdout=output, check=True)
    assert path.read_text() == "first\nsecond"


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "others.csv"
    path.write_text("theirs")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match=r"read-only, so it is not replaced.*others\.csv"):
        write_text(path, "mine")
    assert path.read_text() == "theirs"


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


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path):
    """Folders and files of random names stayed for ever beside what was written anew."""
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    left = tmp_path / f".{killed.pid}-{files._host()}-x{files.LEFT_OVER}"
    running = tmp_path / f".{os.getppid()}-{files._host()}-x{files.LEFT_OVER}"
    elsewhere = tmp_path / f".{killed.pid}-another-x{files.LEFT_OVER}"
    for folder in (left, running, elsewhere):
        folder.mkdir()
        (folder / "half").write_text("x")
    (tmp_path / f".{killed.pid}-{files._host()}-y{files.LEFT_OVER}").write_text("half")
    files._CLEANED.discard(tmp_path)
    write_text(tmp_path / "a.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.name, elsewhere.name, "a.txt"])


def test_a_folder_is_put_once_and_is_known_again(tmp_path):
    def write(folder):
        (folder / "a").write_text("1")

    assert put_folder(tmp_path / "out", write)
    assert put_folder(tmp_path / "out", write)
    (tmp_path / "out/b").write_text("mine")
    assert not put_folder(tmp_path / "out", write)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "out"]


def test_tensors_on_a_full_disk_are_an_error_of_the_system(tmp_path, monkeypatch):
    """safetensors has an error of its own, which no command expected: a traceback."""

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        save_tensors({}, tmp_path / "model.safetensors")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "model.safetensors"))


def test_a_link_to_a_folder_stays_and_its_folder_is_replaced(tmp_path: Path) -> None:
    """The link was put aside as the old folder, and stayed there for ever."""
    replace_folder(tmp_path / "disk" / "best", partial(_write, "old"))
    (tmp_path / "best").symlink_to(tmp_path / "disk" / "best")
    replace_folder(tmp_path / "best", partial(_write, "new"))
    assert (tmp_path / "disk" / "best" / "text").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["best", "disk"]
    assert os.listdir(tmp_path / "disk") == ["best"]
