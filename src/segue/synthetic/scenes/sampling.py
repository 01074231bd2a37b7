"""Random scenes: a setting, the things that belong there, and how they relate.

Domain "a" is the everyday one. Domain "b" has the same classes, but other frequencies of settings, colours, sizes and
numbers: it is for tests across domains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segue.synthetic.scenes.placement import HOLDABLE, MAY_BE_ON, ScenePlan, ThingSpec, lay_out
from segue.synthetic.scenes.render import NATURAL_COLOURS, POSES
from segue.synthetic.scenes.scene import PEOPLE, SIZES, Scene, Stuff, Thing
from segue.types import InputError

Layer = tuple[str, float, float, float]  # kind of stuff, its highest and its lowest top, probability

# From the back to the front; each reaches down to where the next begins.
SETTINGS: dict[str, tuple[Layer, ...]] = {
    "street": (
        ("sky", 0, 0, 1),
        ("wall", 0.25, 0.35, 0.25),
        ("grass", 0.4, 0.46, 1),
        ("road", 0.54, 0.64, 1),
        ("grass", 0.9, 0.94, 0.3),
    ),
    "town": (("sky", 0, 0, 1), ("wall", 0.16, 0.34, 1), ("road", 0.5, 0.6, 1)),
    "country road": (
        ("sky", 0, 0, 1),
        ("mountain", 0.2, 0.32, 0.6),
        ("grass", 0.4, 0.5, 1),
        ("road", 0.6, 0.7, 1),
        ("grass", 0.84, 0.92, 0.8),
    ),
    "meadow": (("sky", 0, 0, 1), ("mountain", 0.2, 0.34, 0.4), ("grass", 0.38, 0.52, 1)),
    "pond": (("sky", 0, 0, 1), ("grass", 0.36, 0.44, 0.7), ("water", 0.46, 0.54, 1), ("grass", 0.7, 0.78, 1)),
    "lake": (("sky", 0, 0, 1), ("mountain", 0.18, 0.3, 0.7), ("water", 0.4, 0.48, 1), ("grass", 0.66, 0.78, 0.6)),
    "beach": (
        ("sky", 0, 0, 1),
        ("mountain", 0.24, 0.32, 0.15),
        ("water", 0.36, 0.44, 1),
        ("sand", 0.56, 0.68, 1),
    ),
    "sea": (("sky", 0, 0, 1), ("mountain", 0.26, 0.34, 0.25), ("water", 0.4, 0.52, 1)),
    "snow": (("sky", 0, 0, 1), ("mountain", 0.16, 0.3, 0.7), ("snow", 0.4, 0.52, 1)),
    "winter road": (("sky", 0, 0, 1), ("snow", 0.4, 0.48, 1), ("road", 0.6, 0.68, 1), ("snow", 0.86, 0.92, 0.7)),
    "yard": (("sky", 0, 0, 0.4), ("wall", 0.12, 0.22, 1), ("grass", 0.5, 0.6, 1)),
    "park": (("sky", 0, 0, 1), ("grass", 0.36, 0.46, 1), ("road", 0.68, 0.76, 0.6), ("grass", 0.84, 0.9, 1)),
    "desert": (("sky", 0, 0, 1), ("mountain", 0.22, 0.34, 0.6), ("sand", 0.42, 0.54, 1)),
    "airfield": (("sky", 0, 0, 1), ("grass", 0.66, 0.74, 1), ("road", 0.8, 0.86, 0.6)),
}

_FOLK: dict[str, float] = {"man": 5, "woman": 5, "child": 3}
SETTING_KINDS: dict[str, dict[str, float]] = {
    "street": _FOLK | {"car": 6, "bus": 3, "truck": 3, "bicycle": 3, "tree": 4, "house": 3, "dog": 1.5, "bench": 1},
    "town": _FOLK | {"car": 5, "bus": 3, "truck": 2, "bicycle": 3, "bench": 2, "bird": 1, "cat": 0.5, "dog": 1},
    "country road": {
        "man": 2, "car": 4, "truck": 3, "bicycle": 2, "horse": 2, "cow": 2, "sheep": 1, "tree": 4, "house": 2,
    },
    "meadow": _FOLK | {
        "horse": 4, "cow": 4, "sheep": 4, "dog": 3, "tree": 5, "house": 1.5, "kite": 2, "bird": 2,
        "flower": 1, "ball": 1,
    },
    "pond": {
        "man": 2, "woman": 2, "child": 2, "duck": 6, "bird": 2, "dog": 1, "tree": 4, "bench": 2, "boat": 1,
        "flower": 0.7,
    },
    "lake": {"boat": 5, "duck": 3, "tree": 3, "bird": 2, "man": 2, "woman": 1, "house": 1, "dog": 1},
    "beach": _FOLK | {"umbrella": 4, "ball": 3, "kite": 3, "boat": 3, "bird": 3, "dog": 3, "horse": 0.7, "bench": 0.5},
    "sea": {"boat": 8, "bird": 4, "duck": 1.5, "airplane": 1},
    "snow": _FOLK | {"tree": 5, "house": 4, "dog": 3, "sheep": 0.7, "horse": 1, "bird": 1, "bench": 1, "truck": 0.5},
    "winter road": {"car": 5, "truck": 3, "bus": 2, "tree": 4, "house": 3, "man": 2, "woman": 2, "dog": 1},
    "yard": _FOLK | {"cat": 5, "dog": 4, "ball": 3, "bench": 2, "flower": 2.5, "bicycle": 1.5, "balloon": 1, "bird": 1},
    "park": _FOLK | {
        "dog": 4, "cat": 1, "bird": 2, "tree": 5, "bench": 4, "ball": 2, "balloon": 2, "bicycle": 2, "kite": 1,
    },
    "desert": {"man": 3, "woman": 2, "horse": 3, "car": 2, "truck": 2, "airplane": 1, "bird": 1, "tree": 0.5, "dog": 1},
    "airfield": {"airplane": 8, "bird": 2, "kite": 3, "balloon": 3, "man": 2, "child": 2, "tree": 1.5, "truck": 1},
}  # fmt: skip
_CARRIED = {"kite": 2, "balloon": 2, "umbrella": 2.5, "ball": 2, "flower": 1.5}


@dataclass(frozen=True)
class Domain:
    """Frequencies of what scenes consist of. settings, lights: weights. kinds: factors of the weights in SETTING_KINDS.
    groups, count: probabilities of 1, 2, ... groups of things, and of 1, 2, ... things in a group. sizes: probabilities
    of SIZES. colour_shift: how far a kind's natural colours are rotated before the later ones become rarer.
    """

    settings: dict[str, float]
    kinds: dict[str, float]
    groups: tuple[float, ...]
    count: tuple[float, ...]
    sizes: tuple[float, float, float]
    lights: dict[str, float]
    colour_shift: int


DOMAINS = {
    "a": Domain(
        settings={
            "street": 5, "meadow": 5, "park": 5, "beach": 4, "country road": 3, "town": 3, "yard": 3, "pond": 2.5,
            "lake": 2, "snow": 2, "airfield": 1.5, "sea": 1.5, "winter road": 0.8, "desert": 0.6,
        },
        kinds={},
        groups=(0.2, 0.42, 0.28, 0.1),
        count=(0.74, 0.17, 0.07, 0.02),
        sizes=(0.22, 0.56, 0.22),
        lights={"day": 6, "overcast": 2, "evening": 1.3, "night": 0.7},
        colour_shift=0,
    ),
    "b": Domain(
        settings={
            "snow": 5, "lake": 4, "winter road": 4, "desert": 3, "town": 3, "sea": 3, "airfield": 2.5, "pond": 2,
            "yard": 2, "meadow": 1, "beach": 1, "street": 1, "park": 0.8, "country road": 0.8,
        },
        kinds={
            "truck": 2.5, "horse": 2.5, "cat": 3, "woman": 1.8, "bird": 1.6, "house": 1.6, "flower": 3, "man": 0.45,
            "child": 0.7, "car": 0.4, "dog": 0.35, "cow": 0.4, "bench": 0.5, "ball": 0.4, "kite": 0.4,
        },
        groups=(0.3, 0.4, 0.2, 0.1),
        count=(0.62, 0.22, 0.11, 0.05),
        sizes=(0.34, 0.36, 0.3),
        lights={"day": 3, "overcast": 3, "evening": 2, "night": 2},
        colour_shift=2,
    ),
}  # fmt: skip


def find_domain(name: str) -> Domain:
    """The domain of a name. Raises InputError that lists the names."""
    if name not in DOMAINS:
        raise InputError(f"domain: got {name!r}, expected one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


def sample_scene(seed: int | Iterable[int], domain: str = "a") -> Scene:
    """The scene of a seed: 1 to 7 things in a setting where they belong, its relations true by geometry.

    seed: a number, or several (a data set's, a split's, a picture's). Raises InputError for an unknown domain.
    """
    mix = find_domain(domain)
    rng = np.random.default_rng([seed] if isinstance(seed, int) else list(seed))
    while True:
        setting = weighted_choice(rng, mix.settings)
        background = sample_background(SETTINGS[setting], rng)
        specs, relations = _sample_specs(setting, mix, rng)
        scene = lay_out(ScenePlan(background, specs, relations, weighted_choice(rng, mix.lights)), rng, strict=False)
        if scene and scene.things:
            return scene


def sample_close_up(seed: int) -> Scene:
    """The scene of `sample_scene` in a close-up; the seed decides both."""
    return close_up(sample_scene(seed), np.random.default_rng(seed))


def close_up(scene: Scene, rng: np.random.Generator) -> Scene:
    """A square part of a scene around one of its things and what that holds or rides, which fill about half of it.

    Other things are kept if they lie inside it completely.
    """
    one = int(rng.integers(len(scene.things)))
    kin = {one} | {k for s, p, o in scene.relations if one in (s, o) and p in ("holding", "on") for k in (s, o)}
    boxes = np.array([thing.box for thing in scene.things])
    boxes[:, 2:] += boxes[:, :2]
    low, high = boxes[sorted(kin), :2].min(0), boxes[sorted(kin), 2:].max(0)
    side = min(float((high - low).max() * rng.uniform(1.3, 2.0)), 1.0)
    slack = np.maximum(side - (high - low), 0)
    corner = np.clip(low - slack * rng.uniform(0.1, 0.9, 2), 0, 1 - side)
    whole = ((boxes[:, :2] >= corner) & (boxes[:, 2:] <= corner + side)).all(1)
    kept = [k for k in range(len(boxes)) if whole[k] or k in kin]
    near = replace(
        scene,
        stuff=tuple(_zoom_stuff(stuff, float(corner[1]), side) for stuff in scene.stuff),
        things=tuple(_zoom_thing(scene.things[k], corner, side) for k in kept),
        relations=tuple((kept.index(s), p, kept.index(o)) for s, p, o in scene.relations if s in kept and o in kept),
    )
    return replace(near, stuff=tuple(stuff for stuff in near.stuff if stuff.bottom > 0 and stuff.top < 1))


def _zoom_stuff(stuff: Stuff, top: float, side: float) -> Stuff:
    return replace(stuff, top=(stuff.top - top) / side, bottom=(stuff.bottom - top) / side)


def _zoom_thing(thing: Thing, corner: NDArray[np.float64], side: float) -> Thing:
    x, y, width, height = thing.box
    box = ((x - float(corner[0])) / side, (y - float(corner[1])) / side, width / side, height / side)
    return replace(thing, box=box)


def weighted_choice(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the names, by weight."""
    at = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return name


def sample_background(layers: Iterable[Layer], rng: np.random.Generator) -> tuple[Stuff, ...]:
    """Layers from the back to the front, each down to a little below where the next begins."""
    there = [
        (kind, rng.uniform(high, low) if low else 0.0) for kind, high, low, often in layers if rng.random() < often
    ]
    if not there or there[0][1] > 0:
        there[0] = (there[0][0], 0.0)
    ends = [top + 0.03 for _, top in there[1:]] + [1.0]
    return tuple(
        Stuff(kind, round(top, 4), round(min(1.0, end), 4), int(rng.integers(2**31)))
        for (kind, top), end in zip(there, ends, strict=True)
    )


def _sample_specs(
    setting: str, domain: Domain, rng: np.random.Generator
) -> tuple[tuple[ThingSpec, ...], tuple[tuple[int, str, int], ...]]:
    specs: list[ThingSpec] = []
    relations: list[tuple[int, str, int]] = []
    often = {kind: weight * domain.kinds.get(kind, 1.0) for kind, weight in SETTING_KINDS[setting].items()}
    for _ in range(1 + rng.choice(len(domain.groups), p=domain.groups)):
        kind = weighted_choice(rng, often)
        often[kind] *= 0.15  # rarely a second group of one kind
        count = min(1 + int(rng.choice(len(domain.count), p=domain.count)), 7 - len(specs))
        for spec in _sample_group(kind, count, domain, rng):
            specs.append(spec)
            _relate_at_random(len(specs) - 1, specs, relations, domain, rng)
    return tuple(specs[:7]), tuple(r for r in relations if max(r[0], r[2]) < 7)


def _sample_group(kind: str, count: int, domain: Domain, rng: np.random.Generator) -> list[ThingSpec]:
    """Several things of one kind, often alike."""
    colour, size = _sample_colour(kind, domain, rng), str(rng.choice(SIZES, p=domain.sizes))
    if count > 2:
        size = "small" if size == "large" else size
    alike = rng.random() < 0.6
    return [ThingSpec(kind, colour if alike else _sample_colour(kind, domain, rng), size) for _ in range(count)]


def _sample_colour(kind: str, domain: Domain, rng: np.random.Generator) -> str:
    natural = NATURAL_COLOURS[kind]
    turned = [natural[(k + domain.colour_shift) % len(natural)] for k in range(len(natural))]
    return weighted_choice(rng, {colour: 1 / (k + 1.5) for k, colour in enumerate(turned)})


def _relate_at_random(
    i: int, specs: list[ThingSpec], relations: list[tuple[int, str, int]], domain: Domain, rng: np.random.Generator
) -> None:
    """Sometimes put something into a person's hand, or somebody on or under a thing that is there already."""
    kind, draw = specs[i].kind, rng.random()
    taken = {o for _, _, o in relations}
    hosts = [j for j, w in enumerate(specs[:i]) if w.kind in MAY_BE_ON.get(kind, {}) and j not in taken]
    shelters = [j for j, w in enumerate(specs[:i]) if w.kind in ("tree", "umbrella") and j not in taken]
    if hosts and draw < 0.55:
        relations.append((i, "on", int(rng.choice(hosts))))
    elif shelters and draw < 0.75 and kind in (*PEOPLE, "dog", "cat", "horse", "cow", "sheep", "bench"):
        specs[i] = ThingSpec(kind, specs[i].colour, "small" if kind in ("horse", "cow") else specs[i].size)
        relations.append((i, "under", int(rng.choice(shelters))))
    elif kind in PEOPLE and draw > 0.72:
        held = weighted_choice(rng, _CARRIED)
        specs.append(ThingSpec(held, _sample_colour(held, domain, rng), "medium"))
        relations.append((i, "holding", len(specs) - 1))
    elif kind in ("bicycle", "horse", "bench", "boat") and 0.2 < draw < 0.6:
        rider = weighted_choice(rng, dict(_FOLK))
        specs.append(ThingSpec(rider, _sample_colour(rider, domain, rng), specs[i].size))
        relations.append((len(specs) - 1, "on", i))


assert set(HOLDABLE) == set(_CARRIED)
assert all(kind in POSES for things in SETTING_KINDS.values() for kind in things)
