"""The function by CVAT's own package: its specification, its shapes, and what its driver makes of them."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from optional import need
from segue.api import load_label_segmenter
from segue.integrations import cvat
from segue.types import InputError, NotInstalled

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8))
LABELS = ["dog", "grass", "sky"]


def context(threshold=None, polygons=False):
    return SimpleNamespace(frame_name="a.png", conf_threshold=threshold, conv_mask_to_poly=polygons)


@pytest.fixture(scope="module")
def answer():
    return load_label_segmenter("scenes-encoder")(IMAGE, LABELS)


@pytest.fixture(scope="module")
def function():
    need("cvat_sdk")
    return cvat.create("scenes-encoder", "dog, grass, sky")


def test_a_function_names_its_labels(function):
    labels = function.spec.labels
    assert [(one.id, one.name, one.type) for one in labels] == [(i, name, "mask") for i, name in enumerate(LABELS)]


def test_its_shapes_are_the_models_masks(function, answer):
    found = function.detect(context(), IMAGE)
    masks = need("cvat_sdk.masks")
    assert {one.type.value for one in found} == {"mask"}
    decoded = {one.label_id: masks.decode_mask(one.points, image_width=56, image_height=40) for one in found}
    for value in range(3):
        there = answer.index == value
        np.testing.assert_array_equal(decoded.get(value, np.zeros((40, 56), bool)), there)


def test_masks_become_polygons_where_cvat_asks_for_them(function, answer):
    drawn = {}
    for one in function.detect(context(polygons=True), IMAGE):
        assert one.type.value == "polygon"
        assert len(one.points) >= 6
        canvas = drawn.setdefault(one.label_id, Image.new("L", (56, 40)))
        ImageDraw.Draw(canvas).polygon(one.points, fill=1)
    assert set(drawn) == set(np.unique(answer.index).tolist())


def test_shapes_below_the_threshold_are_left_out(function):
    found = function.detect(context(), IMAGE)
    assert found
    assert function.detect(context(threshold=1.0), IMAGE) == []


def test_rectangles_are_around_the_masks(answer):
    need("cvat_sdk")
    function = cvat.create("scenes-encoder", "dog, grass, sky", shape="rectangle")
    assert {one.type for one in function.spec.labels} == {"rectangle"}
    for one in function.detect(context(), IMAGE):
        rows, columns = np.nonzero(answer.index == one.label_id)
        assert one.points == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_cvats_own_driver_takes_the_shapes(function):
    """Which maps them to the labels of a task, and refuses what breaks its rules."""
    driver, models = need("cvat_sdk.auto_annotation.driver"), need("cvat_sdk.models")
    task = [
        models.Label(id=100 + i, name=name, type="mask", attributes=[], sublabels=[]) for i, name in enumerate(LABELS)
    ]
    mapper = driver._AnnotationMapper(
        logging.getLogger(), function.spec.labels, task, allow_unmatched_labels=False, conv_mask_to_poly=False
    )
    shapes = function.detect(context(), IMAGE)
    mapper.validate_and_remap(shapes, 3)
    assert {one.label_id for one in shapes} <= {100, 101, 102}
    assert {(one.frame, one.source) for one in shapes} == {(3, "auto")}


def test_a_note_goes_to_a_model_of_notes(tiny_model):
    need("cvat_sdk")
    found = cvat.create(str(tiny_model), "lesion", note="left lung").detect(context(), IMAGE)
    assert [one.label_id for one in found] == [0]


def test_what_can_not_be_asked_for_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="shape: got 'star', expected mask or rectangle"):
        cvat.create("scenes-encoder", "dog, grass", shape="star")
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    with pytest.raises(NotInstalled, match=r"the package cvat-sdk is missing: pip install cvat-sdk$"):
        cvat.create("scenes-encoder", "dog, grass")
    with pytest.raises(InputError, match="label"):
        cvat.create("scenes-encoder", " ,")
