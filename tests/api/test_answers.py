import base64
import io
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import segue
from optional import need
from segue.api.answers import domain_to_dict, grounded_caption_to_dict, mask_as_grounded_caption, segmentation_to_dict
from segue.api.label_segmenter import load_label_segmenter
from segue.data.export import overlay
from segue.data.images import read_image, write_image
from segue.data.visualize import layout_picture, name_classes, outline
from segue.options import DescribeOptions, DrawOptions
from segue.types import (
    GroundedCaption,
    InputError,
    LabelMap,
    Layout,
    LayoutBox,
    NotInstalled,
    PhraseGrounding,
    Segmentation,
)

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
SQUARE = np.zeros((6, 8), np.bool_)
SQUARE[1:3, 2:6] = True
INDEX = np.where(SQUARE, 1, 0).astype(np.uint8)
ANSWERS = {
    "note": Segmentation(SQUARE.astype(np.float32), "one area", picture=PICTURE),
    "names": LabelMap(
        ("sky", "dog", "cat"), INDEX, np.full((6, 8), 0.5, np.float32), np.zeros(3, np.float32), 0.2, picture=PICTURE
    ),
    "caption": GroundedCaption("a dog", 0.25, (PhraseGrounding(0, 5, "a dog", SQUARE, 0.75, "dog"),), picture=PICTURE),
    "layout": Layout(INDEX, ("sky", "dog"), "a dog", 3, "caption", (LayoutBox("dog", (2, 1, 4, 2)),)),
}


@pytest.fixture(params=ANSWERS)
def answer(request):
    return ANSWERS[request.param]


def test_an_answer_is_drawn_on_its_picture_and_without_one_on_black():
    drawn = {name: np.array(one.plot()) for name, one in ANSWERS.items()}
    np.testing.assert_array_equal(drawn["note"], outline(PICTURE, SQUARE))
    np.testing.assert_array_equal(drawn["names"], name_classes(PICTURE, INDEX, ("sky", "dog", "cat")))
    np.testing.assert_array_equal(drawn["caption"], overlay(PICTURE, ANSWERS["caption"]))
    np.testing.assert_array_equal(drawn["layout"], layout_picture(INDEX, ("sky", "dog")))
    on_black = replace(ANSWERS["note"], picture=None).plot()
    np.testing.assert_array_equal(np.array(on_black), outline(np.zeros_like(PICTURE), SQUARE))


def test_what_has_no_size_and_a_picture_of_another_size_cannot_be_drawn():
    with pytest.raises(InputError, match="neither a picture nor a mask to draw"):
        GroundedCaption("a dog", 0.5).plot()
    np.testing.assert_array_equal(np.array(GroundedCaption("a dog", 0.5, picture=PICTURE).plot()), PICTURE)
    with pytest.raises(InputError, match="got 7x6, and the answer is 8x6"):
        replace(ANSWERS["caption"], picture=np.ascontiguousarray(PICTURE[:, 1:])).plot()


def test_an_answer_is_written_as_its_ending_says(answer, tmp_path):
    answer.save(tmp_path / "new" / "a.PNG")
    answer.save(str(tmp_path / "a.json"))
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.PNG"), np.array(answer.plot()))
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(answer.to_json()) == answer.to_dict()
    with pytest.raises(InputError, match=r"a\.jpg: expected a name that ends in \.png"):
        answer.save(tmp_path / "a.jpg")


def test_a_notebook_gets_the_plot(answer):
    shown = np.array(Image.open(io.BytesIO(answer._repr_png_())))
    np.testing.assert_array_equal(shown, np.array(answer.plot()))


def test_show_opens_the_plot(answer, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(picture))
    answer.show()
    assert shown == [answer.plot()]


def test_an_answer_is_numbers_and_words():
    assert ANSWERS["note"].to_dict() == {
        "note": "one area", "area": 8, "share": 0.166667, "centroid": [3.5, 1.5], "score": 1.0, "threshold": 0.5,
        "domain_distance": None, "out_of_domain": None,
    }  # fmt: skip
    assert ANSWERS["caption"].to_dict()["groundings"][0]["bbox"] == [2, 1, 4, 2]
    assert ANSWERS["layout"].to_dict()["boxes"] == [{"label": "dog", "box": [2, 1, 4, 2]}]
    named = ANSWERS["names"].to_dict()
    assert (named["domain_distance"], named["out_of_domain"]) == (0.2, False)
    assert [(one["label"], one["area"]) for one in named["classes"]] == [("sky", 40), ("dog", 8), ("cat", 0)]


def test_the_masks_are_cocos_annotations(answer):
    found = answer.to_coco()
    dog = found[-1]
    kept = {key: dog[key] for key in ("image_id", "bbox", "area", "iscrowd")}
    assert kept == {"image_id": 1, "bbox": [2.0, 1.0, 4.0, 2.0], "area": 8, "iscrowd": 0}
    again = coco.decode(coco.merge(coco.frPyObjects(dog["segmentation"], 6, 8)))
    np.testing.assert_array_equal(again.astype(bool), SQUARE)
    assert answer.polygons == [one["segmentation"] for one in found]
    assert answer.boxes[-1] == LayoutBox(dog["category_name"], (2, 1, 4, 2))
    assert "caption_id" not in dog


def test_categories_are_numbered_as_the_names_are():
    said = {k: [(one["category_id"], one["category_name"]) for one in a.to_coco()] for k, a in ANSWERS.items()}
    both = [(1, "sky"), (2, "dog")]
    assert said == {"note": [(1, "described")], "names": both, "caption": [(1, "dog")], "layout": both}
    assert [one["score"] for one in ANSWERS["layout"].to_coco()] == [1, 1]
    assert Segmentation(np.zeros((2, 2), np.float32)).boxes == ()


def test_an_answer_is_one_line_without_arrays():
    assert [repr(one) for one in ANSWERS.values()] == [
        "Segmentation('one area': described 16.7%)",
        "LabelMap(sky 83.3%, dog 16.7%)",
        "GroundedCaption('a dog': dog 16.7%)",
        "Layout('a dog': sky 83.3%, dog 16.7%)",
    ]
    assert repr(Segmentation(np.zeros((2, 2), np.float32))) == "Segmentation(no masks)"
    assert "mask" not in repr(ANSWERS["caption"].groundings[0])


def test_a_long_answer_is_cut_to_its_largest_masks_and_first_words():
    index = np.repeat(np.arange(9, dtype=np.uint8), 9 - np.arange(9))[None]
    names, zeros = tuple("abcdefghi"), np.zeros(index.shape, np.float32)
    found = LabelMap(names, index, zeros, np.zeros(9, np.float32))
    assert repr(found) == "LabelMap(a 20.0%, b 17.8%, c 15.6%, d 13.3%, e 11.1%, 4 more)"
    assert len(repr(Segmentation(SQUARE.astype(np.float32), "an area " * 100))) < 120


def test_every_answers_table_has_the_same_columns(answer):
    pandas = need("pandas")
    table = answer.to_pandas()
    assert list(table.columns) == ["label", "phrase", "score", "area", "share", "x", "y", "width", "height"]
    dog = table.iloc[-1].to_dict()
    assert {name: dog.pop(name) for name in ("area", "share", "x", "y", "width", "height")} == {
        "area": 8, "share": 1 / 6, "x": 2, "y": 1, "width": 4, "height": 2,
    }  # fmt: skip
    coco_form = answer.to_coco()
    assert list(table["label"]) == [one["category_name"] for one in coco_form]
    assert list(table["score"]) == [one["score"] for one in coco_form]
    assert list(table["phrase"]) == [one["phrase"] for one in coco_form]
    empty = Segmentation(np.zeros((2, 2), np.float32)).to_pandas()
    assert list(pandas.concat([empty, table]).columns) == list(table.columns)
    assert len(empty) == 0


def test_the_masks_are_detections_of_supervision(answer):
    supervision = need("supervision")
    found, coco_form = answer.to_supervision(), answer.to_coco()
    assert len(found) == len(coco_form)
    np.testing.assert_array_equal(found.xyxy[-1], [2, 1, 6, 3])
    np.testing.assert_array_equal(found.mask[-1], SQUARE)
    np.testing.assert_allclose(found.confidence, [one["score"] for one in coco_form])
    assert [i + 1 for i in found.class_id] == [one["category_id"] for one in coco_form]
    assert list(found["class_name"]) == [one["category_name"] for one in coco_form]
    assert list(found["phrase"]) == [one["phrase"] for one in coco_form]
    drawn = supervision.MaskAnnotator(color_lookup=supervision.ColorLookup.INDEX).annotate(PICTURE.copy(), found)
    changed = (drawn != PICTURE).any(2)
    assert changed.any()
    assert not changed[~found.mask.any(0)].any()
    assert len(Segmentation(np.zeros((2, 2), np.float32)).to_supervision()) == 0


@pytest.mark.parametrize("package", ["pandas", "supervision"])
def test_a_missing_package_is_named_as_it_is_typed(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalled, match=f"the package {package} is missing: pip install {package}$"):
        getattr(ANSWERS["note"], f"to_{package}")()


def test_a_notebook_shows_the_plot_and_a_table(answer):
    html = answer._repr_html_()
    (shown,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(shown)))), np.array(answer.plot()))
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    dog = answer.to_coco()[-1]
    assert [dog["category_name"], dog["phrase"], f"{dog['score']:.2f}", "16.7%"] in rows
    assert len(rows) == 1 + len(answer.to_coco())


def test_a_notebooks_table_is_short_and_its_words_are_no_markup():
    index = np.arange(40, dtype=np.uint8)[None]
    many = LabelMap(tuple(map(str, range(40))), index, np.ones((1, 40), np.float32), np.zeros(40, np.float32))
    assert many._repr_html_().count("<tr>") == 1 + 12 + 1
    assert "and 28 more" in many._repr_html_()
    evil = GroundedCaption("<script>", 0.5)._repr_html_()
    assert "<script>" not in evil
    assert "neither a picture nor a mask" in evil
    assert "no masks" in evil


def test_the_picture_is_no_part_of_what_makes_answers_equal():
    assert GroundedCaption("a dog", 0.5, picture=PICTURE) == GroundedCaption("a dog", 0.5)


def test_a_grounded_caption_is_what_is_exported():
    assert mask_as_grounded_caption(ANSWERS["caption"]) is ANSWERS["caption"]


def test_an_unlikely_captions_score_is_not_rounded_away():
    fitted = grounded_caption_to_dict(GroundedCaption("a dog", 0.98765432, calibrated=True))
    assert (fitted["score"], fitted["likelihood"]) == (0.9877, None)
    unfitted = grounded_caption_to_dict(GroundedCaption("a dog", 0.000012345678))
    assert (unfitted["score"], unfitted["likelihood"]) == (None, 0.00001235)


def test_an_empty_mask_has_no_score():
    probability = np.full((2, 3), 0.25, np.float32)
    assert segmentation_to_dict(Segmentation(probability))["score"] is None
    probability[0, 0] = 0.75
    assert segmentation_to_dict(Segmentation(probability))["score"] == 0.75


def test_a_distance_above_1_is_out_of_domain():
    assert domain_to_dict(None) == {"domain_distance": None, "out_of_domain": None}
    assert domain_to_dict(1.0) == {"domain_distance": 1.0, "out_of_domain": False}
    assert domain_to_dict(1.0005) == {"domain_distance": 1.0, "out_of_domain": True}


PREDICTORS = {  # the main job of each, by a call
    "reclmis-chest": lambda call, image: call(image, "one infected area"),
    "cocu-scenes": lambda call, image: call(image, "dog, grass"),
    "scenes-encoder": lambda call, image: call(image, "dog, grass"),
    "sgdiff-scenes": lambda call, image: call(
        image, box=(8, 8, 20, 20), label="dog", options=DescribeOptions(num=1, steps=2)
    )[0],
    "crossmodal-scenes": lambda call, image: call("a dog", image=image, options=DrawOptions(num=1, steps=2))[0],
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_is_called_like_its_job_and_its_answer_keeps_the_picture(name, tmp_path):
    load = load_label_segmenter if name == "scenes-encoder" else segue.load
    model, image = load(name), np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    job = next(getattr(model, job) for job in ("segment", "describe", "draw") if hasattr(model, job))
    found = PREDICTORS[name](model, image)
    assert found.to_dict() == PREDICTORS[name](job, image).to_dict()
    assert found.picture is image
    write_image(image, tmp_path / "a.png")
    again = PREDICTORS[name](model, (tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(again.picture, image)
    assert again.to_dict() == found.to_dict()


def test_layouts_are_drawn_of_pictures_that_come_one_by_one():
    model, image = segue.load("crossmodal-scenes"), np.zeros((8, 8, 3), np.uint8)
    options = DrawOptions(steps=2)
    first, second = model.draw_many(["a dog", "a cat"], (image + i for i in (0, 9)), seeds=[0, 1], options=options)
    assert (first.picture.max(), second.picture.max()) == (0, 9)
    assert segue.load("crossmodal-scenes").draw("a dog", options=options)[0].picture is None
