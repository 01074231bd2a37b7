"""Tables by name: their rows are listed without data, and run on the data that is given."""

import json
from pathlib import Path
from pkgutil import resolve_name

import pytest
import tyro
from tyro.conf import Positional

from segue.lab.engine import append_row
from segue.lab.registry import COMMANDS, TABLES
from segue.lab.run import RunOptions, rows_of, run_table
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError

PHOTOGRAPHS = ("dual_encoder_flickr8k", "cocu_real", "crossmodal_real", "reclmis_real", "sgdiff_real", "syntic_real")


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_listed_without_data_and_have_names_of_their_own(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = rows_of(table)
    assert rows
    assert len({row.name for row in rows}) == len(rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table", PHOTOGRAPHS)
@pytest.mark.parametrize("given", [None, "nowhere"])
def test_a_row_of_photographs_says_what_data_it_needs(table, given, tmp_path):
    data = given and tmp_path / given
    with pytest.raises(InputError, match=f"--data {data}: expected a folder"):
        run_table(table, RunOptions(row=rows_of(table)[-1].name, work=tmp_path / "work", data=data))


@pytest.mark.parametrize("table", PHOTOGRAPHS)
def test_missing_data_is_refused_once_and_before_any_row(table, tmp_path, monkeypatch):
    """Each row was once started, and failed by itself."""
    monkeypatch.setattr("segue.lab.engine._start", lambda *_: pytest.fail("a row was started"))
    options = RunOptions(work=tmp_path / "work", results=tmp_path / "results")
    with pytest.raises(InputError, match="--data None: expected a folder"):
        run_table(table, options)
    for row in rows_of(table):
        append_row(options.results / f"{table}.csv", row.key, {"score": 1.0}, "c")
    run_table(table, options)  # nothing is missing, so no data either


def test_the_data_may_be_the_current_folder(tmp_path, monkeypatch, capsys):
    make_scenes(tmp_path / "scenes", train=1, val=1, test=2, size=48, workers=1)

    def drawn(*args, **options):
        raise AssertionError("other scenes were drawn")

    monkeypatch.setattr("segue.recipes.datasets.make_scenes", drawn)
    monkeypatch.chdir(tmp_path / "scenes")
    capsys.readouterr()
    run_table("relations_scenes", RunOptions(row="test/spatial/0", work=tmp_path / "work", data=Path(".")))
    assert set(json.loads(capsys.readouterr().out)) == {"recall20", "accuracy"}


def test_a_row_runs_by_a_command_that_is_understood_and_is_filed_without_folders(tmp_path, monkeypatch):
    called = {}

    def run_missing(rows, file, command, shown_command, **options):
        row = next(row for row in rows if row.name == "main/full/0")
        called.update(options, file=file, command=command(row), shown=shown_command(row))
        return 0

    monkeypatch.setattr("segue.lab.run.run_missing", run_missing)
    options = RunOptions(jobs=2, max_minutes=3, results=tmp_path / "r", work=tmp_path / "w", data=tmp_path / "my data")
    run_table("reclmis", options)
    assert called["file"] == tmp_path / "r/reclmis.csv"
    assert (called["jobs"], called["max_minutes"]) == (2, 3)
    assert called["shown"] == "segue lab run reclmis --row main/full/0 --data DATA"
    assert called["command"][1:5] == ["-m", "segue", "lab", "run"]
    understood = []

    def stand_in(table: Positional[str], /, options: RunOptions = RunOptions()) -> None:
        understood.append((table, options))

    tyro.cli(stand_in, args=called["command"][5:], config=(tyro.conf.OmitArgPrefixes,))
    expected = RunOptions(row="main/full/0", work=tmp_path / "w", data=tmp_path / "my data")
    assert understood == [("reclmis", expected)]
    run_table("reclmis", RunOptions())
    assert called["shown"] == "segue lab run reclmis --row main/full/0"
    assert "--data" not in called["command"]


def test_failed_rows_end_the_command_with_an_error(monkeypatch):
    monkeypatch.setattr("segue.lab.run.run_missing", lambda *args, **options: 2)
    with pytest.raises(InputError, match="2 rows of costs failed, see above"):
        run_table("costs")


def test_the_tables_are_listed_and_others_refused(capsys):
    run_table("list")
    assert capsys.readouterr().out.split() == list(TABLES)
    with pytest.raises(InputError, match="table 'nonsense': expected one of "):
        run_table("nonsense")
    with pytest.raises(InputError, match="jobs: got 0, expected 1 or more"):
        RunOptions(jobs=0)


def test_the_commands_of_the_lab_are_there():
    tables = [COMMANDS]
    for table in tables:
        for where in table.values():
            tables.append(where) if isinstance(where, dict) else resolve_name(where)
    assert set(COMMANDS) == {"run", "bench", "report", "claims"}
