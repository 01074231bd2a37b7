"""The table of dual encoders on the synthetic scenes."""

import pytest

from segue.lab.engine import check_data
from segue.lab.tables import dual_encoder as tables
from segue.types import InputError
from tiny_dual_encoder import tiny_dual_encoder, tiny_scenes


def test_the_dual_encoder_of_the_captioners_table_stands_beside_the_bundled_one(tmp_path, monkeypatch):
    tiny_scenes(tmp_path / "scenes")
    tiny_dual_encoder(tmp_path / "scenes-encoder")
    monkeypatch.setattr(tables, "create_scenes_once", lambda folder: tmp_path / "scenes")
    rows = tables.scenes_table()
    found = [row.run(row.work(tmp_path / "work" / "t", tmp_path)) for row in rows]
    assert [set(one) for one in found] == [
        {"i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "mean_recall"}
    ] * 2
    assert found[0] != found[1]
    with pytest.raises(InputError, match="expected a folder with scenes-encoder/"):
        check_data(rows, None)
