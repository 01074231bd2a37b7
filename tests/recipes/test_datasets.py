import subprocess
import sys
from pathlib import Path

from segue.recipes.datasets import create_once

CODE = """
import sys, time
from pathlib import Path
from segue.recipes.datasets import create_once

def make(folder):
    with Path(sys.argv[2]).open("a") as log:
        log.write("made\\n")
    time.sleep(1)
    folder.mkdir()

print(create_once(Path(sys.argv[1]), make).is_dir())
"""


def test_processes_that_ask_together_make_it_once(tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path / "data"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [answer.splitlines()[-1] for answer in answers] == ["True"] * 3
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_exists_is_left_as_it_is(tmp_path):
    def make(folder: Path) -> None:
        raise AssertionError("made again")

    (tmp_path / "file").write_text("x")
    assert create_once(tmp_path / "file", make) == tmp_path / "file"
    assert (tmp_path / "file").read_text() == "x"
