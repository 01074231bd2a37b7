"""The benchmark of ONNX runs small and reports what it promises."""

import json

import pytest

from segue.lab.bench.export import bench_export
from segue.lab.run import rows_of
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.types import InputError

pytest.importorskip("onnxruntime")


def test_bench_export(segue, tiny_model):
    status, out, error = segue("bench", "export", "--json", "--models", tiny_model, "--rounds", "2", "--length", "4")
    assert status == 0, error
    told = json.loads(out)
    assert told["threads"] >= 1
    graph = told["ms"][str(tiny_model)]["segmenter"]
    assert graph["onnxruntime"] > 0
    assert graph["torch_over_onnxruntime"] == pytest.approx(graph["torch"] / graph["onnxruntime"], rel=0.05)
    assert graph["largest_difference"] < 1e-4
    with pytest.raises(InputError, match="got batch 0"):
        bench_export(batch=0)


def test_the_table_times_every_kind_of_graph_three_times(monkeypatch, tmp_path):
    rows = {row.name: row for row in rows_of("export")}
    assert len(rows) == 5 * 3
    tiny = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    monkeypatch.setitem(SIZES, "paper", tiny)
    for name in ("captioner, step", "GroupViT, texts"):
        told = rows[f"one at a time/{name}/0"].run(tmp_path)
        assert set(told) == {"onnxruntime_ms", "torch_ms", "torch_over_onnxruntime"}
        assert told["torch_over_onnxruntime"] == pytest.approx(told["torch_ms"] / told["onnxruntime_ms"], rel=0.1)
