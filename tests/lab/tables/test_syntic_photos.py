"""The table of captioners on photographs finds its data, with tiny models."""

import gzip
import shutil
from dataclasses import replace

import pytest

from segue.lab.tables.syntic_photos import syntic_real_table
from segue.methods.syntic import SYSTEMS
from segue.metrics import java
from segue.metrics.java import NotComputed
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError
from tiny_captioner import captioner_home, quick_settings
from tiny_dual_encoder import CAPTIONS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return captioner_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    return quick_settings(home, tmp_path / "run", monkeypatch)


def write_data(home, data):
    """Captions and two sets of pictures, as --data has them; the second set is drawn apart."""
    (data / "captions").mkdir(parents=True)
    for number, text in enumerate(["\n".join(CAPTIONS), "two dogs on the snow\na clerk files reports"]):
        with gzip.open(data / "captions" / f"{number}.txt.gz", "wt") as file:
            file.write(text + "\n")
    shutil.copytree(home / "scenes", data / "flickr8k")


def test_the_table_of_photographs_trains_its_systems_and_scores_them_on_both_sets(home, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    monkeypatch.setitem(SYSTEMS, "neighbours", SYSTEMS["neighbours"] | {"neighbours": 2})
    data, work = tmp_path / "data", tmp_path / "work" / "syntic_real"
    write_data(home, data)
    base = replace(quick, text_to_image="text", system="full", evaluations=2, steps=4, same_picture=1.0)
    rows = {row.name: row for row in syntic_real_table(base)}
    row = rows["flickr8k/full/0"]
    with pytest.raises(InputError, match=r"expected a folder with captions/, flickr8k/, coco_tiny/"):
        row.run(row.work(work, data))
    make_scenes(data / "coco_tiny", train=3, val=0, test=0, size=48)
    for name in ("flickr8k/full/0", "coco_tiny/full, own left out/1", "flickr8k/clipre/0", "flickr8k/pictures/0"):
        found = rows[name].run(rows[name].work(work, data))
        assert set(found) == {"bleu4", "rouge_l", "cider", "clipscore"}
    assert {p.parent.name for p in work.glob("*/last")} == {
        "text-full-0.01-0",
        "text-full-True-1",
        "pictures-baseline-0",
    }
    for name in (
        "flickr8k/neighbours/0",
        "flickr8k/neighbours, reranked/0",
        "coco_tiny/decap, tau tuned/0",
        "coco_tiny/decap, all captions/0",
    ):
        assert rows[name].run(rows[name].work(work, data))["cider"] >= 0
    assert len(list(work.glob("*/last"))) == 5  # a row that differs at the test alone trains nothing
    curve = rows["curve/neighbours/0"]
    assert list(curve.run(curve.work(work, data))) == ["cider_2", "cider_4"]


def test_in_training_a_prefix_is_the_own_caption_unless_that_is_left_out(home, quick, tmp_path):
    data, work = tmp_path / "data", tmp_path / "work" / "syntic_real"
    write_data(home, data)
    make_scenes(data / "coco_tiny", train=3, val=0, test=0, size=48)
    base = replace(quick, text_to_image="text", system="full", same_picture=1.0)
    rows = {row.name: row for row in syntic_real_table(base)}
    found = {
        name: rows[f"cosines/{name}/0"].run(rows[f"cosines/{name}/0"].work(work, data))["training"]
        for name in ("decap", "full", "full, own left out")
    }
    assert found["decap"] == pytest.approx(1, abs=1e-3)
    assert found["full"] > found["full, own left out"] + 0.05
