"""segue caption: a picture, a folder, results as COCO has them, and files that are no pictures."""

import json

import pytest

from segue.data.images import write_image
from segue.recipes.syntic import train_syntic
from segue.synthetic.scenes.language.parser import text_to_image
from tiny_captioner import captioner_home, quick_settings
from tiny_pair import CAPTIONS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return captioner_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    return quick_settings(home, tmp_path / "run", monkeypatch)


@pytest.fixture
def model(quick):
    return train_syntic(quick)


def test_the_command_captions_a_picture_and_a_folder(model, segue, tmp_path):
    folder = tmp_path / "photos"
    for name, pixels in zip(("000000000007.png", "two.png"), text_to_image(CAPTIONS[:2]), strict=True):
        write_image(pixels, folder / name)
    status, told, _ = segue("caption", folder / "two.png", "--model", model, "--num", 2)
    assert status == 0
    assert told.count("two.png  ") == 2
    out = tmp_path / "captions.json"
    status, told, _ = segue("caption", folder, "--model", model, "--num", 5, "--json", "-o", out)
    rows = [json.loads(line) for line in told.splitlines()]
    assert [row["image"] for row in rows] == ["000000000007.png", "two.png"]
    assert all(len({c["text"] for c in row["captions"]}) == 5 for row in rows)
    assert json.loads(out.read_text()) == [
        {"image_id": 7 if i == 0 else "two.png", "caption": row["captions"][0]["text"]} for i, row in enumerate(rows)
    ]
    status, told, _ = segue("caption", folder, "--model", model, "--retrieve", "--json")
    assert all(json.loads(line)["captions"][0]["text"] in CAPTIONS for line in told.splitlines())


def test_a_picture_that_is_none_is_named_after_the_others_captions(model, segue, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "captions.json"
    write_image(text_to_image(CAPTIONS[:1])[0], folder / "good.png")
    (folder / "bad.png").write_text("no picture")
    status, told, error = segue("caption", folder, "--model", model, "--json", "-o", out)
    assert status == 2
    assert [json.loads(line)["image"] for line in told.splitlines()] == ["good.png"]
    assert [row["image_id"] for row in json.loads(out.read_text())] == ["good.png"]
    assert "1 of 2 pictures could not be read" in error
    assert "bad.png: can't be read as a picture" in error
    status, _, error = segue("caption", folder / "bad.png", "--model", model)
    assert (status, "can't be read as a picture" in error) == (2, True)
