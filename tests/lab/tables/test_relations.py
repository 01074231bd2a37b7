"""The table of relations, on a few synthetic scenes."""

import pytest

from segue.lab.registry import TABLES
from segue.lab.tables.relations import relations_table
from segue.recipes.relations import RelationSettings
from segue.synthetic.scenes.writer import make_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(folder, train=12, val=6, test=6, size=48, workers=1)
    return folder


def test_the_table_is_registered():
    assert "relations_scenes" in TABLES


def test_the_table_has_the_head_and_the_baselines(scenes, tmp_path):
    short = RelationSettings(width=16, steps=2, batch_size=4, evaluations=1)
    rows = {row.name: row for row in relations_table(short)}
    assert list(rows) == ["test/head/0", "test/head/1", "test/head/2", "test/frequency/0", "test/spatial/0"]
    for name in ("test/head/0", "test/frequency/0", "test/spatial/0"):
        found = rows[name].run(rows[name].work(tmp_path / "work" / "t", scenes))
        assert set(found) == {"recall20", "accuracy"}
        assert all(0 <= value <= 1 for value in found.values())
