"""Segmenters on disk, and as a task of the training loop."""

import copy
from dataclasses import replace

import pytest
import torch

from methods.reclmis.test_model import NOTES, TINY, batch, model
from segue.encoders.text.cache import TextFeatureCache
from segue.methods.reclmis.model import TRAINING_PARTS, build_reclmis
from segue.methods.segmenters import SavedSegmenter, SegmenterTask, restore_segmenter, save_segmenter
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError


def test_parts_that_inference_does_not_need_are_left_out_and_foreign_tensors_are_refused(tmp_path):
    network = model()
    save_segmenter(SavedSegmenter(network, Preprocessing(32), 1.5, {"recipe": "a test"}), tmp_path / "m")
    saved = restore_segmenter(tmp_path / "m")
    assert (saved.temperature, saved.about, saved.preprocessing) == (1.5, {"recipe": "a test"}, Preprocessing(32))
    assert not saved.network.training
    left_out = set(network.state_dict()) - set(saved.network.state_dict())
    assert left_out
    assert all(name.startswith(TRAINING_PARTS) for name in left_out)
    network.register_buffer("stray", torch.zeros(1))
    save_segmenter(SavedSegmenter(network, Preprocessing(32), 1.0, {}), tmp_path / "stray")
    with pytest.raises(InputError, match="1 tensors too many, such as stray"):
        restore_segmenter(tmp_path / "stray")


class Frozen(torch.nn.Module):
    """A text encoder that is not trained and counts what it reads."""

    frozen, width, max_tokens = True, 16, 32

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.read = encoder.eval().requires_grad_(False), []

    def train(self, mode=True):
        return super().train(False)

    def tokenize(self, notes):
        self.read += notes
        return self.encoder.tokenize(notes)

    def forward(self, ids, mask):
        return self.encoder(ids, mask)


def test_a_frozen_text_encoder_reads_each_note_once_in_training_and_a_trained_one_anew():
    trained = SegmenterTask(model())
    assert trained.cache is None
    torch.manual_seed(0)
    text = Frozen(model().text_encoder)
    task = SegmenterTask(build_reclmis(TINY, text)).train()
    losses = [task.training_step(batch())["loss"] for _ in range(2)]
    assert sorted(text.read) == sorted(note for note in NOTES if note)
    assert losses[0] == losses[1]
    uncached = task.network.training_step(batch())["loss"]
    torch.testing.assert_close(losses[0], uncached, atol=1e-5, rtol=1e-5)
    twin = copy.deepcopy(task)
    assert twin.cache.encoder is twin.network.text_encoder  # an average of the weights has a cache of its own
    assert isinstance(twin.cache, TextFeatureCache)


def test_a_network_without_notes_has_no_cache():
    assert SegmenterTask(model(replace(TINY, interaction="none"))).cache is None
