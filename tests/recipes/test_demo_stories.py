"""The demo's stories, with a tiny explainer."""

import pytest

from methods.sgdiff.sgdiff_toys import toy_model
from segue.methods.sgdiff.saving import save
from segue.recipes import demo_stories
from segue.recipes.demo_stories import TOP, stories_section


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
    monkeypatch.setattr(demo_stories, "bundled", dict)
    assert stories_section(tmp_path, 2) == ""
    assert not list(tmp_path.iterdir())
