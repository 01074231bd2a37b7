"""The backend over a stand-in for label-studio-ml 2, which is on no package index; its interface is copied here."""

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segue.api import load_label_segmenter
from segue.integrations.answering import LabelledMask
from segue.integrations.label_studio import encode_brush, find_control, make_backend, make_results
from segue.types import InputError, NotInstalled

CONFIG = {  # as Label Studio's own parser gives it
    "choice": {"type": "Choices", "to_name": ["image"], "inputs": [{"type": "Image", "value": "image"}], "labels": []},
    "brush": {
        "type": "BrushLabels", "to_name": ["image"], "inputs": [{"type": "Image", "value": "image"}],
        "labels": ["dog", "grass"],
    },
}  # fmt: skip


def decode_brush(data: list[int]) -> np.ndarray:
    """The decoder that Label Studio's page has, from the comment in its converter: the values, one after another."""
    bits, at = "".join(f"{byte:08b}" for byte in data), 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = read(1), 0
        length = 1 + read(sizes[read(2)])
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    assert len(bits) - at < 8
    assert set(bits[at:]) <= {"0"}
    return np.array(values, np.uint8)


def unpacked(data, mask):
    return decode_brush(data).reshape(*mask.shape, 4)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_brush_is_the_mask_in_all_four_channels(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    np.testing.assert_array_equal(unpacked(encode_brush(mask), mask), np.repeat(255 * mask[..., None], 4, 2))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 4), (1, 64), (128, 128), (129, 128), (300, 500)])
@pytest.mark.parametrize("value", [False, True])
def test_a_run_may_have_any_length(size, value):
    """16,384 pixels are 2 ** 16 values, the longest run; more are several."""
    mask = np.full(size, value)
    mask[0, 0] = not value
    assert (unpacked(encode_brush(mask), mask)[..., 3] == 255 * mask).all()
    mask[0, 0] = value
    assert (unpacked(encode_brush(mask), mask)[..., 3] == 255 * mask).all()


def test_a_known_brush():
    """Two pixels, the second of them set: by hand, from the description of the format."""
    head = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    runs = "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111"
    bits = head + runs + "0" * (-len(head + runs) % 8)
    assert bytes(encode_brush(np.array([[False, True]]))) == int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_results_are_brushes_or_rectangles_in_percent():
    mask = np.zeros((10, 20), np.bool_)
    mask[2:4, 5:15] = True
    found = [LabelledMask("dog", 0.75, mask), LabelledMask("grass", 0.5, ~mask)]
    brush, other = make_results(found, "BrushLabels", "brush", "image")
    assert (unpacked(brush["value"].pop("rle"), mask)[..., 3] == 255 * mask).all()
    assert brush["value"] == {"format": "rle", "brushlabels": ["dog"]}
    assert brush["id"] != other["id"]
    (box,) = make_results(found[:1], "RectangleLabels", "box", "image")
    assert box["value"] == {
        "x": 25, "y": 20, "width": 50, "height": 20, "rotation": 0, "rectanglelabels": ["dog"]
    }  # fmt: skip
    said = {key: box[key] for key in ("type", "from_name", "to_name", "original_width", "original_height", "score")}
    assert said == {
        "type": "rectanglelabels", "from_name": "box", "to_name": "image", "original_width": 20,
        "original_height": 10, "score": 0.75,
    }  # fmt: skip


class Base:
    """What the backend uses of `LabelStudioMLBase`."""

    def __init__(self, config):
        self.parsed_label_config, self.kept = config, {}
        self.setup()

    def set(self, key, value):
        self.kept[key] = value

    def get_local_path(self, url, task_id=None):
        return url.removeprefix("/data/")


@pytest.fixture
def label_studio(monkeypatch):
    package, module = ModuleType("label_studio_ml"), ModuleType("label_studio_ml.model")
    module.LabelStudioMLBase = Base
    monkeypatch.setitem(sys.modules, "label_studio_ml", package)
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", module)


def test_a_project_of_brushes_gets_the_models_masks(label_studio, picture):
    backend = make_backend("scenes-encoder")(CONFIG)
    assert backend.kept == {"model_version": "scenes-encoder"}
    task = {"id": 7, "data": {"image": f"/data/{picture}"}}
    first, second = backend.predict([task, task], context=None)
    assert first == second
    pixels = np.asarray(Image.open(picture))
    answer = load_label_segmenter("scenes-encoder")(pixels, ["dog", "grass"])
    masks = {one["value"]["brushlabels"][0]: unpacked(one["value"]["rle"], answer.index) for one in first["result"]}
    for value, name in enumerate(answer.names):
        there = answer.index == value
        assert (masks[name][..., 3] == 255 * there).all() if there.any() else name not in masks
    assert {(one["from_name"], one["to_name"]) for one in first["result"]} == {("brush", "image")}
    assert first["score"] == pytest.approx(np.mean([one["score"] for one in first["result"]]))
    assert first["model_version"] == "scenes-encoder"


def test_a_model_of_notes_reads_each_tasks_note(label_studio, picture, tiny_model):
    config = {"box": CONFIG["brush"] | {"type": "RectangleLabels", "labels": ["lesion"]}}
    tasks = [{"data": {"image": str(picture), "words": "left lung"}}, {"data": {"image": str(picture)}}]
    found = make_backend(str(tiny_model), note="words")(config).predict(tasks)
    assert [one["value"]["rectanglelabels"] for part in found for one in part["result"]] == [["lesion"]] * 2


def test_a_project_without_brushes_or_rectangles_is_refused():
    assert find_control(CONFIG)[0] == "brush"
    with pytest.raises(InputError, match="the project has no BrushLabels or RectangleLabels"):
        find_control({"choice": CONFIG["choice"]})


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "label_studio_ml", None)
    with pytest.raises(NotInstalled, match="label-studio-ml 2 is missing; install it from its repository"):
        make_backend("scenes-encoder")
