"""The memory of a network is that of a process of its own."""

import pytest

from segue.lab.bench.weights import WEIGHTS, measure

TINY = "ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64))"


def test_what_is_measured_of_a_network_is_its_own(monkeypatch):
    monkeypatch.setitem(WEIGHTS, "tiny", (TINY, "pixel_values=picture(224)"))
    held = bytearray(200_000_000)  # of this process, which starts the other
    found = measure("tiny")
    assert found["file_mb"] == pytest.approx(4 * found["params_m"], abs=0.2)
    assert 0 <= found["peak_mb"] < 100 < len(held) / 1e6


def test_the_networks_are_those_that_options_name():
    from segue.weights import OTHER_WEIGHTS

    named = " ".join(OTHER_WEIGHTS.values())
    assert {name for name in WEIGHTS if name in named} >= {"detr-resnet-50", "sam-vit-base", "clip-vit-base-patch32"}
