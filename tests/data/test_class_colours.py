"""Colours of classes by their names."""

import numpy as np

from segue.data.class_colours import COLOURS, palette
from segue.synthetic.scenes.scene import CLASSES

SIGHT = {  # Machado et al. 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colours, sight):
    """CIE Lab, as eyes of that sight have it."""
    c = colours / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1) @ TO_XYZ.T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def test_a_class_has_its_colour_wherever_it_stands():
    assert palette(["road", "sky", "grass"])[1].tolist() == palette(CLASSES)[CLASSES.index("sky")].tolist()
    assert palette(["sky-other"])[0].tolist() == list(COLOURS["sky"])
    assert palette(["zebra", "x"])[0].tolist() == palette(["y", "zebra"])[1].tolist()
    blue, green = palette(["sky", "grass"])[:2].tolist()
    assert blue[2] == max(blue)
    assert green[1] == max(green)


def test_any_eyes_tell_the_classes_of_the_scenes_apart():
    colours = palette(CLASSES)[: len(CLASSES)].astype(float)
    assert colours.astype(int).tolist() == [list(COLOURS[name]) for name in CLASSES]
    for sight in SIGHT:
        seen = lab(colours, sight)
        gaps = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 100 * np.eye(len(seen))
        assert gaps.min() > 12, sight


def test_many_classes_have_different_colours_and_unknown_is_black():
    names = [f"class {i}" for i in range(171)]
    made = palette([*names, "wall-brick", "wall-stone"])
    assert len({tuple(c) for c in made[:173].tolist()} | {(0, 0, 0)}) == 174
    assert (made[173:] == 0).all()
