"""What a synthetic scene is made of: its things, its stuff, where they are and how they relate.

As in COCO, a thing is a countable object (a dog) and stuff is a stretch of background (grass). A `Scene` is the whole
truth of a picture: `render` draws it, `language.captions` describes it, `writer` saves it. Lengths are in units of the
picture's side, (x, y) from the top left corner, so that a scene can be drawn at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

PEOPLE = ("man", "woman", "child")
ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "bird", "duck")
VEHICLES = ("car", "bus", "truck", "bicycle", "boat", "airplane")
THING_CLASSES = (
    *PEOPLE,
    *ANIMALS,
    *VEHICLES,
    "tree",
    "house",
    "bench",
    "ball",
    "kite",
    "umbrella",
    "flower",
    "balloon",
)
STUFF_CLASSES = ("sky", "grass", "sand", "water", "road", "snow", "mountain", "wall")
CLASSES = (*THING_CLASSES, *STUFF_CLASSES)  # the order of label maps and category ids

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
SIZES = ("small", "medium", "large")
PREDICATES = ("left of", "right of", "above", "below", "on", "in front of", "holding", "under")


@dataclass(frozen=True)
class Stuff:
    """A stretch of the background. kind: one of STUFFS. top, bottom: the rows it is painted over; seed: of its texture
    and of its edge. Later stuffs are painted over earlier ones.
    """

    kind: str
    top: float
    bottom: float
    seed: int


@dataclass(frozen=True)
class Thing:
    """kind: one of THINGS. colour: one of COLOURS, of the clothes, the coat, the paint. size: one of SIZES, relative to
    its kind. pose: one of the kind's poses in `draw.POSES`. box: (x, y, width, height) into which it is drawn whole,
    before anything covers it. flip: it looks to the left. seed: of all that makes it an individual.
    """

    kind: str
    colour: str
    size: str
    pose: str
    box: tuple[float, float, float, float]
    flip: bool
    seed: int


@dataclass(frozen=True)
class Scene:
    """stuff, things: painted in this order, the farthest first; later ones cover earlier ones. relations: (subject,
    predicate, object) with positions in things. light: one of "day", "evening", "night", "overcast". seed: of noise and
    light.
    """

    stuff: tuple[Stuff, ...]
    things: tuple[Thing, ...]
    relations: tuple[tuple[int, str, int], ...]
    light: str
    seed: int
