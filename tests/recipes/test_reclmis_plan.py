"""What a training of a segmenter chooses for a data set, and how many steps fit into minutes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segue.api import load_segmenter
from segue.data.medical.lvit import read_lvit
from segue.methods.reclmis.config import RecLMISConfig
from segue.methods.unet import UNetConfig
from segue.nn.feature_distance import DISTANCE
from segue.recipes.plan import plan_training
from segue.recipes.reclmis import RECLMIS, planned, train_network
from segue.recipes.reclmis_plan import Fingerprint, choose, steps_within, take_fingerprint
from segue.synthetic.chest import make_chest
from segue.types import InputError

LUNGS = Fingerprint(60, 44, 496, 512, 0.12, 2.0, 0.25, 1.0)
NUCLEI = Fingerprint(24, 24, 512, 512, 0.27, 300.0, 0.04, 0.0)
TINY = RecLMISConfig(widths=(8, 8, 16, 16), reconstruction_layers=1)


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "chest"
    make_chest(folder, train=8, val=4, test=0, size=48)
    return folder


@pytest.fixture(scope="module")
def dots(tmp_path_factory) -> Path:
    """Pictures of 320 pixels with bright dots of 6, as many as nuclei."""
    folder = tmp_path_factory.mktemp("data") / "dots"
    for split, count in (("Train", 3), ("Val", 2)):
        for part in ("img", "labelcol"):
            (folder / f"{split}_Folder" / part).mkdir(parents=True)
        rows = ["Image,Description"]
        for number in range(count):
            rng = np.random.default_rng([len(split), number])
            mask = np.zeros((320, 320), bool)
            for y, x in rng.integers(0, 314, (60, 2)):
                mask[y : y + 6, x : x + 6] = True
            image = np.where(mask, 200, 60).astype(np.uint8)
            Image.fromarray(image).convert("RGB").save(folder / f"{split}_Folder/img/{split}{number}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{split}_Folder/labelcol/{split}{number}.png")
            rows.append(f"{split}{number}.png,The nuclei are evenly distributed.")
        (folder / f"{split}_text.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_whole_pictures_for_large_areas_and_patches_for_small_ones() -> None:
    lungs, nuclei = choose(RECLMIS, LUNGS), choose(RECLMIS, NUCLEI)
    assert (lungs.patches, nuclei.patches) == ("no", "yes")
    assert (lungs.system, nuclei.system) == ("ci", "text_blind")
    assert (lungs.augmentation, choose(RECLMIS, replace(LUNGS, pictures=5000)).augmentation) == ("strong", "light")
    assert "auto" not in (lungs.vision, lungs.patches, lungs.augmentation)
    assert min(lungs.image_size, nuclei.image_size, lungs.batch_size) > 0
    assert choose(RECLMIS, replace(NUCLEI, height=100, width=100)).patches == "no"  # nothing to gain


def test_zones_are_told_where_notes_name_them_and_the_system_reads_notes() -> None:
    assert choose(RECLMIS, LUNGS).zones is True
    assert choose(RECLMIS, replace(LUNGS, zoned=0.4)).zones is False
    assert choose(RECLMIS, NUCLEI).zones is None
    for changes in ({"system": "unet"}, {"system": "full", "size": "faithful"}):
        assert choose(replace(RECLMIS, **changes), LUNGS).zones is None
    assert choose(replace(RECLMIS, zones=False), LUNGS).zones is False


def test_what_is_given_stays() -> None:
    given = replace(RECLMIS, image_size=160, patches="no", batch_size=3, augmentation="none", vision="none")
    chosen = choose(given, NUCLEI)
    assert (chosen.image_size, chosen.patches, chosen.batch_size) == (160, "no", 3)
    assert (chosen.augmentation, chosen.vision) == ("none", "none")


def test_steps_fit_into_the_minutes() -> None:
    assert steps_within(15, 0.9, 56, 8) == 900
    assert steps_within(0.001, 0.9, 56, 8) == 7  # one pass over the data, at least
    assert steps_within(10_000, 0.1, 8, 8) == 400


def test_the_fingerprint_of_dots(dots) -> None:
    found = take_fingerprint(read_lvit(dots, "train"))
    assert (found.pictures, found.height, found.width) == (3, 320, 320)
    assert 0.015 < found.area_across < 0.03
    assert found.areas > 40


def test_training_on_patches_leaves_a_model_that_slides_a_window(dots, tmp_path) -> None:
    settings = replace(RECLMIS, data=dots, out=tmp_path / "run", image_size=64, batch_size=2, steps=2, evaluations=1)
    best = train_network(replace(settings, vision="none"), TINY)
    assert json.loads((settings.out / "plan.json").read_text())["chosen"]["patches"] == "yes"
    model = load_segmenter(best)
    assert model.window == 64
    assert model.segment(np.zeros((100, 130, 3), np.uint8), "nuclei").mask.shape == (100, 130)


@pytest.mark.parametrize("vision_lr", [0.0, 0.1])
def test_a_pretrained_encoder_comes_back_from_the_checkpoint(chest, tmp_path, vision_lr) -> None:
    settings = replace(RECLMIS, data=chest, out=tmp_path / "run", image_size=32, batch_size=4, steps=2, evaluations=1)
    settings = replace(settings, vision="efficientnet-lite0", vision_lr=vision_lr, precision="float32", parts=0.5)
    best = train_network(settings, TINY)
    config = json.loads((best / "config.json").read_text())
    assert (config["vision"]["kind"], config["vision"]["frozen"]) == ("efficientnet-lite0", vision_lr == 0)
    model = load_segmenter(best)
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    first, second = model.segment(image, "upper left lung"), load_segmenter(best).segment(image, "upper left lung")
    np.testing.assert_array_equal(first.probability, second.probability)
    assert (best / DISTANCE).exists()
    assert first.distance is not None
    assert first.distance > 0


def test_a_run_that_goes_on_keeps_its_plan(chest, tmp_path) -> None:
    settings = replace(RECLMIS, data=chest, out=tmp_path / "run", vision="none", patches="no")
    records = read_lvit(chest, "train")
    first = planned(settings, records)
    (tmp_path / "run/plan.json").write_text(json.dumps({"chosen": {"image_size": 96, "batch_size": 5, "zones": False}}))
    again = planned(replace(settings, resume=True), records)
    assert again.zones is False  # a plan of today would have them
    assert first.image_size != 96
    assert (again.image_size, again.batch_size) == (96, 5)


def test_what_is_given_to_a_run_that_goes_on_must_be_its_plan_s(chest, tmp_path) -> None:
    settings = replace(RECLMIS, data=chest, out=tmp_path / "run", vision="none", resume=True)
    records, plan = read_lvit(chest, "train"), tmp_path / "run/plan.json"
    plan.parent.mkdir()
    plan.write_text(json.dumps({"chosen": {"image_size": 96, "vision": "none", "precision": "auto"}}))
    with pytest.raises(InputError, match=r"image_size: got 64, but the plan of the run in .* has 96; resume it with"):
        planned(replace(settings, image_size=64), records)
    same = planned(replace(settings, image_size=96, precision="float32"), records)  # `fit` compares the precision
    assert (same.image_size, same.vision, same.precision) == (96, "none", "float32")


def test_steps_are_measured_where_none_are_given(chest, tmp_path) -> None:
    settings = replace(RECLMIS, data=chest, out=tmp_path / "run", image_size=32, batch_size=8, evaluations=1)
    settings = replace(settings, vision="none", minutes=1e-6, patches="no", augmentation="light")
    train_network(settings, TINY)
    assert json.loads((settings.out / "steps.json").read_text())["steps"] == 1


def test_the_unet_trains_on_the_same_views(dots, tmp_path) -> None:
    settings = replace(RECLMIS, data=dots, out=tmp_path / "run", image_size=64, batch_size=2, steps=1, evaluations=1)
    best = train_network(replace(settings, system="unet"), UNetConfig(features=(4, 4, 4, 4, 4, 4)))
    assert load_segmenter(best).window == 64


def test_the_plan_of_a_folder_tells_what_would_be_chosen(dots, monkeypatch) -> None:
    from segue.recipes import reclmis

    monkeypatch.setattr(reclmis, "network_config", lambda _: TINY)
    torch.manual_seed(0)
    found = plan_training("reclmis", dots)
    assert (found["patches"], found["pictures"], found["found"]["patients"]) == ("yes", 3, 3)
    assert found["steps"] >= 1
    assert found["memory_gb"] > 0
