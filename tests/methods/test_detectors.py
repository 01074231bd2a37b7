"""YOLOX: its boxes, its preprocessing and its file; DETR: its file (its boxes are tested with its graphs)."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from methods.sgdiff.toys import toy_model
from segue.methods.detectors import Yolox, load_detector, load_yolox, move_detector
from segue.methods.sgdiff.checkpoint import save
from segue.types import InputError
from tiny_detr import tiny_detr
from tiny_sam import tiny_sam
from tiny_yolox import CELLS, SIDE, answer, tiny_yolox

PICTURE = np.zeros((32, 48, 3), np.uint8)  # seen at 4/3 of its size
PICTURE[..., 0] = 200  # red


class Given:
    """A session that answers what it was given, and keeps what it was fed."""

    def __init__(self, answer, side=SIDE):
        self.answer, self.side = answer, side

    def get_inputs(self):
        return [Shaped("images", [1, 3, self.side, self.side])]

    def get_outputs(self):
        return [Shaped("output", list(self.answer.shape))]

    def run(self, names, fed):
        self.fed = fed["images"]
        return [self.answer]


class Shaped:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


def test_boxes_are_decoded_from_every_grid():
    fine, coarse = 8 * 2 + 1, 64 + 16  # column 1, row 2 of the finest; the first of the coarsest
    detect = Yolox(
        Given(answer((fine, (0.5, 0.5, 0, np.log(2)), 0.9, "dog", 1), (coarse, (1, 0.5, 0, 0), 1, "car", 0.5))), "y"
    )
    found = detect(PICTURE)
    assert found.labels == ["dog", "car"]
    # 8 pixels at centre (12, 20) and 8x16 of size; 32 pixels at centre (32, 16); both over 4/3
    np.testing.assert_allclose(found.boxes, [[6, 9, 6, 12], [12, 0, 24, 24]], atol=1e-4)
    assert found.features is None


def test_it_sees_bgr_in_the_corner_of_a_grey_square():
    session = Given(answer())
    assert Yolox(session, "y")(PICTURE).labels == []
    seen = session.fed[0]
    assert seen.shape == (3, SIDE, SIDE)
    assert (seen[:, 42:] == 114).all()  # 32 * 4 / 3 = 42.67
    assert (seen[2, :42] == 200).all()
    assert (seen[:2, :42] == 0).all()


def test_of_overlapping_boxes_of_a_class_the_best_is_kept_and_boxes_end_at_the_edge():
    wide = np.log(20)
    said = [
        (0, (0, 0, wide, wide), 0.8, "dog", 1),
        (1, (0, 0, wide, wide), 0.9, "dog", 1),
        (2, (0, 0, wide, wide), 0.7, "cat", 1),
    ]
    detect = Yolox(Given(answer(*said)), "y")
    found = detect(PICTURE)
    assert found.labels == ["dog", "cat"]
    assert (found.boxes[:, :2] + found.boxes[:, 2:] <= [48, 32]).all()
    detect.max_objects = 1
    assert detect(PICTURE).labels == ["dog"]
    detect.threshold = 0.95
    assert detect(PICTURE).labels == []


def test_what_is_no_yolox_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gives \[1, 84, 7\], expected \[1, 84, 85\]"):
        Yolox(Given(np.zeros((1, CELLS, 7))), "y")
    with pytest.raises(InputError, match="expected a YOLOX of pictures"):
        Yolox(Given(answer(), side=50), "y")
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="no such file"):
        load_yolox(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_bytes(b"not a model")
    (tmp_path / "EMPTY.ONNX").touch()
    for name in ("text.onnx", "EMPTY.ONNX"):
        with pytest.raises(InputError, match="can't be read as ONNX"):
            load_detector(str(tmp_path / name))


def test_a_batch_of_any_size_will_do():
    session = Given(answer((17, (0, 0, 0, 0), 1, "bus", 1)))
    session.get_outputs = lambda: [Shaped("output", ["batch", CELLS, 85])]
    session.get_inputs = lambda: [Shaped("images", ["batch", 3, SIDE, SIDE])]
    assert Yolox(session, "y")(PICTURE).labels == ["bus"]


def test_pickled_weights_are_not_read(tmp_path):
    folder = tiny_detr(tmp_path / "detr")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    load_detector(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no detector could be read there"):
        load_detector(str(folder))


def test_an_onnx_file_detects(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    path = tiny_yolox(tmp_path / "y.onnx", (17, (0, 0, 0, 0), 1, "bus", 1))
    assert load_detector(str(path))(PICTURE).labels == ["bus"]


def changed_detr(folder, change):
    """A tiny DETR whose tensors were changed in its file."""
    tensors = load_file(tiny_detr(folder) / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_a_detr_moves_to_a_device_and_a_yolox_stays(tmp_path):
    detr = load_detector(str(tiny_detr(tmp_path / "detr")))
    for detector in (detr, load_detector(str(tiny_yolox(tmp_path / "yolox.onnx"))), None):
        move_detector(detector, "meta")
    assert {p.device.type for p in detr.network.parameters()} == {"meta"}


def test_a_detr_that_lacks_a_tensor_is_refused(tmp_path):
    """transformers would go on with a random layer."""
    source = changed_detr(tmp_path / "detr", lambda tensors: tensors.pop("bbox_predictor.layers.1.weight"))
    with pytest.raises(InputError, match=r"weights missing \(bbox_predictor\.layers\.1\.weight\)"):
        load_detector(source)


def test_a_detr_with_a_foreign_tensor_is_refused(tmp_path):
    source = changed_detr(tmp_path / "detr", lambda tensors: tensors.update({"language_head.weight": torch.ones(2)}))
    with pytest.raises(InputError, match=r"has no place for \(language_head\.weight\)"):
        load_detector(source)


def test_a_detr_with_a_tensor_of_another_shape_is_refused(tmp_path):
    source = changed_detr(tmp_path / "detr", lambda t: t.update({"class_labels_classifier.bias": torch.ones(9)}))
    with pytest.raises(InputError, match=r"another shape \(class_labels_classifier\.bias\)"):
        load_detector(source)


def test_counters_of_batch_norm_do_no_harm(tmp_path):
    def add(tensors):
        name = next(key for key in tensors if key.endswith("running_mean")).replace(
            "running_mean", "num_batches_tracked"
        )
        tensors[name] = torch.tensor(5)

    assert load_detector(changed_detr(tmp_path / "detr", add)).names == ("cat", "dog")


def test_another_models_folder_is_no_detr(tmp_path):
    """No layer of it is a DETR's; all would be random."""
    save(toy_model(), tmp_path / "segue")
    with pytest.raises(InputError, match="segue: no detector could be read there"):
        load_detector(str(tmp_path / "segue"))
    tiny_sam(tmp_path / "sam")
    with pytest.raises(InputError, match=r"sam: holds a 'sam' model, expected .* or a DETR"):
        load_detector(str(tmp_path / "sam"))


def test_a_broken_file_is_no_detr(tmp_path):
    (tiny_detr(tmp_path / "detr") / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="weights can't be read"):
        load_detector(str(tmp_path / "detr"))
