import subprocess
import sys

import pytest

from segue.synthetic.output import check_request, new_folder, run_jobs
from segue.types import InputError

COUNTS = {"train": 1, "val": 0}


@pytest.mark.parametrize(
    ("counts", "size", "message"),
    [
        (COUNTS, 31, "size: got 31, expected at least 32 pixels"),
        ({"train": 0, "val": 0}, 32, "counts: got .*, expected none negative and one above zero"),
        ({"train": 1, "val": -1}, 32, "counts: got"),
    ],
)
def test_requests_that_make_no_data_set_are_refused(tmp_path, counts, size, message):
    check_request(tmp_path / "new", COUNTS, 32)
    check_request(tmp_path, COUNTS, 32)  # an empty folder
    with pytest.raises(InputError, match=message):
        check_request(tmp_path / "new", counts, size)


def test_a_folder_that_holds_something_and_a_file_are_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(InputError, match="is there already"):
            check_request(path, COUNTS, 32)


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "deep" / "new") as fresh:
        (fresh / "a.txt").rename(fresh / "b.txt")
    assert list((tmp_path / "deep").iterdir()) == []
    with new_folder(tmp_path / "deep" / "new") as fresh:
        (fresh / "a.txt").touch()
        assert not (tmp_path / "deep" / "new").exists()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["deep", "deep/new", "deep/new/a.txt"]


@pytest.mark.parametrize(("jobs", "workers"), [(3, None), (80, 2), (80, 1)])
def test_results_come_in_the_order_of_the_jobs(jobs, workers):
    assert list(run_jobs(str, range(jobs), workers)) == [str(i) for i in range(jobs)]


def test_a_script_that_guards_nothing_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from segue.synthetic.output import run_jobs\nprint(len([*run_jobs(str, range(80), 2)]))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "80\n", "")
