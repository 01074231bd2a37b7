"""The colour of a class by its name, the same in every picture: sky is blue, grass is green.

Any two of COLOURS differ by 12 or more in CIE Lab, also to eyes without the red (protanopia) or the green cones
(deuteranopia), by Machado et al.'s model (2009). A name that they lack has the colour of a word in it ("sky-other"),
or one made from the name.
"""

from __future__ import annotations

import colorsys
import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
NEAR = 40  # sum of the differences of red, green and blue, below which two classes of a list are told apart badly
TRIES = 64

COLOURS: dict[str, Colour] = {
    "sky": (150, 205, 245), "grass": (120, 175, 60), "sand": (232, 208, 150), "water": (50, 110, 190),
    "road": (105, 105, 110), "snow": (248, 250, 252), "mountain": (135, 110, 90), "wall": (194, 182, 143),
    "tree": (25, 90, 40), "house": (167, 55, 58), "man": (30, 40, 120), "woman": (138, 17, 111),
    "child": (255, 136, 178), "dog": (86, 104, 15), "cat": (255, 96, 15), "horse": (57, 41, 15), "cow": (60, 60, 60),
    "sheep": (225, 225, 205), "bird": (78, 38, 175), "duck": (255, 255, 53), "car": (187, 92, 49),
    "bus": (240, 181, 15), "truck": (15, 103, 152), "bicycle": (15, 167, 150), "boat": (75, 15, 65),
    "airplane": (185, 201, 214), "bench": (200, 123, 87), "ball": (255, 155, 85), "kite": (190, 110, 240),
    "umbrella": (90, 60, 220), "flower": (230, 115, 197), "balloon": (129, 255, 116),
}  # fmt: skip
LIKE = {
    "person": "man", "people": "man", "face": "child", "body": "man", "girl": "woman", "boy": "child", "sea": "water",
    "river": "water", "lake": "water", "clouds": "sky", "field": "grass", "plant": "tree", "bush": "tree",
    "building": "house", "street": "road", "pavement": "road", "beach": "sand", "hill": "mountain", "rock": "mountain",
    "aeroplane": "airplane", "plane": "airplane", "bike": "bicycle", "chair": "bench", "ship": "boat",
}  # fmt: skip


def palette(classes: Sequence[str]) -> NDArray[np.uint8]:
    """(256, 3) colours by the positions of the classes, all different; the rest, and so unknown, black.

    A class has its own colour unless one before it in the list has nearly the same.
    """
    made = np.zeros((256, 3), np.int64)
    for i, name in enumerate(classes):
        used = made[:i]
        for number, colour in enumerate(_colours_of(name)):
            gaps = np.abs(np.vstack([used, [[0, 0, 0]]]) - colour).sum(1)
            if gaps.min() >= (NEAR if number < TRIES else 1):
                made[i] = colour
                break
    return made.astype(np.uint8)


def _colours_of(name: str) -> Iterator[Colour]:
    """The colours that a class may have, its own first; without end."""
    words = [name.lower(), *re.findall(r"[a-z]+", name.lower())]
    known = [LIKE.get(word, word) for word in words]
    yield from (COLOURS[word] for word in known if word in COLOURS)
    number = 0
    while True:
        code = zlib.crc32(f"{name.lower()} {number}".encode())
        hue, strength, light = code % 360 / 360, (0.35, 0.6, 0.85)[code // 360 % 3], (0.95, 0.75, 0.5)[code // 1080 % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, strength, light))
        yield red, green, blue
        number += 1
