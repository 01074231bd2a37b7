"""Stand-in for the drawing: a coloured box for each thing. Replaced at the merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.data.sketchbook.scenes.world import ANIMALS, PEOPLE, THINGS, VEHICLES, Scene, Thing

POSES: dict[str, tuple[str, ...]] = dict.fromkeys(THINGS, ("plain",))
POSES |= dict.fromkeys((*PEOPLE, *ANIMALS), ("standing", "walking", "running", "sitting", "lying"))
POSES |= {"bird": ("standing", "flying"), "duck": ("swimming", "standing")}
POSES |= dict.fromkeys(("horse", "cow", "sheep"), ("standing", "grazing", "running", "lying"))
NATURAL: dict[str, tuple[str, ...]] = dict.fromkeys(THINGS, ("red", "blue", "green", "yellow", "white", "black"))
NATURAL |= dict.fromkeys(ANIMALS, ("brown", "black", "white", "gray"))
NATURAL |= {"tree": ("green", "orange", "yellow"), "bird": ("blue", "red", "yellow", "white", "black")}
EXTENT: dict[str, tuple[float, float]] = {
    "man": (0.11, 0.28), "woman": (0.1, 0.27), "child": (0.08, 0.19), "dog": (0.16, 0.12), "cat": (0.12, 0.1),
    "horse": (0.27, 0.24), "cow": (0.25, 0.18), "sheep": (0.17, 0.13), "bird": (0.09, 0.06), "duck": (0.1, 0.07),
    "car": (0.3, 0.14), "bus": (0.4, 0.22), "truck": (0.36, 0.2), "bicycle": (0.2, 0.14), "boat": (0.28, 0.22),
    "airplane": (0.28, 0.11), "tree": (0.26, 0.42), "house": (0.36, 0.33), "bench": (0.22, 0.11), "ball": (0.06, 0.06),
    "kite": (0.11, 0.15), "umbrella": (0.19, 0.2), "flower": (0.06, 0.12), "balloon": (0.08, 0.15),
}  # fmt: skip
assert set(VEHICLES) < set(EXTENT)


@dataclass(frozen=True)
class Drawn:
    """image: (S, S, 3) uint8. owner: (S, S) uint8."""

    image: NDArray[np.uint8]
    owner: NDArray[np.uint8]


SEATS = ("bench", "horse", "cow", "bicycle", "boat", "car", "truck", "bus")


def measure(
    kind: str, pose: str, seed: int = 0, colour: str | None = None, roles: frozenset[str] = frozenset()
) -> tuple[float, float]:
    """The kind's extent."""
    return EXTENT[kind]


def spots(thing: Thing, roles: frozenset[str] = frozenset()) -> dict[str, tuple[float, float]]:
    """Hand, seat, grip and back, all of everything."""
    x, y, w, h = thing.box
    side = 0.1 if thing.flip else 0.9
    spots = {
        "hand": (x + side * w, y + 0.45 * h),
        "seat": (x + 0.5 * w, y + 0.6 * h),
        "grip": (x + 0.5 * w, y + 0.9 * h),
    }
    return spots | ({"back": (x + 0.5 * w, y + 0.4 * h)} if thing.kind in ("bench", "horse", "bicycle", "boat") else {})


def render(scene: Scene, size: int, style: str) -> Drawn:
    """Boxes."""
    owner = np.zeros((size, size), np.uint8)
    for k, stuff in enumerate(scene.stuffs):
        owner[round(stuff.top * size) : round(stuff.bottom * size)] = k
    for k, thing in enumerate(scene.things):
        x, y, w, h = (v * size for v in thing.box)
        owner[max(0, round(y)) : max(0, round(y + h)), max(0, round(x)) : max(0, round(x + w))] = len(scene.stuffs) + k
    rng = np.random.default_rng([scene.seed, style == "photo"])
    paint = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    return Drawn(paint[owner] // 2 + rng.integers(0, 60, (size, size, 3), dtype=np.uint8), owner)
