import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import segue as package
from segue.data.layouts import read_layout, write_layout
from segue.data.sketchbook.scenes.write import make_scenes
from segue.recipes.crossmodal import Settings, crossmodal
from segue.types import InputError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "scenes"
    make_scenes(folder, train=6, val=2, test=2, size=32, workers=1)
    return folder


@pytest.fixture(scope="module")
def settings(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny = {"image_size": 32, "factor": 8, "width": 64, "depth": 2, "vq_steps": 3, "steps": 4, "batch_size": 4}
    return Settings(out=out, data=scenes, evaluations=1, **tiny)


@pytest.fixture(scope="module")
def model(settings):
    return crossmodal(settings)


def test_a_trained_model_draws_and_tells(model):
    illustrator = package.load(model)
    drawn = illustrator.draw("a dog on the grass", num=3, steps=3, seed=5)
    assert [d.labels.shape for d in drawn] == [(32, 32)] * 3
    assert drawn[0].condition == "caption"
    assert sum(drawn[0].areas.values()) == pytest.approx(1)
    again = illustrator.draw("a dog on the grass", num=1, steps=3, seed=6)[0]
    assert (again.labels == drawn[1].labels).all()
    told = illustrator.tell(drawn[0].labels, num=2)
    assert len({t.caption for t in told}) == 2
    assert told[0].condition == "mask"
    picture = np.zeros((20, 40, 3), np.uint8)
    assert illustrator.draw("a dog", image=picture, steps=2)[0].condition == "caption+image"
    assert illustrator.tell(drawn[0].labels, image=picture)[0].condition == "mask+image"


def test_what_is_kept_stays(model):
    illustrator = package.load(model)
    keep = np.full((32, 32), 255, np.uint8)
    keep[:13] = 24
    drawn = illustrator.draw("a dog on the grass", keep=keep, steps=2)[0]
    assert (drawn.labels[:13] == 24).all()


def test_heat_maps_one_for_each_word(model):
    illustrator = package.load(model)
    maps = illustrator.heat_maps(np.zeros((32, 32), np.uint8), "a dog on grass")
    assert [m.shape for _, m in maps] == [(32, 32)] * len(maps)
    assert max(m.max() for _, m in maps) == pytest.approx(1, abs=0.2)


def test_a_finished_run_is_resumed_without_training_again(settings, model):
    before = (model / "model.safetensors").read_bytes()
    assert crossmodal(replace(settings, resume=True)) == model
    assert (model / "model.safetensors").read_bytes() == before


def test_draw_and_tell_from_the_command_line(segue, model, tmp_path):
    status, out, _ = segue("draw", "a dog", "--model", str(model), "-o", str(tmp_path), "--num", "2", "--steps", "2",
                           "--json", "--export", "panoptic", "masks")  # fmt: skip
    assert status == 0
    assert len(json.loads(out)["layouts"]) == 2
    assert read_layout(tmp_path / "layout-1.png", 32).shape == (32, 32)
    assert (tmp_path / "layout-0-panoptic.json").exists()
    status, out, _ = segue("tell", str(tmp_path / "layout-0.png"), "--model", str(model), "--num", "2")
    assert status == 0
    assert len(out.splitlines()) == 2
    status, _, _ = segue("tell", str(tmp_path / "layout-0-colours.png"), "--model", str(model))
    assert status == 0


def test_bad_input_is_told(segue, model, tmp_path):
    illustrator = package.load(model)
    with pytest.raises(InputError, match="got an empty one"):
        illustrator.draw("  ")
    with pytest.raises(InputError, match="expected 1 or more"):
        illustrator.draw("a dog", num=0)
    with pytest.raises(InputError, match="holds the ids 40"):
        illustrator.tell(np.full((8, 8), 40, np.uint8))
    assert illustrator.tell(np.zeros((1, 3), np.uint8))  # tiny, not square: brought to the model's size
    assert illustrator.unseen_words("a zebra on the grass") == ["zebra"]
    Image.fromarray(np.full((4, 4, 3), 200, np.uint8)).save(tmp_path / "rgb.png")
    status, _, error = segue("tell", str(tmp_path / "rgb.png"), "--model", str(model))
    assert status == 2
    assert "give its palette" in error
    write_layout(np.full((4, 4), 255, np.uint8), tmp_path / "void.png", 32)
    status, _, error = segue("tell", str(tmp_path / "void.png"), "--model", str(model))
    assert status == 2
    assert "nothing to tell" in error
