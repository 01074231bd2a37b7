"""segue draw: layouts and their exports as files."""

import json

import numpy as np
import pytest
from PIL import Image

from segue.data.images import write_image
from segue.data.layouts import read_layout
from segue.synthetic.scenes.scene import CLASSES
from tiny_illustrator import tiny_illustrator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_illustrator(tmp_path_factory.mktemp("draw"))


def test_layouts_are_written_with_their_exports(segue, model, tmp_path):
    status, out, _ = segue("draw", "two dogs", "--model", str(model), "-o", str(tmp_path), "--num", "2", "--steps", "2",
                           "--json", "--export", "panoptic", "masks")  # fmt: skip
    assert status == 0
    assert len(json.loads(out)["layouts"]) == 2
    assert read_layout(tmp_path / "layout-1.png", CLASSES).shape == (32, 32)
    assert (tmp_path / "layout-0-panoptic.json").exists()


def test_a_picture_unlike_those_of_the_training_is_told_and_refused_if_strict(segue, model, tmp_path):
    write_image(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8), tmp_path / "noise.png")
    ask = ("draw", "two dogs", "--model", model, "--steps", 2, "--json", "-o", tmp_path / "out")
    status, out, error = segue(*ask, "--image", tmp_path / "noise.png")
    assert status == 0
    assert json.loads(out)["out_of_domain"] is True
    assert error.count("noise.png: unlike the pictures that the model learned from") == 1
    status, out, error = segue(*ask[:-1], tmp_path / "strict", "--image", tmp_path / "noise.png", "--strict")
    assert (status, out, "leave out --strict" in error) == (2, "", True)
    assert not (tmp_path / "strict").exists()
    status, out, error = segue(*ask, "--strict")  # no picture, none that is far
    assert (status, error) == (0, "")
    assert "domain_distance" not in json.loads(out)


def test_heat_maps_of_nouns_are_written(segue, model, tmp_path):
    kept = json.loads((model / "config.json").read_text())["about"]
    assert kept["nouns"]
    noun = kept["nouns"][0].split()[-1]
    caption = f"the {noun} on it"
    drawn = ("draw", caption, "--model", str(model), "-o", str(tmp_path), "--num", "1", "--steps", "2", "--json")
    status, out, _ = segue(*drawn, "--export", "heat")
    assert status == 0
    files = json.loads(out)["layouts"][0]["heat"]
    assert files == {noun: str(tmp_path / f"layout-0-heat-{noun}.png")}
    with Image.open(files[noun]) as picture:
        assert picture.size == (32, 32)


def test_what_the_model_does_not_read_of_a_sentence_is_told(segue, model, tmp_path):
    """A sentence of more tokens than the model reads was cut without a word; unknown words were told in json alone."""
    ask = ("draw", "a dog " * 60 + "und eine Katze", "--model", model, "-o", tmp_path, "--num", 1, "--steps", 1)
    status, _, error = segue(*ask)
    assert status == 0
    assert "the sentence is too long for the model, which doesn't read its end, '" in error
    assert "the model hardly knows the words " in error
    doubts = json.loads(segue(*ask, "--json")[1])["caption_doubts"]
    assert [doubt.partition(" is ")[0].partition(" words ")[0] for doubt in doubts] == [
        "the model hardly knows the",
        "the sentence",
    ]


def test_words_of_any_script_are_drawn(segue, model, tmp_path):
    drawn = ("--model", str(model), "-o", str(tmp_path), "--num", "1", "--steps", "1", "--json")
    for caption in ("eine Katze 🐈 auf dem Gras", "!?", "a dog " * 60):
        status, out, _ = segue("draw", caption, *drawn)
        assert status == 0
        assert len(json.loads(out)["layouts"]) == 1
    status, _, error = segue("draw", " ", *drawn)
    assert (status, "got an empty one" in error) == (2, True)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.full((8, 6), 33, np.uint8), "holds the ids 33"),
        (np.full((8, 6, 3), 7, np.uint8), "colours that no class has"),
    ],
)
def test_a_layout_to_keep_that_means_nothing_is_refused(segue, model, tmp_path, pixels, said):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    keep = ("draw", "a dog", "--model", str(model), "--keep", str(tmp_path / "mask.png"), "-o", str(tmp_path / "out"))
    status, _, error = segue(*keep)
    assert (status, said in error) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused_before_the_work(segue, tmp_path):
    (tmp_path / "mine").write_text("mine")
    status, _, error = segue("draw", "two dogs", "--model", "none such", "-o", tmp_path / "mine")
    assert (status, f"{tmp_path / 'mine'}: a file, expected a folder" in error) == (2, True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_boxes_go_out_and_in(segue, model, tmp_path):
    drawn = ("draw", "two dogs", "--model", str(model), "-o", str(tmp_path), "--num", "1", "--steps", "2", "--json")
    _, out, _ = segue(*drawn, "--seed", "3")
    boxes = json.loads(out)["layouts"][0]["boxes"]
    assert boxes
    boxes[0]["label"] = "snow"
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    status, out, _ = segue(*drawn, "--boxes", str(tmp_path / "boxes.json"))
    assert status == 0
    assert json.loads(out)["layouts"][0]["boxes"] == boxes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("no json", "can't be read as JSON"),
        ('[{"label": "dog", "box": [0, 0, 4, 4], "box": [0, 0, 9, 9]}]', 'an object has the key "box" twice'),
        ('[{"label": "dog"}]', "box: got None, expected a list"),
        ('[{"box": [0, 0, 4, 4]}]', "label: got None, expected a text"),
        ('[{"label": "dragon", "box": [0, 0, 4, 4]}]', "the class 'dragon'"),
        ("[3]", "a box: got 3, expected an object"),
    ],
)
def test_boxes_that_mean_nothing_are_refused(segue, model, tmp_path, written, said):
    (tmp_path / "boxes.json").write_text(written)
    status, _, error = segue("draw", "a dog", "--model", str(model), "--boxes", str(tmp_path / "boxes.json"))
    assert status == 2
    assert said in error
