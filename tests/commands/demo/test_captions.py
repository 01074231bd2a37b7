"""The demo's captions."""

from segue.commands.demo import captions as demo_captions
from segue.commands.demo.captions import captions_section
from segue.methods.syntic import SIZES, SynticConfig
from segue.recipes.syntic import SynticSettings, train_syntic
from tiny_dual_encoder import CAPTIONS, tiny_dual_encoder


def _trained(folder, monkeypatch):
    monkeypatch.setitem(SIZES, "segue", SynticConfig(width=32, layers=1, heads=2, dropout=0.0))
    (folder / "mine.txt").write_text("\n".join(CAPTIONS) + "\n")
    paths = {"out": "run", "data": "mine.txt", "images": "pictures", "cache": "features"}
    made = SynticSettings(
        **{name: folder / path for name, path in paths.items()},
        encoder=str(tiny_dual_encoder(folder / "pair")), vocabulary=300, fo_steps=2, steps=2, batch_size=4, ema=0.0,
    )  # fmt: skip
    return train_syntic(made)


def test_each_scene_has_its_picture_and_three_captions(tmp_path, monkeypatch):
    model, out = _trained(tmp_path, monkeypatch), tmp_path / "page"
    out.mkdir()
    found = captions_section(out, 2, model)
    assert {p.name for p in out.iterdir()} == {"caption-0.png", "caption-1.png"}
    assert found.count("<figure>") == found.count("true: ") == 2
    assert any(f"nearest: {caption}<" in found for caption in CAPTIONS)


def test_without_the_bundled_model_there_is_no_section(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_captions, "bundled", dict)
    assert captions_section(tmp_path, 2) == ""
    assert not list(tmp_path.iterdir())
