"""The model over FiftyOne where it is installed, else over a stand-in: its package brings a database."""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from segue.api import load_label_segmenter
from segue.integrations.fiftyone import make_model, to_detections
from segue.types import InputError, NotInstalled

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
LABELS = ["dog", "grass", "sky"]


class Record:
    def __init__(self, **fields):
        vars(self).update(fields)


@pytest.fixture(autouse=True)
def _fiftyone(monkeypatch):
    """`fiftyone.core.models.Model`, and the labels by their fields."""
    if find_spec("fiftyone"):
        return
    models, labels = ModuleType("fiftyone.core.models"), ModuleType("fiftyone.core.labels")
    models.Model = type("Model", (), {"predict_all": lambda self, images: [self.predict(image) for image in images]})
    labels.Detection = labels.Detections = Record
    for name, module in (("models", models), ("labels", labels)):
        monkeypatch.setitem(sys.modules, f"fiftyone.core.{name}", module)
    for name in ("fiftyone", "fiftyone.core"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


def test_its_detections_are_the_models_masks():
    model, answer = make_model("scenes-encoder", LABELS), load_label_segmenter("scenes-encoder")(IMAGE, LABELS)
    (found,) = model.predict_all([IMAGE])
    assert isinstance(model, sys.modules["fiftyone.core.models"].Model)
    assert (model.media_type, model.ragged_batches, model.transforms) == ("image", True, None)
    assert {one.label for one in found.detections} == {LABELS[i] for i in np.unique(answer.index)}
    for one in found.detections:
        x, y, w, h = (round(v * side) for v, side in zip(one.bounding_box, (56, 40, 56, 40), strict=True))
        whole = np.zeros((40, 56), bool)
        whole[y : y + h, x : x + w] = one.mask
        np.testing.assert_array_equal(whole, answer.index == LABELS.index(one.label))
        assert 0 < one.confidence <= 1


def test_a_picture_without_masks_has_no_detections():
    assert to_detections([]).detections == []


def test_what_is_asked_of_the_wrong_model_is_refused(tiny_model):
    with pytest.raises(InputError, match="this model reads none"):
        make_model("scenes-encoder", LABELS, note="two areas").predict(IMAGE)
    with pytest.raises(InputError, match="give one label"):
        make_model(str(tiny_model), LABELS).predict(IMAGE)


def test_without_fiftyone_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone.core.models", None)
    with pytest.raises(NotInstalled, match="pip install fiftyone"):
        make_model("scenes-encoder", LABELS)
