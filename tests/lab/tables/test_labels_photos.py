"""The table of names on photographs, on two drawn pictures of two colours."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from scenes_and_encoder import write_encoder
from segue.lab.run import rows_of
from segue.lab.tables import labels_photos
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.dense import DenseProtocol


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Pictures whose upper half is green and called sky, and whose lower half is blue and called grass."""
    image, truth = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    image[:32, :, 1], image[32:, :, 2], truth[32:] = 200, 200, 1
    encoder = write_encoder(tmp_path / "encoder")
    moved = load_dual_encoder(str(encoder), device="cpu")
    upper, lower = moved.embed_dense([image])[0].chunk(2, dim=1)
    away = upper.mean((1, 2)) - lower.mean((1, 2))
    moved.set_noun_shifts(("sky", "grass"), 1e4 * torch.stack([away, -away]))
    save_dual_encoder(moved, encoder, {})
    monkeypatch.setattr(labels_photos, "ENCODER", str(encoder))
    plain = replace(DenseProtocol(), presence=0.0, prior=0.0, radius=0.0)
    for protocols in (labels_photos.PROTOCOLS, labels_photos.TEXTS_ALONE):
        for name in protocols:
            monkeypatch.setitem(protocols, name, plain)
    home = tmp_path / "data"
    for test in labels_photos.TESTS:
        (home / test).mkdir(parents=True)
        (home / test / "classes.txt").write_text("sky\ngrass\n")
        for split in ("train", "val"):
            for folder, array in (("images", image), ("masks", truth)):
                (home / test / split / folder).mkdir(parents=True)
                for i in range(3):
                    Image.fromarray(array).save(home / test / split / folder / f"{i}.png")
    return home


@pytest.fixture
def run(data, tmp_path):
    rows = {row.name: row for row in rows_of("labels_photos")}
    return lambda name: rows[name].run(rows[name].work(tmp_path / "lab/labels_photos", data))


def test_nouns_are_moved_in_the_bundled_row_alone(run):
    """The encoder is untrained and calls all one name; its nouns' shifts lead to the two halves."""
    texts = run("msrc/names as texts/0")
    assert texts["pixel_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert run("msrc/cells with a head/0") == texts
    assert run("msrc/bundled/0")["pixel_accuracy"] > 0.65


def test_names_moved_to_the_sets_own_cells_tell_these_apart(run, monkeypatch):
    """The encoder is untrained, so names go the whole way; the bundled shifts are taken off first."""
    monkeypatch.setattr(labels_photos, "HALF_WAY", 1.0)
    assert run("camvid, supervised/names moved to its cells/0")["miou"] > 0.5  # 0.25 where all is one name
