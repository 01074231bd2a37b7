from pathlib import Path

import numpy as np
import pytest

from segue.types import Example, InputError, Phrase, Picture, Region, Relation, Segmentation, to_install

IMAGE = np.zeros((4, 6, 3), np.uint8)


def test_what_is_missing_is_installed_from_segues_folder(monkeypatch):
    monkeypatch.setattr("segue.types.SOURCES", Path(__file__))  # any file that is there
    assert to_install("onnx") == 'pip install ".[onnx]" in Segue\'s folder'


def test_what_is_missing_of_an_installed_segue_is_installed_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr("segue.types.SOURCES", tmp_path / "pyproject.toml")  # a wheel has none
    assert to_install("onnx") == f'pip install "{"segue"}[onnx]"'


def test_an_example_names_both_sizes_when_they_differ():
    with pytest.raises(InputError, match=r"x1: the mask is 5x4 and the image 6x4 \(width x height\)"):
        Example(IMAGE, np.zeros((4, 5), bool), None, "x1")


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(np.float32), np.zeros((0, 4, 3), np.uint8), "a.png"])
def test_an_image_is_rgb_bytes(image):
    with pytest.raises(InputError, match=r"expected an? .*\(H, W, 3\) uint8|expected \(H, W, 3\) uint8"):
        Example(image, None, None, "x1")


def test_a_mask_is_boolean():
    with pytest.raises(InputError, match="threshold it first"):
        Example(IMAGE, np.full((4, 6), 255, np.uint8), None, "x1")


def test_the_group_is_the_name_when_unknown():
    assert Example(IMAGE, None, None, "x1").group == "x1"
    assert Example(IMAGE, None, None, "x1", group="patient").group == "patient"


def test_what_a_segmentation_tells():
    probability = np.zeros((4, 6), np.float32)
    probability[1:3, 2:5] = 0.8
    answer = Segmentation(probability)
    assert answer.area == 6
    assert answer.centroid == (3.0, 1.5)
    assert answer.score == pytest.approx(0.8)
    assert Segmentation(probability, threshold=0.9).centroid is None
    assert Segmentation(probability, threshold=0.9).score == pytest.approx(0.8)


@pytest.mark.parametrize("bad", [np.full((2, 2), 1.5), np.full((2, 2), np.nan), np.zeros((2, 2, 1))])
def test_a_probability_lies_between_0_and_1(bad):
    with pytest.raises(InputError, match=r"expected a finite \(H, W\) array with values in \[0, 1\]"):
        Segmentation(bad)


def test_a_picture_refuses_relations_and_phrases_that_point_nowhere():
    def load():
        return np.zeros((4, 4, 3), np.uint8)

    dog = Region("dog", (0, 0, 2, 2))
    with pytest.raises(InputError, match=r"p: Relation.*outside its 1 regions"):
        Picture("p", load, regions=(dog,), relations=(Relation(0, "on", 1),))
    with pytest.raises(InputError, match="outside its 0 captions or 1 regions"):
        Picture("p", load, regions=(dog,), phrases=(Phrase(0, 0, 3, (0,)),))
    with pytest.raises(InputError, match="no stretch of its caption, which has 5 characters"):
        Picture("p", load, captions=("a dog",), regions=(dog,), phrases=(Phrase(0, 2, 6, (0,)),))
    assert Picture("p", load, captions=("a dog",), regions=(dog,), phrases=(Phrase(0, 2, 5, (0,)),)).split == "train"
