"""The demo's part on naming pixels, with a tiny model and a tiny pair."""

import sys

import numpy as np
import pytest
import torch

from scenes_and_pair import write_pair
from segue.api import load_labeller
from segue.commands.demo import labels
from segue.methods.cocu.groupvit.checkpoint import save_groupvit
from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import sized_for, train_tokenizer
from segue.synthetic.scenes.scene import CLASSES


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([*CLASSES, "a photo of a"])
    config = GroupViTConfig(
        width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=32, patch=8,
        text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=16, projection=16, projection_hidden=32,
    )  # fmt: skip
    save_groupvit(GroupViT(sized_for(config, tokenizer), tokenizer), home / "groupvit", about={"card": "small"})
    return dict.fromkeys(("cocu-scenes", "groupvit-scenes"), home / "groupvit") | {
        "pair-scenes": write_pair(home / "pair")
    }


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(labels, "CURATED", 12)


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
    monkeypatch.setattr(labels, "bundled", lambda: {"pair-scenes": models["pair-scenes"]})
    page = labels.labels_section(tmp_path, 2)
    assert "By any names" not in page
    assert "What captions leave out" in page
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("view", ["close", "wide"])
def test_a_scene_knows_what_its_caption_names_and_omits(view):
    scenes = [labels.draw(seed, view) for seed in range(20)]
    assert any(one.named for one in scenes)
    assert any(one.omitted for one in scenes)
    for one in scenes:
        assert not set(one.named) & set(one.omitted)
        assert set(one.named) | set(one.omitted) <= set(CLASSES)
        assert not [kind for kind in one.omitted if kind in one.caption.lower().split()]


def test_heat_spans_the_picture(models):
    image = labels.draw(3).image
    heat = labels.heat_of(load_labeller(models["cocu-scenes"]), image, "dog")
    assert heat.shape == image.shape[:2]
    assert (heat.min(), heat.max()) == (0, 1)
    assert np.isfinite(heat).all()


def test_without_faiss_the_page_says_so(models, monkeypatch, tmp_path):
    monkeypatch.setattr(labels, "bundled", lambda: models)
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(labels, "find_spec", lambda name: None if name == "faiss" else 1)
    assert "needs faiss" in labels.labels_section(tmp_path, 1)
