"""A tiny illustrator on disk, trained for a few steps on a few synthetic scenes."""

from pathlib import Path

from segue.recipes.crossmodal import CrossModalSettings, train_crossmodal
from segue.synthetic.scenes.writer import make_scenes

TINY = {
    "image_size": 32,
    "factor": 8,
    "width": 64,
    "depth": 2,
    "vq_steps": 3,
    "box_steps": 3,
    "steps": 4,
    "batch_size": 4,
}


def tiny_settings(folder: Path) -> CrossModalSettings:
    """Settings of a short training in folder/run on scenes of 32 pixels, which are drawn into folder/scenes."""
    make_scenes(folder / "scenes", train=6, val=2, test=2, size=32, workers=1)
    return CrossModalSettings(out=folder / "run", data=folder / "scenes", evaluations=1, **TINY)


def tiny_illustrator(folder: Path) -> Path:
    """The checkpoint folder of a model trained with `tiny_settings`."""
    return train_crossmodal(tiny_settings(folder))
