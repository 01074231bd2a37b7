"""SAM: its file. Its masks are tested with `segue data outline`."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from segue.methods.sam import load_sam
from segue.types import InputError
from tiny_sam import tiny_sam


def changed_sam(folder, change):
    tensors = load_file(tiny_sam(folder) / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_a_sam_that_lacks_a_tensor_is_refused(tmp_path):
    name = "mask_decoder.iou_prediction_head.proj_in.weight"
    source = changed_sam(tmp_path / "sam", lambda tensors: tensors.pop(name))
    with pytest.raises(InputError, match=rf"weights missing \({name}\)"):
        load_sam(source)


def test_a_sam_with_a_foreign_tensor_is_refused(tmp_path):
    source = changed_sam(tmp_path / "sam", lambda tensors: tensors.update({"text_encoder.weight": torch.ones(2)}))
    with pytest.raises(InputError, match=r"has no place for \(text_encoder\.weight\)"):
        load_sam(source)


def test_what_is_no_sam_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"SAM .*nowhere': neither a folder"):
        load_sam(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no SAM could be read there"):
        load_sam(str(tmp_path))
