"""The rows of onnxruntime beside torch."""

import pytest

from segue.lab.run import rows_of
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig

pytest.importorskip("onnxruntime")


def test_the_table_times_every_kind_of_graph_three_times(monkeypatch, tmp_path):
    rows = {row.name: row for row in rows_of("export")}
    assert len(rows) == 5 * 3
    tiny = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    monkeypatch.setitem(SIZES, "paper", tiny)
    for name in ("captioner, step", "GroupViT, texts"):
        found = rows[f"one at a time/{name}/0"].run(tmp_path)
        assert set(found) == {"onnxruntime_ms", "torch_ms", "torch_over_onnxruntime"}
        assert found["torch_over_onnxruntime"] == pytest.approx(found["torch_ms"] / found["onnxruntime_ms"], rel=0.1)
