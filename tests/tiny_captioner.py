"""What a tiny training of a captioner needs, and its settings."""

from dataclasses import replace
from pathlib import Path

import pytest

from segue.methods.syntic import SIZES, SynticConfig
from segue.recipes.syntic import SYNTIC, SynticSettings
from tiny_dual_encoder import CAPTIONS, tiny_dual_encoder, tiny_scenes


def captioner_home(folder: Path) -> Path:
    """A dual encoder, scenes, and a file of captions."""
    tiny_dual_encoder(folder / "scenes-encoder")
    tiny_scenes(folder / "scenes")
    (folder / "mine.txt").write_text("\n".join(CAPTIONS) + "\n")
    return folder


def quick_settings(home: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> SynticSettings:
    """A short training on that file; images and features are shared by all that have the same home."""
    monkeypatch.setitem(SIZES, "segue", SynticConfig(width=32, layers=1, heads=2, dropout=0.0))
    return replace(
        SYNTIC, out=out, data=home / "mine.txt", encoder=str(home / "scenes-encoder"), images=home / "pictures",
        cache=home / "features", vocabulary=300, max_tokens=30, fo_steps=2, steps=3, batch_size=4, ema=0.0,
    )  # fmt: skip
