"""Tables by name: their rows are listed without data, and run on the data that is given."""

import json
from pathlib import Path

import pytest

from segue.lab.registry import TABLES
from segue.lab.run import RunOptions, rows_of, run_table
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError

PHOTOGRAPHS = ("align_flickr8k", "cocu_real", "crossmodal_real", "reclmis_real", "sgdiff_real", "syntic_real")


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


def test_the_data_may_be_the_current_folder(tmp_path, monkeypatch, capsys):
    make_scenes(tmp_path / "scenes", train=1, val=1, test=2, size=48, workers=1)

    def drawn(*args, **options):
        raise AssertionError("other scenes were drawn")

    monkeypatch.setattr("segue.recipes.datasets.make_scenes", drawn)
    monkeypatch.chdir(tmp_path / "scenes")
    capsys.readouterr()
    run_table("relations_scenes", RunOptions(row="test/spatial/0", work=tmp_path / "work", data=Path(".")))
    assert set(json.loads(capsys.readouterr().out)) == {"recall20", "accuracy"}
