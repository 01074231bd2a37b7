"""Masks from others' models: a Mask2Former beside a SAM (whose own tests are in test_sam)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segue.methods.detectors import load_detector
from segue.methods.mask_sources import Mask2Former, load_mask_source, move_mask_source
from segue.types import InputError
from tiny_detr import tiny_detr
from tiny_mask2former import tiny_mask2former
from tiny_sam import tiny_sam

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)


class Sees:
    """A network whose three queries are the left half, the right half and nothing; it is sure of the first two."""

    device = "cpu"

    def eval(self):
        return self

    def __call__(self, pixel_values):
        height, width = (side // 4 for side in pixel_values.shape[-2:])
        masks = torch.full((1, 3, height, width), -9.0)
        masks[0, 0, :, : width // 2], masks[0, 1, :, width // 2 :], masks[0, 2] = 9.0, 9.0, 9.0
        classes = torch.tensor([[[5.0, 0.0], [5.0, 0.0], [0.0, 5.0]]])
        return SimpleNamespace(masks_queries_logits=masks, class_queries_logits=classes)


def processor(image, return_tensors):
    return {"pixel_values": torch.zeros(1, 3, 64, 64)}


def test_a_box_gets_the_segment_that_fits_it_or_none():
    boxes = [(20.0, 0.0, 20.0, 30.0), (0.0, 0.0, 21.0, 29.0), (18.0, 10.0, 3.0, 3.0), (0.0, 0.0, 40.0, 30.0)]
    left, right, small, whole = Mask2Former(Sees(), processor)(IMAGE, [boxes[1], boxes[0], boxes[2], boxes[3]])
    assert left[:, :19].all()
    assert not left[:, 21:].any()
    assert right[:, 21:].all()
    assert not right[:, :19].any()
    assert not small.any()
    assert (whole == left).all() or (whole == right).all()  # half of its box: .5; "nothing" would fit it, and is none


def test_no_box_has_no_mask():
    assert Mask2Former(Sees(), processor)(IMAGE, []).shape == (0, 30, 40)


def test_folders_of_either_kind_are_read_whole(tmp_path):
    boxes = [(2.0, 3.0, 20.0, 20.0), (0.0, 0.0, 40.0, 30.0)]
    for folder in (tiny_mask2former(tmp_path / "mask2former"), tiny_sam(tmp_path / "sam")):
        masks = load_mask_source(str(folder))(IMAGE, boxes)
        assert masks.shape == (2, 30, 40)
        assert masks.dtype == np.bool_


def test_a_source_of_either_kind_moves_to_a_device(tmp_path):
    mask2former = load_mask_source(str(tiny_mask2former(tmp_path / "mask2former")))
    sam = load_mask_source(str(tiny_sam(tmp_path / "sam")))
    for source in (mask2former, sam, None):
        move_mask_source(source, "meta")
    networks = mask2former.network, sam.keywords["sam"].model
    assert {p.device.type for network in networks for p in network.parameters()} == {"meta"}


def test_other_models_are_refused_in_either_place(tmp_path):
    detr, mask2former = tiny_detr(tmp_path / "detr"), tiny_mask2former(tmp_path / "mask2former")
    with pytest.raises(InputError, match="holds a 'detr' model, expected a SAM or a Mask2Former"):
        load_mask_source(str(detr))
    with pytest.raises(InputError, match=r"holds a 'mask2former' model, expected .*a DETR"):
        load_detector(str(mask2former))
    with pytest.raises(InputError, match="mask source 'nowhere': neither a folder nor a hub id"):
        load_mask_source("nowhere")
