"""The table of captioners on photographs finds its data, with tiny models."""

import gzip
import shutil

import pytest

from segue.lab.tables.syntic_photos import syntic_real_table
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


def test_the_table_of_photographs_finds_its_parts(home, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    data, work = tmp_path / "data", tmp_path / "work" / "syntic_real"
    (data / "captions").mkdir(parents=True)
    for number, text in enumerate(["\n".join(CAPTIONS), "two dogs on the snow\na clerk files reports"]):
        with gzip.open(data / "captions" / f"{number}.txt.gz", "wt") as file:
            file.write(text + "\n")
    shutil.copytree(home / "scenes", data / "flickr8k")
    rows = {row.name: row for row in syntic_real_table(quick)}
    row = rows["flickr8k/full/0"]
    with pytest.raises(InputError, match=r"expected a folder with captions/, flickr8k/, coco_tiny/"):
        row.run(row.work(work, data))
    make_scenes(data / "coco_tiny", train=3, val=0, test=0, size=48)
    with pytest.raises(InputError, match=r"no dual encoder in .*; train it by segue lab run dual_encoder_flickr8k"):
        row.run(row.work(work, data))
    shutil.copytree(home / "scenes-encoder", work.parent / "dual_encoder_flickr8k" / "val-full-0" / "best")
    for name in ("flickr8k/full/0", "coco_tiny/full/0", "coco_tiny/full-text/1", "flickr8k/clipre/0"):
        found = rows[name].run(rows[name].work(work, data))
        assert set(found) == {"bleu4", "rouge_l", "cider", "clipscore"}
    assert {p.parent.name for p in work.glob("*/last")} == {"full-0", "full-text-1"}
    drawn = (work.parent / "data-captions-synthetic" / "pictures.jsonl").read_text().splitlines()
    assert len(drawn) == 5  # all captions but the clerk's
