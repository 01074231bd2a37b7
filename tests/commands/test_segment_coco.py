"""`segue segment --coco`: one COCO file of all masks."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segue.api import LabelMap
from segue.api.answers import mask_as_grounded_caption
from segue.data.export import to_coco, write_coco
from segue.data.images import read_mask
from segue.types import InputError, Segmentation

NAMES = ("dog", "grass", "sky")


def read(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture
def answers():
    """A map of names, a note's mask, and one that is empty."""
    index = np.zeros((12, 20), np.uint8)
    index[:, 5:9], index[:4, 15:] = 2, 255
    named = LabelMap(NAMES, index, np.full((12, 20), 0.75, np.float32), np.zeros(3, np.float32))
    probability = np.zeros((8, 10), np.float32)
    probability[2:6, 3:7] = 0.9
    return named, Segmentation(probability, "left"), Segmentation(np.zeros((9, 7), np.float32))


@pytest.mark.parametrize("as_polygons", [True, False])
def test_pycocotools_reads_the_masks_as_they_were(answers, tmp_path, as_polygons):
    captioned = [(f"{i}.png", [mask_as_grounded_caption(answer)]) for i, answer in enumerate(answers)]
    sizes = [(12, 20), (8, 10), (9, 7)]
    write_coco(tmp_path / "all.json", captioned, (*NAMES, "described"), as_polygons=as_polygons, sizes=sizes)
    coco = read(tmp_path / "all.json")
    assert [coco.imgs[i][k] for i in (1, 2, 3) for k in ("height", "width")] == [12, 20, 8, 10, 9, 7]
    assert {i: c["name"] for i, c in coco.cats.items()} == {1: "dog", 2: "grass", 3: "sky", 4: "described"}
    found = {(a["image_id"], a["category_id"]): coco.annToMask(a).astype(bool) for a in coco.anns.values()}
    assert set(found) == {(1, 1), (1, 3), (2, 4)}
    np.testing.assert_array_equal(found[1, 1], answers[0].index == 0)
    np.testing.assert_array_equal(found[1, 3], answers[0].index == 2)
    np.testing.assert_array_equal(found[2, 4], answers[1].mask)
    assert {isinstance(a["segmentation"], list) for a in coco.anns.values()} == {as_polygons}
    assert {a["iscrowd"] for a in coco.anns.values()} == {0}
    assert coco.dataset["captions"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["all.json"]


def test_sizes_must_be_as_many_as_pictures(answers):
    with pytest.raises(InputError, match="got 1 for 2 pictures"):
        to_coco([("a.png", []), ("b.png", [])], sizes=[(1, 1)])


def test_the_command_writes_one_file_for_a_folder(segue, tiny_model, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name, size in (("a", (20, 30)), ("b", (40, 24))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    for args in (("in", "-o", "out"), ("in/b.png", "-o", "out/b.png")):
        status, _, error = segue("segment", *args, "--note", "left", "--model", tiny_model, "--coco", "all.json")
        assert status == 0, error
        coco = read(tmp_path / "all.json")
        assert [x["file_name"] for x in coco.imgs.values()] == (["a.png", "b.png"] if args[0] == "in" else ["b.png"])
        for one in coco.imgs.values():
            mask = np.zeros((one["height"], one["width"]), bool)
            for found in coco.loadAnns(coco.getAnnIds(one["id"])):
                mask |= coco.annToMask(found).astype(bool)
            np.testing.assert_array_equal(mask, read_mask(tmp_path / "out" / one["file_name"]))
    answer = json.loads((tmp_path / "all.json").read_text())
    assert answer["categories"] == [{"id": 1, "name": "described"}]
