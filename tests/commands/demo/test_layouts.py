"""The demo's layouts."""

from segue.commands.demo import layouts as demo_layouts
from segue.commands.demo.layouts import LAYOUTS_PER_SENTENCE, SENTENCES, layouts_section
from tiny_illustrator import tiny_illustrator


def test_the_demo_draws_and_captions(tmp_path):
    model, out = tiny_illustrator(tmp_path / "model"), tmp_path / "page"
    out.mkdir()
    page = layouts_section(out, model)
    pictures = sorted(out.glob("layout-*.png"))
    assert len(pictures) == len(SENTENCES) * LAYOUTS_PER_SENTENCE
    assert all(f'src="{picture.name}"' in page for picture in pictures)


def test_without_the_bundled_model_there_is_no_section(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_layouts, "bundled", dict)
    assert layouts_section(tmp_path) == ""
    assert not list(tmp_path.iterdir())
