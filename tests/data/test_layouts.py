import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.layouts import (
    LayoutBatches,
    check_layout,
    paint,
    read_layout,
    resize_layout,
    without_specks,
    write_class_masks,
    write_layout,
    write_panoptic,
)
from segue.types import InputError

LABELS = np.array([[0, 0, 1], [2, 255, 1]], np.uint8)
CLASSES = ("sky", "hot dog", "wall/brick")


def test_a_layout_survives_its_file_and_its_colours(tmp_path):
    write_layout(LABELS, tmp_path / "a.png", CLASSES)
    assert (read_layout(tmp_path / "a.png", CLASSES) == LABELS).all()
    assert Image.open(tmp_path / "a.png").mode == "P"
    Image.fromarray(paint(LABELS, CLASSES)).save(tmp_path / "b.png")
    assert (read_layout(tmp_path / "b.png", CLASSES) == LABELS).all()


def test_a_layout_is_turned_as_its_picture_is(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for mode, pixels in (("index", LABELS), ("colours", paint(LABELS, CLASSES))):
        Image.fromarray(pixels).save(tmp_path / f"{mode}.png", exif=exif)
        np.testing.assert_array_equal(read_layout(tmp_path / f"{mode}.png", CLASSES), np.rot90(LABELS, -1))


def test_black_may_be_a_class_of_a_palette(tmp_path):
    Image.fromarray(np.array([[[0, 0, 0], [128, 0, 0]]], np.uint8)).save(tmp_path / "voc.png")
    colours = np.array([[0, 0, 0], [128, 0, 0]], np.uint8)
    assert read_layout(tmp_path / "voc.png", CLASSES[:2], colours).tolist() == [[0, 1]]


def test_panoptic_and_class_masks(tmp_path):
    write_panoptic(LABELS, tmp_path / "p.png", CLASSES)
    ids = np.asarray(Image.open(tmp_path / "p.png")).astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    answer = json.loads((tmp_path / "p.json").read_text())
    segments = answer["annotations"][0]["segments_info"]
    assert {s["id"]: s["area"] for s in segments} == {i: int((ids == i).sum()) for i in (1, 2, 3)}
    assert segments[1]["bbox"] == [2, 0, 1, 2]
    paths = write_class_masks(LABELS, tmp_path / "masks", CLASSES)
    assert [p.name for p in paths] == ["sky.png", "hot_dog.png", "wall-brick.png"]
    assert (np.asarray(Image.open(paths[1])) == 255 * (LABELS == 1)).all()


def test_resizing_makes_no_new_class():
    assert set(np.unique(resize_layout(LABELS, (9, 7)))) == {0, 1, 2, 255}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((2, 2), 7, np.uint8), "holds the ids 7, expected 0 to 2"),
        (np.full((2, 2, 3), 9, np.uint8), r"1 colours that no class has, such as \(9, 9, 9\); give its palette"),
        (np.full((2, 2), 700, np.uint16), "expected 8-bit class positions"),
    ],
)
def test_bad_layouts_are_reported(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=message):
        read_layout(tmp_path / "x.png", CLASSES)


def test_an_array_of_another_kind_is_refused():
    with pytest.raises(InputError, match="expected an"):
        check_layout(LABELS.astype(np.int64), 3)
    with pytest.raises(InputError, match="which keeps its values"):
        write_layout(LABELS, Path("x.jpg"), CLASSES)


def test_batches_are_functions_of_their_keys_and_draw_among_the_captions():
    ids = [torch.arange(6).view(3, 2), torch.arange(2).view(1, 2)]
    batches = LayoutBatches(torch.zeros(2, 4, 4, dtype=torch.int16), ids, np.zeros((2, 8, 8, 3), np.uint8))
    keys = [(epoch, 0) for epoch in range(20)]
    made = batches.collate(keys)
    assert torch.equal(made["ids"], batches.collate(keys)["ids"])
    assert {tuple(row) for row in made["ids"].tolist()} == {(0, 1), (2, 3), (4, 5)}
    assert made["image"].shape == (20, 3, 8, 8)
    several = replace(batches, captions_per_layout=4).collate([(0, 0), (0, 1)])["ids"]
    assert {tuple(row) for row in several[:4].tolist()} == {(0, 1), (2, 3), (4, 5)}  # all three, one of them twice
    assert several[4:].tolist() == [[0, 1]] * 4
    with pytest.raises(InputError, match="a caption or more each"):
        LayoutBatches(torch.zeros(2, 4, 4), ids[:1])


def test_specks_get_the_class_around_them():
    labels = np.zeros((12, 12), np.uint8)
    labels[6:] = 1
    labels[2, 2] = labels[2, 4] = 2  # two specks of one class
    labels[8:10, 3:6] = 2
    filled = without_specks(labels, 5)
    assert filled[2].tolist() == [0] * 12
    assert (filled[8:10, 3:6] == 2).all()
    assert (filled[labels != 2] == labels[labels != 2]).all()
    assert without_specks(labels, 6).max() == 1
    assert (without_specks(labels, 0) == labels).all()
    assert (without_specks(labels, 144) == labels).all()  # nothing but specks
    first = without_specks(labels, 6, (np.arange(144) == 2 * 12 + 2).reshape(12, 12))
    assert np.argwhere(first == 2).tolist() == [[2, 2]]
