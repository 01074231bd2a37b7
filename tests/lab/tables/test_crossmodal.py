"""The tables of layouts: their rows share trainings, and regions become layouts."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data import rle
from segue.lab.engine import run_row
from segue.lab.tables import crossmodal as tables
from segue.metrics import java
from segue.recipes.crossmodal import train_crossmodal
from segue.synthetic.scenes.writer import make_scenes
from segue.training.loop import _Trainer
from segue.types import Picture, Region


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """METEOR's Java takes seconds to start; it is tested by itself."""
    monkeypatch.setattr(java, "meteor", lambda said, truth: (0.5, np.full(len(said), 0.5)))


def test_real_layouts_are_painted_smaller_over_larger():
    big, small = np.zeros((8, 8), np.bool_), np.zeros((8, 8), np.bool_)
    big[:, :6] = small[2:4, 2:4] = True
    box = (0.0, 0.0, 1.0, 1.0)
    regions = (Region("cat", box, rle.encode(small)), Region("sofa", box, rle.encode(big)), Region("cup", box))
    picture = Picture("p", lambda: np.zeros((8, 8, 3), np.uint8), regions=regions)
    drawn = tables.layout_of_regions(picture, ("cat", "sofa", "cup", "background"))
    assert drawn[3, 3] == 0
    assert drawn[0, 0] == 1
    assert (drawn[:, 6:] == 3).all()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table") / "scenes"
    make_scenes(folder, train=6, val=2, test=4, size=32, workers=1)
    return folder


TINY = {
    "image_size": 32,
    "factor": 8,
    "width": 32,
    "depth": 3,
    "vq_steps": 2,
    "box_steps": 2,
    "steps": 2,
    "batch_size": 2,
}


def test_one_training_serves_four_rows(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DRAWN_OFTEN", 1)
    rows = {row.name: row for row in tables.crossmodal_scenes_table(replace(tables.SHORT, **TINY))}
    first = rows["main/depth4@caption/0"]
    work = tmp_path / "crossmodal_scenes"
    found = first.run(first.work(work, scenes))
    assert {"miou", "accuracy", "class_f1", "vfs", "named_recall"} <= set(found)
    made = (work / "shared-depth4-0" / "best" / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as finished:
        finished.setattr(tables, "_training_splits", None)  # the training pictures are not read again
        for name in ("main/depth4@caption+image/0", "main/depth4@mask/0", "main/depth4@mask+image/0"):
            assert rows[name].run(rows[name].work(work, scenes))
        assert run_row(list(rows.values()), "main/vq_ceiling@caption+image/0", work, scenes)
    assert (work / "shared-depth4-0" / "best" / "model.safetensors").stat().st_mtime_ns == made
    assert (work / "shared-full-0" / "boxes" / "best").exists()
    assert not (work / "shared-depth4-0" / "boxes").exists()  # it draws in the boxes that `full` has learned
    for name in ("main/segmenter@image/0", "main/nearest_caption@mask/0"):
        assert rows[name].run(rows[name].work(work, scenes))
    monkeypatch.setattr(_Trainer, "step", None)
    assert rows["main/segmenter@image/0"].run(rows["main/segmenter@image/0"].work(work, scenes))
    assert {row.seed for row in rows.values()} == {0, 1, 2}


def test_the_bundled_model_has_a_row_for_every_condition(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(
        tables, "BUNDLED", str(train_crossmodal(replace(tables.SHORT, **TINY, data=scenes, out=tmp_path / "r")))
    )
    monkeypatch.setattr(tables, "SHORT", replace(tables.SHORT, **TINY))
    rows = {row.system: row for row in tables.crossmodal_bundled_table()}
    for name in ("bundled@caption", "bundled@mask+image", "vq_ceiling@caption+image", "retrieved boxes@caption"):
        assert rows[name].run(rows[name].work(tmp_path / "work", scenes))
    samplers = [row for row in tables.crossmodal_bundled_table() if row.experiment == "sampler"]
    assert len({row.system for row in samplers}) == len(tables.SAMPLERS)
    assert "class_f1" in samplers[0].run(samplers[0].work(tmp_path / "work", scenes))
    assert {f"bundled@{way}" for way in tables.CONDITIONS} < set(rows)
