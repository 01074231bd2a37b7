"""The benchmark of ONNX runs small and reports what it promises."""

import json

import pytest

from segue.lab.bench.export import bench_export
from segue.types import InputError

pytest.importorskip("onnxruntime")


def test_bench_export(segue, tiny_model):
    status, out, error = segue(
        "lab", "bench", "export", "--json", "--models", tiny_model, "--rounds", "2", "--length", "4"
    )
    assert status == 0, error
    found = json.loads(out)
    assert found["threads"] >= 1
    graph = found["ms"][str(tiny_model)]["segmenter"]
    assert graph["onnxruntime"] > 0
    assert graph["torch_over_onnxruntime"] == pytest.approx(graph["torch"] / graph["onnxruntime"], rel=0.05)
    assert graph["largest_difference"] < 1e-4
    with pytest.raises(InputError, match="got batch 0"):
        bench_export(batch=0)
