import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segue.files import locked
from segue.lab.engine import COLUMNS, Row, append_row, finished_rows, read_lines, run_missing, run_row
from segue.types import InputError

FAKE = Path(__file__).with_name("fake_row.py")


def rows(*systems, seeds=(0, 1)):
    return [Row("main", system, seed, lambda work: {"dice": 1.0}) for seed in seeds for system in systems]


def run(tmp_path, table, seconds=0.0, together=0, **options):
    def command(row):
        return [sys.executable, str(FAKE), str(tmp_path), row.name, str(seconds), str(together)]

    return run_missing(table, tmp_path / "t.csv", command, lambda row: f"segue lab run t --row {row.name}", **options)


def log(tmp_path):
    path = tmp_path / "log"
    return path.read_text().split() if path.exists() else []


def test_every_row_is_appended_in_long_form(tmp_path):
    assert run(tmp_path, rows("a", "b")) == 0
    lines = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert tuple(lines[0]) == COLUMNS
    assert [(x["system"], x["seed"], x["metric"], x["value"]) for x in lines[:2]] == [
        ("a", "0", "dice", "0.5"),
        ("a", "0", "iou", "0.25"),
    ]
    assert lines[0]["command"] == "segue lab run t --row main/a/0"
    assert len(lines) == 8


def test_a_second_run_does_only_what_is_missing(tmp_path):
    run(tmp_path, rows("a"))
    run(tmp_path, rows("a", "b"))
    assert sorted(log(tmp_path)) == ["main/a/0", "main/a/1", "main/b/0", "main/b/1"]


def test_rows_run_side_by_side(tmp_path):
    assert run(tmp_path, rows("a", "b"), together=4, jobs=4) == 0
    assert len(finished_rows(tmp_path / "t.csv")) == 4


@pytest.mark.parametrize(("limit", "jobs", "threads"), [("", 2, 2), ("1", 2, 1), ("8", 1, 4), ("8", 16, 1)])
def test_a_row_has_its_share_of_the_cores_or_fewer_threads_if_asked_for(tmp_path, monkeypatch, limit, jobs, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    code = "import json, os; print(json.dumps({'threads': int(os.environ['OMP_NUM_THREADS'])}))"
    run_missing(rows("a", seeds=(0,)), tmp_path / "t.csv", lambda row: [sys.executable, "-c", code], str, jobs=jobs)
    assert [line["value"] for line in read_lines(tmp_path / "t.csv")] == [str(threads)]


def test_a_failing_row_is_reported_and_the_others_go_on(tmp_path, capsys):
    assert run(tmp_path, rows("bad", "mute", "b")) == 4
    error = capsys.readouterr().err
    assert "main/bad/0: failed with status 1" in error
    assert "main/mute/0: ended without metrics" in error
    assert finished_rows(tmp_path / "t.csv") == {("main", "b", 0), ("main", "b", 1)}


def test_no_row_starts_after_the_time_is_up(tmp_path):
    run(tmp_path, rows("a", "b"), seconds=0.4, max_minutes=0.001)
    assert log(tmp_path) == ["main/a/0"]
    assert len(finished_rows(tmp_path / "t.csv")) == 1  # the row under way was finished


def test_a_killed_run_resumes_to_the_same_table(tmp_path):
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}; from pathlib import Path; "
        f"from test_engine import rows, run; run(Path({str(tmp_path)!r}), rows('a', 'b', 'c'), seconds=0.5)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(log(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(finished_rows(tmp_path / "t.csv")) < 6
    run(tmp_path, rows("a", "b", "c"))
    assert finished_rows(tmp_path / "t.csv") == {row.key for row in rows("a", "b", "c")}
    assert len(read_lines(tmp_path / "t.csv")) == 12


ROW = """
import sys, time
from pathlib import Path
from segue.lab import engine

def wait(work):
    Path(sys.argv[1]).write_text("running")
    time.sleep(60)

engine.run_row([engine.Row("e", "s", 0, wait)], "e/s/0", Path(sys.argv[2]))
"""
RUN = """
import sys
from pathlib import Path
from segue.lab import engine

command = [sys.executable, "-c", sys.argv[1], *sys.argv[2:4]]
engine.run_missing([engine.Row("e", "s", 0, None)], Path(sys.argv[4]), lambda row: command, lambda row: "x")
"""


def test_a_row_ends_with_the_run_that_started_it(tmp_path):
    """Of a killed run the row's process went on, and the next run computed the same row beside it."""
    mark, work = tmp_path / "mark", tmp_path / "work"
    line = [sys.executable, "-c", RUN, ROW, str(mark), str(work), str(tmp_path / "table.csv")]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    while not mark.exists():
        time.sleep(0.05)
    process.kill()
    process.wait()
    with locked(work / "e-s-0"):  # which the row holds as long as it runs
        assert not (tmp_path / "table.csv").exists()


def test_two_runs_of_one_table_are_refused(tmp_path):
    lock = str(tmp_path / ".t.csv.lock")
    code = f"import fcntl, time; f = open({lock!r}, 'w'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(InputError, match="another `segue lab run` is filling this table"):
            run(tmp_path, rows("a"))
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system,value\n", "expected experiment, system, seed, metric, value, command, commit, machine"),
        (",".join(COLUMNS) + "\nmain,a,0,dice,many,c,c,m\n", "line 2: seed and value must be numbers"),
    ],
)
def test_a_broken_results_file_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        run(tmp_path, rows("a"))


def test_a_row_by_its_name(tmp_path):
    assert run_row(rows("a"), "main/a/1", tmp_path) == {"dice": 1.0}
    with pytest.raises(InputError, match="one of main/a/0, main/a/1"):
        run_row(rows("a"), "main/z/0", tmp_path)


def test_appending_keeps_what_is_there(tmp_path):
    append_row(tmp_path / "t.csv", ("e", "a b", 0), {"dice": 0.123456789}, 'with "quotes", and commas')
    append_row(tmp_path / "t.csv", ("e", "a b", 1), {"dice": 1}, "c")
    first, second = read_lines(tmp_path / "t.csv")
    assert (first["value"], first["command"]) == ("0.123457", 'with "quotes", and commas')
    assert second["seed"] == "1"
