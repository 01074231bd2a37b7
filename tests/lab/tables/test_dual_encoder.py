"""The tables of trained dual encoders: on the synthetic scenes, and on photographs."""

import pytest

from scenes_and_encoder import write_scenes
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


def test_the_one_of_photographs_is_tested_on_as_many_of_its_own_as_of_others(tmp_path, monkeypatch):
    for name in ("flickr8k", "coco_tiny"):
        write_scenes(tmp_path / name)
    tiny_dual_encoder(tmp_path / "encoder")
    load, seen = tables.load_dual_encoder, []
    monkeypatch.setattr(tables, "load_dual_encoder", lambda name: seen.append(name) or load(tmp_path / "encoder"))
    monkeypatch.setattr(
        tables, "recalls", lambda model, captioned, images, texts: {"pictures": len(captioned.pictures)}
    )
    rows = [row for row in tables.photos_table() if row.system == "photos-encoder"]
    found = {row.experiment: row.run(row.work(tmp_path / "work" / "t", tmp_path)) for row in rows}
    assert found == {"flickr8k": {"pictures": 2}, "coco_tiny": {"pictures": 14}, tables.LEARNED: {"pictures": 2}}
    assert set(seen) == {"photos-encoder"}


def test_an_ensemble_is_of_the_heads_that_the_rows_train(tmp_path, monkeypatch):
    for name in ("flickr8k", "coco_tiny"):
        write_scenes(tmp_path / name)
    trained = []

    def train(settings):
        trained.append((settings.seed, settings.data, settings.crops))
        tiny_dual_encoder(settings.out / "last", seed=settings.seed)

    monkeypatch.setattr(tables, "train_dual_encoder_photos", train)
    rows = {row.name: row for row in tables.photos_table()}
    names = [*(f"flickr8k/heads/{seed}" for seed in (0, 1, 2)), "flickr8k/ensemble of 3/0", "coco_tiny/ensemble of 3/0"]
    found = [rows[name].run(rows[name].work(tmp_path / "work" / "t", tmp_path)) for name in names]
    assert trained == [(seed, tmp_path / "flickr8k", 1) for seed in (0, 1, 2)]
    assert {len(one) for one in found} == {7}
    assert all(0 <= value <= 1 for one in found for value in one.values())
