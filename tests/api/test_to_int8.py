"""A segmenter's graph in int8: smaller, nearly as good, and what it costs is told."""

import json
from dataclasses import replace

import numpy as np
import pytest

import segue as package
from segue.api import to_onnx
from segue.api.to_int8 import GRAPH, export_int8, graph_inputs
from segue.data.medical.lvit import read_lvit
from segue.synthetic.chest import make_chest
from segue.types import InputError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8") / "phantoms"
    make_chest(folder, train=6, val=3, test=1, size=96, workers=1)
    return folder


def test_a_graph_in_int8_is_a_third_as_large_and_masks_stay(phantoms, tmp_path, segue):
    out = tmp_path / "onnx"
    status, told, _ = segue("export", "reclmis-chest", "--onnx", out, "--int8", phantoms, "--json")
    assert status == 0
    loss = json.loads(told)["int8"]
    assert (loss["calibrated_on"], loss["measured_on"]) == (6, 3)
    assert loss["dice"] == pytest.approx(loss["dice_float32"], abs=0.05)
    assert loss["dice_float32"] > 0.6
    described = json.loads((out / "model.json").read_text())
    assert described["int8"] == loss
    model = package.load("reclmis-chest", device="cpu", dtype="float32")
    whole = tmp_path / "whole"
    to_onnx.export_onnx(model, whole)
    assert (out / GRAPH).stat().st_size < 0.4 * (whole / GRAPH).stat().st_size
    example = read_lvit(phantoms, "test")[0].load()
    logits = to_onnx.run_onnx(to_onnx.session(out / GRAPH, 1), graph_inputs(model, example))[0]
    before = to_onnx.run_onnx(to_onnx.session(whole / GRAPH, 1), graph_inputs(model, example))[0]
    assert ((logits > 0) == (before > 0)).mean() > 0.97
    assert not np.array_equal(logits, before)
    assert segue("export", "reclmis-chest", "--onnx", out, "--int8", phantoms, "--json")[:2] == (0, told)
    status, _, error = segue("export", "reclmis-chest", "--onnx", out)
    assert status == 2
    assert "with something else" in error


def test_a_picture_without_a_note_has_no_token(phantoms):
    model = package.load("reclmis-chest", device="cpu", dtype="float32")
    example = read_lvit(phantoms, "test")[0].load()
    given, left_out = (graph_inputs(model, replace(example, note=note)) for note in (example.note, None))
    assert given["pixels"].shape == (1, 3, 96, 96)
    assert given["word_mask"].any()
    assert not left_out["word_mask"].any()


def test_what_is_not_for_int8_is_told(phantoms, tmp_path, segue):
    status, _, error = segue("export", "reclmis-chest", "-o", tmp_path / "small", "--int8", phantoms)
    assert status == 2
    assert "--int8: goes with --onnx" in error
    with pytest.raises(InputError, match="only segmenters by notes"):
        export_int8(object(), tmp_path / "x", phantoms)
