"""The table of groups on the cells of the photographs' dual encoder, on drawn scenes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.label_segmenter import load_label_segmenter
from segue.lab.run import rows_of
from segue.lab.tables import labels_photos_grouping as grouping
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.recipes import cocu as recipe
from segue.types import InputError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Synthetic scenes in the place of captioned photos, and two streets and two meadows."""
    home = tmp_path_factory.mktemp("data")
    write_scenes(home / "flickr8k")
    rng = np.random.default_rng(0)
    for test in ("msrc", "camvid"):
        for folder in ("images", "masks"):
            (home / test / "val" / folder).mkdir(parents=True)
        (home / test / "classes.txt").write_text("sky\npangolin\nvoid\n")
        for i in range(2):
            Image.fromarray(rng.integers(0, 255, (32, 40, 3), np.uint8)).save(home / test / f"val/images/{i}.png")
            Image.fromarray(rng.integers(0, 3, (32, 40), np.uint8)).save(home / test / f"val/masks/{i}.png")
    return home


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    encoder = str(write_encoder(tmp_path / "encoder"))
    monkeypatch.setattr(grouping, "ENCODER", encoder)
    for module in (recipe, grouping):
        monkeypatch.setattr(module, "load_headless", lambda name, device="cpu": load_dual_encoder(name, device="cpu"))
    for name, settings in grouping.SYSTEMS.items():
        tiny = replace(settings, steps=2, batch_size=4, encoder=encoder, image_encoder=encoder, pictures=6)
        monkeypatch.setitem(grouping.SYSTEMS, name, tiny)


def test_both_sets_are_scored_by_one_training_and_seeds_are_paired(data, tmp_path):
    rows = {row.name: row for row in rows_of("labels_photos_grouping")}
    assert len(rows) == 2 + 2 * 3 * 3
    table = tmp_path / "lab/labels_photos_grouping"

    def run(name):
        return rows[name].run(rows[name].work(table, data))

    dense = run("msrc/dense cells/0")
    assert set(dense) == {"miou", "pixel_accuracy", "miou_own", "pixel_accuracy_own"}
    found = [run(f"{test}/groups, CoCu by probability/1") for test in ("msrc", "camvid")]
    assert all(0 <= one["miou"] <= 1 for one in found)
    about = json.loads((table / "training-probability-1/last/config.json").read_text())["segue"]["about"]
    assert (about["seed"], about["pictures"], about["probability"]) == ("1", "6", "True")
    run("camvid/groups, caption's nouns/1")
    assert {path.name for path in table.glob("training-*") if path.is_dir()} == {
        "training-probability-1",
        "training-groupvit-1",
    }
    assert len(list((tmp_path / "lab/curated-photos").glob("cells-*"))) == 1, "cells are read once for all systems"


def test_an_untrained_network_is_the_dense_cells(data, tmp_path, monkeypatch):
    name = "groups, CoCu"
    monkeypatch.setitem(grouping.SYSTEMS, name, replace(grouping.SYSTEMS[name], lr=0.0))
    rows = {row.name: row for row in rows_of("labels_photos_grouping")}
    table = tmp_path / "lab/labels_photos_grouping"
    found = [rows[one].run(rows[one].work(table, data)) for one in ("msrc/dense cells/0", f"msrc/{name}/0")]
    assert found[0] == pytest.approx(found[1])


def test_a_folder_without_the_sets_is_refused(tmp_path):
    for row in rows_of("labels_photos_grouping"):
        with pytest.raises(InputError, match="msrc/, camvid/"):
            row.run(row.work(tmp_path / "work", tmp_path))


def test_no_noun_is_moved_though_the_bundled_encoder_moves_some(data, tmp_path, monkeypatch):
    def with_shifts(folder):
        segmenter = load_label_segmenter(folder)
        segmenter.encoder.set_noun_shifts(("sky",), torch.ones(1, segmenter.encoder.width))
        return segmenter

    monkeypatch.setattr(grouping, "load_label_segmenter", with_shifts)
    monkeypatch.setattr(grouping, "scores_on", lambda test, segmenter, work: {"moved": len(segmenter.encoder.nouns)})
    row = {row.name: row for row in rows_of("labels_photos_grouping")}["msrc/groups, CoCu/0"]
    assert row.run(row.work(tmp_path / "lab/labels_photos_grouping", data)) == {"moved": 0}
