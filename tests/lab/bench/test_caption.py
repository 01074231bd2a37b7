"""segue bench caption: its keys, and that what it compares is the same thing."""

import json

import numpy as np
import pytest
import torch

from scenes_and_encoder import write_scenes
from segue.lab.bench import caption as module
from segue.methods.syntic.support import SupportSet
from segue.types import InputError


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "BATCHES", (1, 128))


@pytest.mark.usefixtures("small")
def test_keys(segue):
    pytest.importorskip("faiss")
    settings = {"tokens": 2, "vocabulary": 50, "rounds": 1, "support": 600, "width": 16, "queries": 4, "k": 5}
    status, out, _ = segue(
        "lab", "bench", "caption", "--json", *(x for k, v in settings.items() for x in (f"--{k}", v))
    )
    assert status == 0
    figures = json.loads(out)
    assert set(figures) == {"threads", "rounds", "decoding", "time_of_generate", "projection"}
    assert set(figures["time_of_generate"]) == {
        f"batch {batch}, {beams}" for batch in (1, 128) for beams in ("1 beam", "3 beams")
    }
    assert all(ratio > 0 for ratio in figures["time_of_generate"].values())
    names = {"batch 1", "batch 1 without cache", "batch 128", "batch 128 without cache"}
    assert set(figures["decoding"]["captions_per_s"]) == set(figures["decoding"]["tokens_per_s"]) == names
    projection = figures["projection"]
    assert set(projection["seconds"]) == {"dense", "streamed", "index"}
    assert projection["streamed_error_max"] < 1e-4
    assert projection["index"]["recall"] == 1  # a flat index


def test_with_and_without_cache_generate_the_same():
    torch.manual_seed(0)
    config = module.system_config(module.SIZES["segue"], "full")
    model = module.build_syntic(config, vocabulary=50, encoder_width=16, end=1, suppressed_token_ids=[0]).eval()
    v = torch.randn(3, 16)
    generated = [module._generate(model, v, 7, cached) for cached in (True, False)]
    assert generated[0] == generated[1]
    assert {len(tokens) for tokens in generated[0]} == {7}


def test_dense_and_streamed_agree():
    features = module.clustered(900, 16, seed=1, clusters=9)
    v = torch.from_numpy(module.clustered(4, 16, seed=2, clusters=9)).float()
    torch.testing.assert_close(SupportSet(features, tau=module.TAU).project(v), module.project_dense(v, features))
    assert np.array_equal(features, module.clustered(900, 16, seed=1, clusters=9))
    assert (features.astype(np.float32) @ v.numpy().T).max(0).min() > 0.5  # queries lie among them


def test_projection_can_be_left_out(small):
    figures = module.bench_captioning(tokens=1, vocabulary=20, rounds=1, support=0, width=8)
    assert "projection" not in figures
    with pytest.raises(InputError, match="expected tokens, rounds, width"):
        module.bench_captioning(tokens=0)


def test_photographs_are_captioned_on_as_many_threads_as_are_said(tmp_path, monkeypatch):
    seen = []

    class Captioner:
        def caption_many(self, pictures, rerank=True):
            seen.append((len(pictures), rerank, torch.get_num_threads()))
            return iter([])

    monkeypatch.setattr(module, "load_captioner", lambda *_, **__: Captioner())
    monkeypatch.setattr(module, "keep_memory", lambda: True)
    before = torch.get_num_threads()
    found = module.measure_photographs(write_scenes(tmp_path / "data"), batch=32, threads=before + 1, rounds=1)
    assert set(found) == {f"{name}{clock}_ms" for name in ("", "no_rerank_") for clock in ("wall", "cpu")}
    assert found["wall_ms"] > 0
    assert set(seen) == {(2, True, before + 1), (2, False, before + 1)}
    assert torch.get_num_threads() == before
