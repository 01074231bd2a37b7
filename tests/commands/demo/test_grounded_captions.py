"""The demo's stories, with a tiny explainer."""

import pytest

from methods.sgdiff.toys import toy_model
from segue.commands.demo import grounded_captions
from segue.commands.demo.grounded_captions import TOP, stories_section
from segue.methods.sgdiff.checkpoint import save


@pytest.fixture
def model(tmp_path):
    save(toy_model(), tmp_path / "model", {})
    return tmp_path / "model"


def test_each_box_has_its_stories_and_a_page_that_lights_masks(model, tmp_path):
    page = stories_section(tmp_path, 2, model)
    for number in range(2):
        assert (tmp_path / f"stories-{number}.html").exists()
        assert f'href="stories-{number}.html"' in page
        for i in range(TOP):
            assert f'src="stories-{number}-{i}.png"' in page
            assert (tmp_path / f"stories-{number}-{i}.png").exists()
    assert page.count("<figure>") == 2 * (1 + TOP)


def test_without_the_bundled_model_there_is_no_section(monkeypatch, tmp_path):
    monkeypatch.setattr(grounded_captions, "bundled", dict)
    assert stories_section(tmp_path, 2) == ""
    assert not list(tmp_path.iterdir())
