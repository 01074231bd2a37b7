"""The reader by its function, without napari: what it opens, the layers that it makes, and its manifest."""

import importlib.resources
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.api.answers import mask_as_grounded_caption
from segue.data import rle
from segue.data.export import to_coco, write_coco
from segue.integrations import napari
from segue.types import GroundedCaption, InputError, LabelMap, PhraseGrounding

SIZE = (20, 30)
BIG, SMALL = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
BIG[2:15, 4:25] = True
SMALL[5:9, 10:12] = True


@pytest.fixture
def file(tmp_path):
    masks = [("cup", SMALL, 0.25), ("table", BIG, 0.75)]
    found = tuple(PhraseGrounding(0, 0, name, mask=mask, score=score, label=name) for name, mask, score in masks)
    write_coco(tmp_path / "a.coco.json", [("a.png", [GroundedCaption("", 0.5, found)])], sizes=[SIZE])
    Image.fromarray(np.full((*SIZE, 3), 7, np.uint8)).save(tmp_path / "a.png")
    return str(tmp_path / "a.coco.json")


def test_a_picture_becomes_layers_of_it_its_masks_and_its_boxes(file):
    (image, _, kind), (labels, of_labels, second), (shapes, of_shapes, third) = napari.napari_get_reader(file)(file)
    assert (kind, second, third) == ("image", "labels", "shapes")
    assert image.shape == (*SIZE, 3)
    np.testing.assert_array_equal(labels, np.where(SMALL, 1, 2 * BIG))  # the smaller one is on top
    assert of_labels["features"] == {"index": [0, 1, 2], "label": ["", "cup", "table"], "score": [0.0, 0.25, 0.75]}
    assert of_shapes["features"] == {"label": ["cup", "table"], "score": [0.25, 0.75]}
    for corners, mask in zip(shapes, (SMALL, BIG), strict=True):
        rows, columns = np.nonzero(mask)
        assert [*corners.min(0), *corners.max(0)] == [rows.min(), columns.min(), rows.max(), columns.max()]


def test_several_files_and_pictures_without_masks_or_files(file, tmp_path):
    names = LabelMap(("dog", "sky"), np.full(SIZE, 255, np.uint8), np.ones(SIZE, np.float32), np.zeros(2, np.float32))
    write_coco(tmp_path / "b.json", [("gone.jpg", [mask_as_grounded_caption(names)])], ("dog", "sky"), sizes=[SIZE])
    both = [file, str(tmp_path / "b.json")]
    layers = napari.napari_get_reader(both)(both)
    assert [kind for *_, kind in layers] == ["image", "labels", "shapes", "labels"]
    assert not layers[3][0].any()
    assert layers[3][1]["name"] == "gone: masks"


def test_run_lengths_are_read_as_polygons_are(tmp_path):
    grounding = PhraseGrounding(0, 0, "cup", mask=BIG & ~SMALL, score=1.0, label="cup")
    (tmp_path / "c.json").write_text(json.dumps(to_coco([("c.png", [GroundedCaption("", 1.0, (grounding,))])])))
    np.testing.assert_array_equal(napari.read_layers(str(tmp_path / "c.json"))[0][0] > 0, BIG & ~SMALL)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": [], "categories": []}']
)
def test_a_json_of_another_kind_is_left_to_other_readers(tmp_path, file, text):
    (tmp_path / "other.json").write_text(text)
    assert napari.napari_get_reader(str(tmp_path / "other.json")) is None
    assert napari.napari_get_reader([file, str(tmp_path / "other.json")]) is None
    assert napari.napari_get_reader(str(tmp_path / "a.png")) is None


def test_what_is_wrong_in_a_file_is_said(tmp_path, file):
    told = json.loads((tmp_path / "a.coco.json").read_text())
    told["annotations"][0]["category_id"] = 9
    (tmp_path / "wrong.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"wrong\.json: category 9 is not among"):
        napari.read_layers(str(tmp_path / "wrong.json"))
    told["annotations"][0] |= {"category_id": 1, "segmentation": rle.to_json(rle.encode(np.ones((3, 3), bool)))}
    (tmp_path / "wrong.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"wrong\.json: mask 1"):
        napari.read_layers(str(tmp_path / "wrong.json"))


def test_the_manifest_names_the_reader():
    import yaml

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, name = project["project"]["entry-points"]["napari.manifest"]["segue"].partition(":")
    told = yaml.safe_load((importlib.resources.files(module) / name).read_text())
    assert f"integrations/{name}" in project["tool"]["setuptools"]["package-data"]["segue"]  # the wheel has it
    (command,), (reader,) = told["contributions"]["commands"], told["contributions"]["readers"]
    assert (told["name"], reader["command"]) == ("segue", command["id"])
    where, _, function = command["python_name"].partition(":")
    assert getattr(importlib.import_module(where), function) is napari.napari_get_reader
