"""A few scenes, and settings of SGDiff for a training of a second."""

from dataclasses import replace

from segue.recipes.sgdiff import SCENES
from segue.synthetic.scenes.writer import make_scenes


def draw_scenes(folder):
    make_scenes(folder, train=6, val=3, test=3, size=48, workers=1)
    return folder


def quick_settings(out, data):
    return replace(
        SCENES, out=out, data=data, size=32, width=32, blocks=1, caption_steps=2, steps=2, batch_size=3,
        evaluations=1, val_pictures=2,
    )  # fmt: skip
