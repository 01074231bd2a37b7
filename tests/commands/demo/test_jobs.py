"""The demo's picture of all jobs."""

from pathlib import Path

import numpy as np
import pytest

from segue.commands.demo import jobs as demo_jobs
from segue.commands.demo.jobs import JOBS, jobs_section
from segue.data.images import read_image
from segue.weights import bundled


@pytest.mark.parametrize("model", [name for name in JOBS if name in bundled()])
def test_every_bundled_model_does_its_job(model):
    heading, text, picture = JOBS[model](Path(bundled()[model]))
    assert heading
    assert text
    assert picture.ndim == 3
    assert picture.dtype == np.uint8


def test_the_names_have_a_legend():
    """Below the square scene."""
    _, _, picture = JOBS["cocu-scenes"](Path(bundled()["cocu-scenes"]))
    assert picture.shape[0] > picture.shape[1]
    assert (picture[-1] == picture[-1, 0]).all()


def test_tiles_stand_side_by_side(monkeypatch, tmp_path):
    tiles = {"a": ("One", "first", (64, 64)), "b": ("Two", "second", (32, 64)), "c": ("Three", "third", (64, 64))}
    made = {name: lambda _, t=tile: (t[0], t[1], np.full((*t[2], 3), 90, np.uint8)) for name, tile in tiles.items()}
    monkeypatch.setattr(demo_jobs, "JOBS", made)
    monkeypatch.setattr(demo_jobs, "bundled", lambda: {"a": Path(), "b": Path()})
    page = jobs_section(tmp_path)
    assert 'alt="One: first; Two: second"' in page
    assert read_image(tmp_path / "jobs.png").shape == (256 + 62 + 20, 2 * 266 + 10, 3)
