"""segue lab bench inference: its keys, and the exact counts."""

import json

import pytest
import torch

from segue.lab.bench import inference
from segue.lab.bench.inference import COMPILED, bench_inference, measure_compiled, measure_names
from segue.types import InputError


def test_it_measures_both_dtypes_at_each_batch_and_counts_what_is_folded(segue):
    words = ["--networks", "reclmis-chest", "scenes-encoder", "--batches", 1, 2, "--rounds", 1, "--json"]
    status, out, _ = segue("lab", "bench", "inference", *words)
    assert status == 0
    found = json.loads(out)["networks"]
    assert set(found) == {"reclmis-chest", "scenes-encoder"}
    for one in found.values():
        assert set(one["cpu_ms_per_picture"]) == {"float32", "bf16"}
        assert all(set(of) == {"1", "2"} and min(of.values()) > 0 for of in one["cpu_ms_per_picture"].values())
    chest = found["reclmis-chest"]
    assert (chest["side"], chest["batch_norms"], chest["convolutions"]) == (96, 0, 21)


@pytest.mark.parametrize("wrong", [{"batches": ()}, {"batches": (0,)}, {"rounds": 0}])
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(InputError, match="expected 1 or more of each"):
        bench_inference(networks=("reclmis-chest",), **wrong)


def test_names_are_counted_and_compared():
    found = measure_names("scenes-encoder", counts=(2, 3), rounds=1)
    assert found["ratio"] == found["names_3_ms"] / found["names_2_ms"]
    assert min(found.values()) > 0


@pytest.mark.parametrize("name", ["reclmis-chest", "scenes-encoder"])
def test_what_is_compiled_is_what_the_network_runs(name, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "-")  # what is set in the test is taken back after it
    compiled, ran = [], []

    def fake(method):
        compiled.append(method)
        return lambda *given, **named: (ran.append(method), method(*given, **named))[1]

    monkeypatch.setattr(torch, "compile", fake)
    found = measure_compiled(name, counts=(1,), rounds=1)
    assert len(compiled) == len(COMPILED[type(inference._load(name, "float32")[0]).__name__])
    assert {id(one) for one in ran} == {id(one) for one in compiled}
    assert found["batch_1_speedup"] == found["batch_1_ms"] / found["compiled_batch_1_ms"]


def test_a_missing_compiler_is_told(monkeypatch):
    monkeypatch.setattr(inference, "which", lambda name: None)
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        measure_compiled("reclmis-chest")
