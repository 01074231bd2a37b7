"""segue lab bench reclmis: its keys, and that each time is of what its name says."""

import json

import pytest
import torch

from segue.encoders.text.small import SmallTextEncoder
from segue.lab.bench import reclmis as module
from segue.types import InputError


@pytest.mark.parametrize("name", module.MODELS)
def test_the_cached_time_is_of_the_same_answer_with_the_note_read_once(name, monkeypatch):
    """It was once taken in training mode, with dropout and the batch's statistics, and read the note each time."""
    read = []
    forward = SmallTextEncoder.forward
    monkeypatch.setattr(SmallTextEncoder, "forward", lambda self, *args: read.append(1) or forward(self, *args))
    runs = module.timed_runs(name, 32, 2)
    assert not runs["cached"].func.training
    with torch.inference_mode():
        fresh = runs["fresh"]()
        before = len(read)
        for _ in range(3):
            torch.testing.assert_close(runs["cached"](), fresh)
    assert len(read) - before == (name != "unet")


def test_it_measures_the_costs_of_each_size(segue, monkeypatch):
    monkeypatch.setattr(module, "MODELS", ("unet", "segue"))
    status, out, _ = segue("lab", "bench", "reclmis", "--size", 32, "--rounds", 1, "--batch", 2, "--json")
    assert status == 0
    result = json.loads(out)
    assert set(result["models"]) == {"unet", "segue"}
    for costs in result["models"].values():
        assert min(costs.values()) > 0
        assert costs["macs_training"] >= costs["macs"]
    assert result["train_batch"] == 2


def test_an_unknown_model_is_refused():
    with pytest.raises(InputError, match="expected one of unet, faithful, segue"):
        module.build_named("vit")
