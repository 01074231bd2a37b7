"""The demo's grounded captions, with a tiny model."""

import pytest

from methods.sgdiff.toys import toy_model
from segue.commands.demo import grounded_captions
from segue.commands.demo.grounded_captions import NUM, grounded_captions_section
from segue.methods.sgdiff.checkpoint import save


@pytest.fixture
def model(tmp_path):
    save(toy_model(), tmp_path / "model", {})
    return tmp_path / "model"


def test_each_box_has_its_captions_and_a_page_that_highlights_masks(model, tmp_path):
    page = grounded_captions_section(tmp_path, 2, model)
    for number in range(2):
        assert (tmp_path / f"grounded-{number}.html").exists()
        assert f'href="grounded-{number}.html"' in page
        for i in range(NUM):
            assert f'src="grounded-{number}-{i}.png"' in page
            assert (tmp_path / f"grounded-{number}-{i}.png").exists()
    assert page.count("<figure>") == 2 * (1 + NUM)


def test_without_the_bundled_model_there_is_no_section(monkeypatch, tmp_path):
    monkeypatch.setattr(grounded_captions, "bundled", dict)
    assert grounded_captions_section(tmp_path, 2) == ""
    assert not list(tmp_path.iterdir())
