"""Scores of open-vocabulary segmentation: the ground truth, background, and labels of an oracle."""

from dataclasses import replace

import numpy as np
import pytest

from data.formats.true_formats import numbers, paint, put
from groupvit_folder import write_groupvit
from scenes_and_encoder import write_scenes
from segue.api.open_vocabulary import LabelMap, load_open_vocabulary
from segue.data.formats import read_pictures
from segue.data.formats.classes import COCO_STUFF_171, COCO_THINGS
from segue.evaluation.labels import evaluate_label_maps, only_classes, score_pictures, with_truth, without_classes
from segue.methods.cocu.protocols import PROTOCOLS, PUBLISHED_CLASSES, EvalProtocol
from segue.options import LabelOptions
from segue.synthetic.scenes.scene import CLASSES
from segue.types import InputError, Picture, PictureSet


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "scenes", EvalProtocol(32, 32, 16))
        yield


@pytest.fixture(scope="module")
def groupvit(tmp_path_factory):
    words = [*CLASSES, "a photo of a background."]
    return write_groupvit(tmp_path_factory.mktemp("models") / "m", words, concept_vocabulary=["dog", "sky"])


def test_a_perfect_answer_scores_one(groupvit, scenes, monkeypatch):
    """The scores of the truth itself, put in the model's mouth."""
    model = load_open_vocabulary(groupvit)
    found = read_pictures(scenes, "val")
    truths = iter([p.label_map() for p in found.pictures])

    def segment(image, names, **options):
        answer = next(truths)
        return replace(real(image, names, **options), index=np.where(answer == 255, 0, answer).astype(np.uint8))

    real = model.segment
    monkeypatch.setattr(model, "segment", segment)
    scores = evaluate_label_maps(model, scenes, "val")
    assert scores["miou"] == scores["pixel_accuracy"] == 1


def test_without_label_maps_the_masks_are_the_truth(scenes):
    found = read_pictures(scenes, "val")
    bare = replace(found, pictures=[replace(p, label_map=None) for p in found.pictures])
    pictures, classes, truth = with_truth(bare, EvalProtocol(32, 32, 16, 0.9))
    assert classes == (*found.classes, "background")
    for picture, whole in zip(pictures, found.pictures, strict=True):
        both = truth(picture)
        known = whole.label_map()
        assert (both == known)[known != 255].mean() > 0.99
    assert with_truth(bare, EvalProtocol(32, 32, 16))[1] == found.classes
    with pytest.raises(InputError, match="no picture of this split has a label map or a mask"):
        with_truth(replace(found, pictures=[replace(p, label_map=None, regions=(), relations=(), phrases=())
                                            for p in found.pictures]), EvalProtocol(32, 32, 16))  # fmt: skip


def test_background_is_scored_by_protocols_that_can_answer_it(groupvit, scenes, monkeypatch):
    """Without a threshold no pixel is named so: its IoU of 0 would say nothing of the model, and is left out."""
    found = read_pictures(scenes, "val")
    behind = int(np.argmax(np.bincount(found.pictures[0].label_map().ravel(), minlength=256)[:255]))
    classes = tuple("background" if i == behind else name for i, name in enumerate(found.classes))
    named = replace(found, classes=classes)
    monkeypatch.setattr("segue.evaluation.labels.read_pictures", lambda *_, **__: named)
    model = load_open_vocabulary(groupvit)
    for threshold in (None, 0.2):
        model.protocol = EvalProtocol(32, 32, 16, threshold)
        scores = evaluate_label_maps(model, scenes, "val")
        there = {name: iou for name, iou in scores["class_iou"].items() if iou is not None}
        assert ("background" in there) == (threshold is not None)
        assert scores["miou"] == pytest.approx(np.mean(list(there.values())))
        said = "left out of miou: this protocol has no threshold, below which a pixel would be background"
        assert scores["protocol_settings"].get("background") == (None if threshold else said)
    monkeypatch.undo()
    model.protocol = EvalProtocol(32, 32, 16)
    assert "background" not in evaluate_label_maps(model, scenes, "val")["protocol_settings"]


def test_what_label_maps_leave_out_is_background_where_the_protocol_has_one(scenes):
    found = read_pictures(scenes, "val")
    hidden = [np.where(p.label_map() == 0, 255, p.label_map()).astype(np.uint8) for p in found.pictures]
    holed = replace(
        found, pictures=[replace(p, label_map=lambda m=m: m) for p, m in zip(found.pictures, hidden, strict=True)]
    )
    for protocol, rest in ((EvalProtocol(32, 32, 16, 0.3), len(found.classes)), (EvalProtocol(32, 32, 16), 255)):
        pictures, classes, truth = with_truth(holed, protocol)
        assert classes == ((*found.classes, "background") if rest != 255 else found.classes)
        for picture, there in zip(pictures, hidden, strict=True):
            np.testing.assert_array_equal(truth(picture), np.where(there == 255, rest, there))
    named = replace(holed, classes=("background", *found.classes[1:]))
    assert with_truth(named, EvalProtocol(32, 32, 16, 0.3))[1] == named.classes


class Answers:
    """Stands for a predictor that gives every pixel the first of the labels."""

    def __init__(self, protocol):
        self.protocol, self.asked, self.about = protocol, [], {}

    def chosen_protocol(self, options):
        return PROTOCOLS.get(options.protocol, self.protocol)

    def unreadable(self, names, protocol):
        return {}

    def segment(self, image, labels, *, options):
        self.asked.append(labels)
        height, width = image.shape[:2]
        first, scores = np.zeros((height, width), np.uint8), np.ones((height, width), np.float32)
        return LabelMap(tuple(labels), first, scores, np.ones(len(labels), np.float32))


def test_an_oracle_offers_only_what_a_picture_shows():
    maps = [np.array([[0, 2]], np.uint8), np.array([[1, 1]], np.uint8), np.array([[255, 255]], np.uint8)]
    pictures = [
        Picture(str(i), lambda: np.zeros((1, 2, 3), np.uint8), label_map=lambda m=m: m) for i, m in enumerate(maps)
    ]
    predictor = Answers(EvalProtocol(32, 32, 16))
    classes = ("dog", "sky", "grass")
    ious, accuracy = score_pictures(predictor, pictures, classes, lambda p: p.label_map(), oracle=True)
    assert predictor.asked == [["dog", "grass"]]  # of one class alone there is nothing to choose from
    assert ious.tolist() == [0.5, 1.0, 0.0]
    assert accuracy == 3 / 4
    predictor.asked.clear()
    ious, accuracy = score_pictures(predictor, pictures, classes, lambda p: p.label_map())
    assert predictor.asked == [list(classes)] * 3
    assert (ious.tolist(), accuracy) == ([0.25, 0.0, 0.0], 0.25)


def test_the_answer_says_under_which_protocol_it_was_scored(groupvit, scenes):
    model = load_open_vocabulary(groupvit)
    plain = evaluate_label_maps(model, scenes, "val")
    assert (plain["protocol"], plain["protocol_settings"]["crop"], plain["pictures"]) == ("the model's own", 32, 2)
    named = evaluate_label_maps(model, scenes, "val", options=LabelOptions(protocol="scenes"))
    assert named["protocol"] == "scenes"
    assert named["class_iou"] == plain["class_iou"]
    changed = evaluate_label_maps(model, scenes, "val", options=LabelOptions(hard=True, top_k=3, background=0.5))
    assert changed["protocol"] == "the model's own, changed"
    settings = {"rule": "hard", "top_k": 3, "threshold": 0.5}
    assert changed["protocol_settings"] == plain["protocol_settings"] | settings
    assert changed["classes"] == plain["classes"] + 1
    with pytest.raises(InputError, match="protocol 'vok'"):
        evaluate_label_maps(model, scenes, "val", options=LabelOptions(protocol="vok"))


def test_a_name_that_the_model_cannot_read_is_left_out_and_reported(scenes, tmp_path):
    """The others are scored as if its pixels had no label."""
    words = [name for name in CLASSES if name != "sky"]
    model = load_open_vocabulary(write_groupvit(tmp_path / "m", [*words, "a photo of a background."]))
    with pytest.warns(UserWarning, match="left out.*'sky' means nothing"):
        scores = evaluate_label_maps(model, scenes, "val")
    assert list(scores["left_out"]) == ["sky"]
    assert scores["classes"] == len(CLASSES) - 1
    assert "sky" not in scores["class_iou"]

    found = read_pictures(scenes, "val")
    pictures, classes, whole = with_truth(found, model.protocol)
    classes, part = without_classes(classes, whole, ["sky"])
    truth, sky = whole(pictures[0]), found.classes.index("sky")
    assert (truth == sky).any()
    left = part(pictures[0])
    assert ((left == 255) == ((truth == sky) | (truth == 255))).all()
    kept = left != 255
    assert [classes[i] for i in left[kept]] == [found.classes[i] for i in truth[kept]]


def test_a_model_that_can_read_no_two_names_is_refused(scenes, tmp_path):
    model = load_open_vocabulary(write_groupvit(tmp_path / "m", ["a photo of a sky."]))
    with pytest.raises(InputError, match="can read 1 of the"):
        evaluate_label_maps(model, scenes, "val")


def test_the_overlap_is_with_the_training_or_with_what_is_given(groupvit, scenes):
    model = load_open_vocabulary(groupvit)
    found = evaluate_label_maps(model, scenes, "val")
    assert (found["vocabulary_overlap"]["held"], found["vocabulary_overlap"]["of"]) == (2, len(CLASSES))
    given = evaluate_label_maps(model, scenes, "val", concepts=["Dog", "zebra"])["vocabulary_overlap"]
    assert given["held"] == 1
    assert set(given["missing"]) == set(CLASSES) - {"dog"}
    del model.about["concept_vocabulary"]
    assert "doesn't say" in evaluate_label_maps(model, scenes, "val")["vocabulary_overlap"]


def test_context_is_read_as_published_beside_vocs_lists(tmp_path):
    base = tmp_path / "VOC2010"
    paint(base / "JPEGImages/a.jpg")
    for lists, maps in (("Segmentation", "SegmentationClass"), ("SegmentationContext", "SegmentationClassContext")):
        put(base / f"ImageSets/{lists}/val.txt", "a\n")
        numbers(base / f"{maps}/a.png", np.repeat([[0] * 6 + [1] * 6], 8, 0))
    predictor = Answers(EvalProtocol(32, 32, 16))
    found = evaluate_label_maps(predictor, tmp_path, "val", options=LabelOptions(protocol="context"))
    assert (found["classes"], found["as_published"]) == (60, "yes, on the published pictures")
    assert predictor.asked[0][0] == "airplane"  # not aeroplane
    assert {"plant", "monitor", "table", "motorbike"} <= set(predictor.asked[0])
    assert len(predictor.asked[0]) == 59
    assert found["class_iou"]["aeroplane"] == found["pixel_accuracy"] == 0.5
    found = evaluate_label_maps(predictor, tmp_path, "val", options=LabelOptions(protocol="voc"))
    assert (found["classes"], predictor.asked[1][0]) == (21, "aeroplane")
    assert {"table", "plant", "monitor"} <= set(predictor.asked[1])
    soft = evaluate_label_maps(predictor, tmp_path, "val", options=LabelOptions(protocol="voc-soft"))
    assert soft["as_published"] == "no: this protocol is our own"
    assert "dining table" in predictor.asked[2]
    changed = evaluate_label_maps(predictor, tmp_path, "val", options=LabelOptions(protocol="ade20k"))
    assert changed["as_published"] == "no: these classes are not those of the published data set"


def test_coco_object_is_the_things_of_coco_stuff_and_the_rest_background(monkeypatch):
    stuff = np.array([[0, 79, 80, 170, 255]], np.uint8)
    picture = Picture("a", lambda: np.zeros((1, 5, 3), np.uint8), label_map=lambda: stuff)
    found = PictureSet([picture], COCO_STUFF_171)
    kept = only_classes(found, PUBLISHED_CLASSES["coco-object"], PROTOCOLS["coco-object"])
    pictures, classes, truth = with_truth(kept, PROTOCOLS["coco-object"])
    assert classes == (*COCO_THINGS, "background")
    assert truth(pictures[0]).tolist() == [[0, 79, 80, 80, 80]]
    for name in ("stuff", "scenes"):
        assert only_classes(found, PUBLISHED_CLASSES.get(name, ()), PROTOCOLS[name]) is found
