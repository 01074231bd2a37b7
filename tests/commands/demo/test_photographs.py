"""The demo's photographs."""

from dataclasses import replace

import pytest

from methods.sgdiff.describing import save_model
from segue.commands.demo import photographs as demo
from segue.commands.demo.photographs import photographs_section
from segue.data import example_photos
from segue.data.example_photos import PHOTOGRAPHS, photographs
from segue.recipes.syntic import train_syntic
from tiny_captioner import captioner_home, quick_settings


def test_each_photograph_has_captions_and_names(tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    settings = quick_settings(captioner_home(tmp_path), tmp_path / "run", monkeypatch)
    monkeypatch.setattr(demo, "CAPTIONER", train_syntic(replace(settings, system="decap")))
    monkeypatch.setattr(demo, "LABEL_MODEL", "scenes-encoder")
    monkeypatch.setattr(demo, "DESCRIBER", save_model(tmp_path / "toy"))
    monkeypatch.setattr(example_photos, "PHOTOGRAPHS", dict(list(PHOTOGRAPHS.items())[:2]))
    out = tmp_path / "page"
    out.mkdir()
    found = photographs_section(out)
    stems = ("astronaut", "chelsea")
    ends = (".png", "-described.png", "-names.png")
    assert {p.name for p in out.iterdir()} == {f"photograph-{s}{end}" for s in stems for end in ends}
    assert found.count("<figure>") == 6
    assert found.count("Described: <b>") == 2
    assert found.count("<li>") == 4  # three captions of each, the first as the title
    assert "NASA, public domain" in found


def test_all_photographs_come_with_scikit_image():
    pytest.importorskip("skimage")
    assert [p.name for p in photographs() if not p.is_file()] == []


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(example_photos, "find_spec", lambda _: None)
    assert "Not shown: photographs: they come with scikit-image: pip install" in photographs_section(tmp_path)
    assert list(tmp_path.iterdir()) == []
