"""What int8 brings is measured beside float32."""

import pytest

from segue.lab.bench import int8
from segue.lab.bench.int8 import measure_decoder, measure_graph
from segue.synthetic.chest import make_chest


def test_a_graph_has_its_time_size_and_loss(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(int8, "ROUNDS", 2)
    make_chest(tmp_path / "data", train=3, val=2, test=1, size=96, workers=1)
    found = measure_graph("reclmis-chest", tmp_path / "data", tmp_path)
    assert found["int8_mb"] < 0.4 * found["float32_mb"]
    assert found["speedup"] == found["float32_ms"] / found["int8_ms"]
    assert found["dice"] == pytest.approx(found["dice_float32"], abs=0.1)


def test_a_decoder_in_int8_writes_nearly_the_same(monkeypatch):
    monkeypatch.setattr(int8, "PICTURES", 4)
    found = measure_decoder("captions-photos", counts=(4,))
    assert found["batch_4_speedup"] == found["batch_4_float32_ms"] / found["batch_4_int8_ms"]
    assert 0 <= found["changed"] < 1
