"""The demo's part on open-vocabulary segmentation, with a tiny model and a tiny dual encoder."""

import sys

import numpy as np
import pytest

from groupvit_folder import write_groupvit
from scenes_and_encoder import write_encoder
from segue.api.open_vocabulary import load_open_vocabulary
from segue.commands.demo import labels
from segue.synthetic.scenes.scene import CLASSES


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    groupvit = write_groupvit(home / "groupvit", [*CLASSES, "a photo of a"], protocol="small")
    return dict.fromkeys(("cocu-scenes", "groupvit-scenes"), groupvit) | {"scenes-encoder": write_encoder(home / "e")}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(labels, "CURATED_SCENES", 12)


def test_names_heat_maps_and_archives_are_shown(models, monkeypatch, tmp_path):
    monkeypatch.setattr(labels, "bundled", lambda: models)
    page = labels.labels_section(tmp_path, 2)
    shown = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert all((tmp_path / name).exists() for name in shown)
    assert len(shown) == len(set(shown)) == 2 * (1 + 2 * 3) + 2
    assert page.count("CoCu: ") == page.count("GroupViT: ") == 2 * (2 * 2 + 1)
    assert page.count("left out of it") == 2 * 2 * 2
    assert "<li>" in page


def test_archives_are_shown_without_a_model_for_names(models, monkeypatch, tmp_path):
    monkeypatch.setattr(labels, "bundled", lambda: {"scenes-encoder": models["scenes-encoder"]})
    page = labels.labels_section(tmp_path, 2)
    assert "By any names" not in page
    assert "What captions leave out" in page
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("view", ["close", "wide"])
def test_a_scene_knows_what_its_caption_names_and_omits(view):
    scenes = [labels.draw_scene(seed, view) for seed in range(20)]
    assert any(one.named for one in scenes)
    assert any(one.omitted for one in scenes)
    for one in scenes:
        assert not set(one.named) & set(one.omitted)
        assert set(one.named) | set(one.omitted) <= set(CLASSES)
        assert not [kind for kind in one.omitted if kind in one.caption.lower().split()]


def test_heat_spans_the_picture(models):
    image = labels.draw_scene(3).image
    heat = labels.name_heat(load_open_vocabulary(models["cocu-scenes"]), image, "dog")
    assert heat.shape == image.shape[:2]
    assert (heat.min(), heat.max()) == (0, 1)
    assert np.isfinite(heat).all()


def test_without_faiss_the_page_says_so(models, monkeypatch, tmp_path):
    monkeypatch.setattr(labels, "bundled", lambda: models)
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(labels, "find_spec", lambda name: None if name == "faiss" else 1)
    assert "needs faiss" in labels.labels_section(tmp_path, 1)
