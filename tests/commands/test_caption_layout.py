"""segue caption-layout: index and colour masks, palettes, and masks that mean nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from segue.data.layouts import paint, write_layout
from segue.synthetic.scenes.scene import CLASSES
from tiny_illustrator import tiny_illustrator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_illustrator(tmp_path_factory.mktemp("caption-layout"))


def test_index_and_colour_masks_are_captioned(segue, model, tmp_path):
    labels = np.zeros((32, 32), np.uint8)
    labels[16:] = 25
    write_layout(labels, tmp_path / "layout.png", CLASSES)
    status, out, _ = segue("caption-layout", str(tmp_path / "layout.png"), "--model", str(model), "--num", "2")
    assert status == 0
    assert len(out.splitlines()) == 2
    Image.fromarray(paint(labels, CLASSES)).save(tmp_path / "colours.png")
    status, again, _ = segue("caption-layout", str(tmp_path / "colours.png"), "--model", str(model), "--num", "2")
    assert (status, again) == (0, out)


def test_a_picture_unlike_those_of_the_training_is_told_and_refused_if_strict(segue, model, tmp_path):
    write_layout(np.zeros((32, 32), np.uint8), tmp_path / "layout.png", CLASSES)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "noise.png")
    ask = ("caption-layout", tmp_path / "layout.png", "--model", model, "--json", "--image", tmp_path / "noise.png")
    status, out, error = segue(*ask)
    assert (status, json.loads(out)["out_of_domain"]) == (0, True)
    assert error.count("noise.png: unlike the pictures that the model learned from") == 1
    status, out, error = segue(*ask, "--strict")
    assert (status, out, "leave out --strict" in error) == (2, "", True)


def test_a_mask_of_which_nothing_is_known_is_refused(segue, model, tmp_path):
    write_layout(np.full((4, 4), 255, np.uint8), tmp_path / "void.png", CLASSES)
    status, _, error = segue("caption-layout", str(tmp_path / "void.png"), "--model", str(model))
    assert (status, "nothing to describe" in error) == (2, True)


@pytest.mark.parametrize(
    ("pixels", "mode", "said"),
    [
        (np.full((8, 6), 33, np.uint8), "L", "holds the ids 33"),
        (np.full((8, 6), 300, np.uint16), "I;16", "expected 8-bit class positions"),
        (np.full((8, 6, 3), 7, np.uint8), "RGB", "colours that no class has"),
    ],
)
def test_masks_that_mean_nothing_are_refused(segue, model, tmp_path, pixels, mode, said):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    status, _, error = segue("caption-layout", str(tmp_path / "mask.png"), "--model", str(model))
    assert status == 2
    assert said in error
    assert error.count("\n") == 1


def test_a_colour_mask_with_its_own_palette(segue, model, tmp_path):
    Image.fromarray(np.full((5, 90, 3), (9, 8, 7), np.uint8)).save(tmp_path / "mask.png")
    command = (
        "caption-layout",
        str(tmp_path / "mask.png"),
        "--model",
        str(model),
        "--palette",
        str(tmp_path / "palette.json"),
    )
    for text, status, said in (
        ("[[1, 2, 3], [9, 8, 7]]", 0, ""),
        ("[[1, 2], [9, 8]]", 2, "one for each class"),
        ("[[1, 2, 300]]", 2, "got numbers from 1 to 300"),
        ('{"dog": [1, 2, 3]}', 2, "one for each class"),
        ("nonsense", 2, "no palette could be read"),
    ):
        (tmp_path / "palette.json").write_text(text)
        found, _, error = segue(*command)
        assert (found, said in error) == (status, True), text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ([0, 0, 90], "several classes are [0, 0, 90]"),
        ([0.5, 0.5, 1], "in whole numbers"),
        (["3", "3", "3"], "in whole numbers"),
        ([0, 0, 300], "got numbers from 0 to 300"),
    ],
)
def test_a_palette_that_does_not_tell_classes_apart_is_refused(segue, model, tmp_path, change, said):
    """Of two classes of one colour the second was taken, and fractions became 0."""
    colours = [[0, 0, 90 + i] for i in range(len(CLASSES))]
    colours[1] = change
    (tmp_path / "palette.json").write_text(json.dumps(colours))
    Image.fromarray(np.full((8, 6, 3), (0, 0, 90), np.uint8)).save(tmp_path / "mask.png")
    ask = ("caption-layout", tmp_path / "mask.png", "--model", model, "--palette", tmp_path / "palette.json")
    status, _, error = segue(*ask)
    assert (status, said in error) == (2, True), error
