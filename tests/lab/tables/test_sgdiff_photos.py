"""The table of photographs, on synthetic ones with a YOLOX that detects the same everywhere."""

from dataclasses import replace

import pytest

from segue.evaluation import photo_splits
from segue.lab.run import rows_of
from segue.lab.tables import sgdiff_photos
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError
from tiny_yolox import tiny_yolox

pytest.importorskip("onnx")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """14 scenes of one split, of which 10 train and 2 validate, and a detector that finds a dog in the middle."""
    make_scenes(tmp_path / "drawn", train=14, val=2, test=2, size=48, workers=1)
    home = tmp_path / "data"
    (home / "coco_tiny").mkdir(parents=True)
    (home / "coco_tiny/images").symlink_to(tmp_path / "drawn/images/train")
    for kind in ("captions", "instances"):
        (home / f"coco_tiny/{kind}.json").symlink_to(tmp_path / f"drawn/annotations/{kind}_train.json")
    tiny_yolox(home / "detector.onnx", (64 + 16, (0.5, 0.5, 0, 0), 1, "dog", 1))
    monkeypatch.setattr(photo_splits, "SPLIT_ENDS", (10, 12))
    monkeypatch.setattr("segue.metrics.captions.JAVA_METRICS", ())  # each start of Java takes a second
    return home


@pytest.fixture
def rows(data):
    short = replace(
        sgdiff_photos.REAL,
        size=32,
        width=32,
        blocks=1,
        caption_steps=1,
        steps=1,
        batch_size=3,
        val_pictures=1,
        min_count=1,
    )
    return {row.name: row for row in sgdiff_photos.sgdiff_real_table(short)}


def run(row, table, data):
    return row.run(row.work(table, data))


def test_given_and_detected_graphs_share_a_training(data, rows, tmp_path):
    given, detected = (run(rows[f"{kind}/full/0"], tmp_path / "work", data) for kind in ("given", "detected"))
    assert {"cider", "mask_iou", "grounding_accuracy"} <= set(given)
    assert set(detected) - set(given) == {"undetected"}
    assert detected["undetected"] == 0
    assert len(list((tmp_path / "work").glob("shared-*"))) == 1


def test_where_nothing_is_found_the_caption_is_empty(data, rows, tmp_path):
    tiny_yolox(data / "detector.onnx")
    found = run(rows["detected/full/0"], tmp_path / "work", data)
    assert found["undetected"] == 1
    assert found["mask_iou"] == found["cider"] == 0


def test_parts_go_by_name(data):
    parts = [photo_splits.read_photo_split(data / "coco_tiny", split).pictures for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [10, 2, 2]
    names = [picture.name for part in parts for picture in part]
    assert names == sorted(names)


def test_what_is_missing_is_said(data, tmp_path):
    rows = {row.name: row for row in rows_of("sgdiff_real")}
    with pytest.raises(InputError, match="expected a folder with coco_tiny/"):
        run(rows["given/full/0"], tmp_path / "work", None)
    (data / "detector.onnx").unlink()
    with pytest.raises(InputError, match=r"no detector.onnx \(a YOLOX\) and no detector/ \(a DETR\)"):
        run(rows["detected/full/0"], tmp_path / "work", data)
