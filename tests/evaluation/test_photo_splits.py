"""Splits of photographs that come without any."""

import numpy as np
from PIL import Image

from segue.evaluation import photo_splits
from segue.evaluation.photo_splits import read_photo_split


def streets(folder, splits, count=5):
    """CamVid's layout with `count` pictures in each split."""
    rng = np.random.default_rng(0)
    for split in splits:
        for part in ("images", "masks"):
            (folder / split / part).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / split / f"images/{i}.png")
            Image.fromarray(rng.integers(0, 2, (8, 8), np.uint8)).save(folder / split / f"masks/{i}.png")
    (folder / "classes.txt").write_text("sky\nroad\n")
    return folder


def names(root, split):
    return [picture.name for picture in read_photo_split(root, split).pictures]


def test_without_a_test_split_train_is_divided_in_the_order_of_names(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_splits, "SPLIT_ENDS", (2, 3))
    root = streets(tmp_path, ["train", "val"])
    parts = [names(root, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [2, 1, 2]
    together = [name for part in parts for name in part]
    assert together == sorted(set(together))


def test_a_set_with_a_test_split_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_splits, "SPLIT_ENDS", (2, 3))
    root = streets(tmp_path, ["train", "val", "test"])
    assert [len(names(root, split)) for split in ("train", "val", "test")] == [5, 5, 5]
