"""Placement: from a plan of what a scene must hold to a scene in which all of it is true by geometry.

A thing stands on the stuff at its feet. Lower in the picture is nearer, and nearer is larger and painted later. Lengths
are in units of the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from segue.synthetic.scenes.render import (
    NATURAL_COLOURS,
    POSES,
    SEATS,
    TYPICAL_EXTENT,
    anchor_points,
    individual_extent,
    is_airborne,
)
from segue.synthetic.scenes.scene import ANIMALS, PEOPLE, SIZES, THING_CLASSES, Scene, Stuff, Thing

Box = tuple[float, float, float, float]
Bounds = tuple[float, float]
Band = tuple[str, float, float]  # kind of stuff, top and bottom of its visible rows
Triple = tuple[int, str, int]  # subject, predicate, object: positions in things or in specs

_SOLID = ("grass", "road", "sand", "snow")
STANDS_ON: dict[str, tuple[str, ...]] = dict.fromkeys(THING_CLASSES, _SOLID) | {
    "horse": ("grass", "sand", "snow", "road"),
    "cow": ("grass", "road"),
    "sheep": ("grass", "snow"),
    "bird": ("sky", *_SOLID),
    "duck": ("water", "grass"),
    "car": ("road", "sand", "grass", "snow"),
    "bus": ("road",),
    "truck": ("road", "sand", "snow", "grass"),
    "bicycle": ("road", "grass", "sand"),
    "boat": ("water", "sand"),
    "airplane": ("sky",),
    "tree": ("grass", "snow", "sand"),
    "house": ("grass", "snow", "sand"),
    "bench": ("grass", "road", "sand", "snow"),
    "kite": ("sky",),
    "umbrella": ("sand", "grass"),
    "flower": ("grass",),
    "balloon": ("sky",),
}
HOLDABLE = ("kite", "balloon", "umbrella", "ball", "flower")
# Kind -> kinds that it may be on -> where its centre lies on their width (0 to 1), and its bottom on their height.
MAY_BE_ON: dict[str, dict[str, tuple[Bounds, Bounds]]] = {
    "bird": {
        "bench": ((0.1, 0.9), (0.0, 0.12)),
        "house": ((0.3, 0.7), (0.04, 0.14)),
        "tree": ((0.3, 0.7), (0.12, 0.35)),
        "car": ((0.3, 0.7), (0.0, 0.08)),
        "bus": ((0.1, 0.9), (0.0, 0.06)),
        "truck": ((0.1, 0.5), (0.0, 0.1)),
        "horse": ((0.3, 0.55), (0.26, 0.36)),
        "cow": ((0.3, 0.6), (0.12, 0.24)),
        "sheep": ((0.3, 0.6), (0.06, 0.2)),
        "boat": ((0.3, 0.7), (0.55, 0.75)),
    },
    "cat": {
        "bench": ((0.2, 0.8), (0.45, 0.6)),
        "car": ((0.35, 0.65), (0.0, 0.1)),
        "house": ((0.35, 0.65), (0.08, 0.2)),
    },
    "dog": {"bench": ((0.25, 0.75), (0.45, 0.6)), "boat": ((0.35, 0.65), (0.75, 0.85))},
    "man": {  # the feet of who sits reach below the seat
        "bicycle": ((0.25, 0.75), (0.5, 1.1)),
        "horse": ((0.25, 0.75), (0.4, 1.0)),
        "bench": ((0.2, 0.8), (0.7, 1.2)),
        "boat": ((0.2, 0.8), (0.6, 1.1)),
    },
}
MAY_BE_ON["woman"] = MAY_BE_ON["child"] = MAY_BE_ON["man"]
RIDEABLE = ("bicycle", "horse")
SHELTERS = ("tree", "umbrella")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
DISTANCE_SCALE = 0.9  # a middle distance is a little farther here than in `render`, so that more fits in
_SIZE_SCALE = {"small": 0.68, "medium": 1.0, "large": 1.4}


@dataclass(frozen=True)
class ThingSpec:
    """One thing that a plan asks for; what is None is chosen at random. ground: the stuff that it is to be on."""

    kind: str
    colour: str | None = None
    size: str | None = None
    pose: str | None = None
    ground: str | None = None


@dataclass(frozen=True)
class ScenePlan:
    """What a scene must hold. relations: (subject, predicate, object), positions in specs."""

    stuff: tuple[Stuff, ...]
    specs: tuple[ThingSpec, ...]
    relations: tuple[Triple, ...]
    light: str


def lay_out(plan: ScenePlan, rng: np.random.Generator, strict: bool = True) -> Scene | None:
    """A random scene of the plan, or None when no room was found for it.

    strict: all of the plan is needed; otherwise impossible relations, and specs that find no room, are left out.
    """
    plan = plan if strict else replace(plan, relations=tuple(r for r in plan.relations if _possible(plan, r)))
    layout = _Layout()
    for i in _hosts_first(plan):
        hosts = {_other_end(r, i) for r in plan.relations if i in (r[0], r[2]) and _depends_on_other(i, r)}
        found = None if hosts - layout.things.keys() else _place(plan, i, layout, rng)
        if found:
            layout.things[i], layout.nearness[i] = found
        elif strict:
            return None
    order = sorted(layout.things, key=lambda i: layout.nearness[i])
    at = {i: position for position, i in enumerate(order)}
    things = tuple(layout.things[i] for i in order)
    kept = [(at[s], p, at[o]) for s, p, o in plan.relations if s in at and o in at]
    return Scene(plan.stuff, things, _all_relations(things, kept, rng), plan.light, int(rng.integers(2**31)))


def _possible(plan: ScenePlan, relation: Triple) -> bool:
    """Whether things of these kinds can have this relation."""
    subject, predicate, object_ = relation
    a, b = plan.specs[subject].kind, plan.specs[object_].kind
    if predicate == "on":
        return b in MAY_BE_ON.get(a, {})
    return predicate != "holding" or (a in PEOPLE and b in HOLDABLE)


# ------------------------------------------------------------------------------------------------ what is true


def relation_holds(things: Sequence[Thing], relation: Triple) -> bool:
    """Whether a relation is true of things, which are in their order of painting."""
    subject, predicate, object_ = relation
    if predicate in ("right of", "below"):
        return relation_holds(things, (object_, INVERSE[predicate], subject))
    a, b = things[subject], things[object_]
    if predicate == "in front of":
        stand = subject > object_ and _bottom(a) > _bottom(b) and not (is_airborne(a) or is_airborne(b))
        return stand and _overlap_share(a.box, b.box) > 0.12
    return {"left of": _left, "above": _above, "on": _on, "holding": _holding, "under": _under}[predicate](a, b)


def supporting_stuff(scene: Scene, position: int) -> int | None:
    """Position in scene.stuff of what a thing is on, or in when it flies; None when another thing carries it."""
    if any((p == "on" and s == position) or (p == "holding" and o == position) for s, p, o in scene.relations):
        return None
    _, y, _, h = scene.things[position].box
    row = y + h / 2 if is_airborne(scene.things[position]) else y + h
    return max((k for k, s in enumerate(scene.stuff) if s.top <= row <= s.bottom), default=None)


def _left(a: Thing, b: Thing) -> bool:
    beside = a.box[0] + a.box[2] <= _centre(b) and _centre(a) <= b.box[0]
    return beside and is_airborne(a) == is_airborne(b) and _overlap(a.box[1], a.box[3], b.box[1], b.box[3]) > 0


def _above(a: Thing, b: Thing) -> bool:
    clear = _bottom(a) <= b.box[1] + 0.02
    return is_airborne(a) and clear and _overlap(a.box[0], a.box[2], b.box[0], b.box[2]) > 0.3 * min(a.box[2], b.box[2])


def _on(a: Thing, b: Thing) -> bool:
    if b.kind not in MAY_BE_ON.get(a.kind, {}):
        return False
    (left, right), (top, low) = MAY_BE_ON[a.kind][b.kind]
    x, y, w, h = b.box
    return x + (left - 0.1) * w <= _centre(a) <= x + (right + 0.1) * w and (
        y + (top - 0.1) * h <= _bottom(a) <= y + (low + 0.1) * h
    )


def _holding(a: Thing, b: Thing) -> bool:
    """What is held touches who holds it, or flies above on its string."""
    if a.kind not in PEOPLE or b.kind not in HOLDABLE:
        return False
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    apart = max(ax - bx - bw, bx - ax - aw, ay - by - bh, by - ay - ah)
    return apart <= (0.45 if b.kind == "kite" else 0.02) and by + bh <= ay + ah + 0.02


def _under(a: Thing, b: Thing) -> bool:
    x, y, w, h = b.box
    return (
        b.kind in SHELTERS
        and not is_airborne(a)
        and x + 0.05 * w <= _centre(a) <= x + 0.95 * w
        and a.box[1] > y + 0.12 * h
        and _bottom(a) >= y + 0.8 * h
        and _bottom(a) <= y + 1.2 * h + 0.04
    )


def _all_relations(things: tuple[Thing, ...], planned: list[Triple], rng: np.random.Generator) -> tuple[Triple, ...]:
    """The planned relations and, for every other pair, the first that is true, in either direction."""
    relations = list(dict.fromkeys(planned))
    pairs = {frozenset((s, o)) for s, _, o in relations}
    for i in range(len(things)):
        for j in range(i):
            if frozenset((i, j)) in pairs:
                continue
            pair = [(s, o) for s, o in ((i, j), (j, i))]
            rng.shuffle(pair)
            found = ((s, p, o) for p in ("in front of", "above", "left of", "below", "right of") for s, o in pair)
            first = next((r for r in found if relation_holds(things, r)), None)
            if first and first[1] in INVERSE and rng.random() < 0.5:
                first = (first[2], INVERSE[first[1]], first[0])
            relations += [first] if first else []
    return tuple(relations)


# ------------------------------------------------------------------------------------------------ placing


@dataclass
class _Layout:
    """What is placed so far, by position in specs: the things, and how near each is (a nearer one is painted later)."""

    things: dict[int, Thing] = field(default_factory=dict)
    nearness: dict[int, float] = field(default_factory=dict)


def _other_end(relation: Triple, i: int) -> int:
    return relation[0] if relation[2] == i else relation[2]


def _depends_on_other(i: int, relation: Triple) -> bool:
    """Whether spec i gets its place from the other: it is held, or it is on, under or in front of the other."""
    subject, predicate, object_ = relation
    return i == object_ if predicate == "holding" else i == subject and predicate in ("on", "under", "in front of")


def _hosts_first(plan: ScenePlan) -> list[int]:
    """The positions of the specs, the larger first, and those that others depend on before these."""
    order: list[int] = []
    waiting = list(range(len(plan.specs)))
    waiting.sort(key=lambda i: -TYPICAL_EXTENT[plan.specs[i].kind][0] * TYPICAL_EXTENT[plan.specs[i].kind][1])
    while waiting:
        hosts = {i: {_other_end(r, i) for r in plan.relations if _depends_on_other(i, r)} for i in waiting}
        free = next((i for i in waiting if not hosts[i] & set(waiting)), waiting[0])
        waiting.remove(free)
        order.append(free)
    return order


@dataclass(frozen=True)
class _Task:
    """What the place of spec i must satisfy. relations: those with placed things. host: who carries it, or None. link:
    the relation to the host, "on", "holding" or "". roles: see `render.drawing_roles`.
    """

    i: int
    relations: list[Triple]
    host: int | None
    link: str
    roles: frozenset[str]

    @property
    def may_cover(self) -> set[int]:
        """What it may hide, and what may hide it: the things that it is carried by, carries or is under."""
        return {_other_end(r, self.i) for r in self.relations if r[1] in ("on", "holding", "under")}


def _task(plan: ScenePlan, i: int, layout: _Layout) -> _Task:
    relations = [r for r in plan.relations if i in (r[0], r[2]) and _other_end(r, i) in layout.things]
    carried = next((r for r in relations if _depends_on_other(i, r) and r[1] in ("on", "holding")), None)
    host, link = (None, "") if carried is None else (_other_end(carried, i), carried[1])
    return _Task(i, relations, host, link, _planned_roles(plan, i))


def _place(plan: ScenePlan, i: int, layout: _Layout, rng: np.random.Generator) -> tuple[Thing, float] | None:
    """Thing i and its nearness: the first of some random proposals that is acceptable."""
    task = _task(plan, i, layout)
    for _ in range(3):
        unplaced = _choose_attributes(plan, task, layout, rng)
        for _ in range(14 if unplaced else 0):
            assert unplaced
            if found := _proposal(plan, task, unplaced, layout, rng):
                return found
    return None


def _proposal(
    plan: ScenePlan, task: _Task, unplaced: _UnplacedThing, layout: _Layout, rng: np.random.Generator
) -> tuple[Thing, float] | None:
    """A random place for a thing; None when it does not fit, breaks a relation, hides too much or is hidden."""
    host = None if task.host is None else layout.things[task.host]
    box = _propose_box(plan, unplaced, host, _random_relation(task, layout, rng), task.roles, rng)
    if box is None:
        return None
    thing = replace(unplaced.thing, box=_rounded(box))
    if task.host is None:
        nearness = _nearness(thing, unplaced.band)
    else:
        nearness = layout.nearness[task.host] + 0.002 * (1 + rng.random())
    true = all(_holds_between(thing, nearness, r, task.i, layout) for r in task.relations)
    return (thing, nearness) if true and _stays_visible(thing, nearness, layout, task.may_cover) else None


def _nearness(thing: Thing, band: Band | None) -> float:
    """Things in the sky are painted first, then the others by their feet."""
    return _bottom(thing) - (1.0 if band and band[0] == "sky" else 0.0)


def _holds_between(thing: Thing, nearness: float, relation: Triple, i: int, layout: _Layout) -> bool:
    subject, predicate, object_ = relation
    j = object_ if subject == i else subject
    pair = (thing, layout.things[j]) if nearness < layout.nearness[j] else (layout.things[j], thing)
    mine = pair.index(thing)
    return relation_holds(pair, (mine, predicate, 1 - mine) if subject == i else (1 - mine, predicate, mine))


@dataclass(frozen=True)
class _UnplacedThing:
    """A thing whose attributes are chosen but whose place is not. band: the rows of the stuff that it is to be on, None
    when it is carried. extent: its width and height at a middle distance.
    """

    thing: Thing
    band: Band | None
    extent: tuple[float, float]


def _choose_attributes(
    plan: ScenePlan, task: _Task, layout: _Layout, rng: np.random.Generator
) -> _UnplacedThing | None:
    """Choose at random what a spec leaves open; None when no stuff of the plan suits it, or no such host carries it."""
    spec, host = plan.specs[task.i], None if task.host is None else layout.things[task.host]
    size = spec.size or str(rng.choice(SIZES, p=(0.22, 0.56, 0.22)))
    band = None
    if host is None:
        band = _choose_band(plan, spec, rng)
    if not (band if host is None else _can_carry(host, task.link, spec)):
        return None
    pose = spec.pose or _choose_pose(spec.kind, _situation(plan, task, host, band), rng)
    seed, flip = int(rng.integers(2**31)), bool(rng.random() < 0.5)
    flip = host.flip if host and host.kind in RIDEABLE else flip
    colour = spec.colour or str(rng.choice(NATURAL_COLOURS[spec.kind]))
    w, h = individual_extent(spec.kind, pose, seed, colour, task.roles)
    thing = Thing(spec.kind, colour, size, pose, (0.0, 0.0, 1.0, 1.0), flip, seed)
    scale = DISTANCE_SCALE * w * _SIZE_SCALE[size], DISTANCE_SCALE * h * _SIZE_SCALE[size]
    return _UnplacedThing(thing, band, scale)


def _can_carry(host: Thing, link: str, spec: ThingSpec) -> bool:
    if link == "on":
        return host.kind in MAY_BE_ON.get(spec.kind, {})
    return host.kind in PEOPLE and spec.kind in HOLDABLE


def _situation(plan: ScenePlan, task: _Task, host: Thing | None, band: Band | None) -> str:
    """What decides the pose: how the thing is carried, "busy" when it holds something, or the stuff that it is on."""
    spec, situation = plan.specs[task.i], band[0] if band else ""
    if task.link == "holding":
        situation = "held"
    elif host:
        situation = _carried_situation(spec, host)
    holds = any(p == "holding" and s == task.i for s, p, _ in plan.relations)
    return "busy" if holds and situation not in ("ride", "seat") else situation


def _planned_roles(plan: ScenePlan, i: int) -> frozenset[str]:
    """What a thing does in a plan, as `render.drawing_roles` has it for a scene."""
    on = {o for s, p, o in plan.relations if p == "on" and s == i}
    rides = any(plan.specs[o].kind in SEATS for o in on)
    holds = any(p == "holding" and s == i for s, p, _ in plan.relations)
    return frozenset((["riding"] if rides else []) + (["holding"] if holds else []))


def _carried_situation(spec: ThingSpec, host: Thing) -> str:
    return ("ride" if host.kind in RIDEABLE else "seat") if spec.kind in PEOPLE and host.kind in SEATS else "perch"


def _choose_band(plan: ScenePlan, spec: ThingSpec, rng: np.random.Generator) -> Band | None:
    """The visible rows of a random stuff on which a thing can be; the larger the likelier. None without any."""
    candidates = [
        b for b in visible_bands(plan.stuff) if b[0] in ((spec.ground,) if spec.ground else STANDS_ON[spec.kind])
    ]
    if spec.pose in ("flying", "swimming"):
        candidates = [b for b in candidates if b[0] == ("sky" if spec.pose == "flying" else "water")]
    elif spec.pose and spec.kind in ANIMALS:
        candidates = [b for b in candidates if b[0] not in ("sky", "water")]
    candidates = [b for b in candidates if b[2] - b[1] > 0.04]
    if not candidates:
        return None
    areas = np.array([bottom - top for _, top, bottom in candidates])
    return candidates[rng.choice(len(candidates), p=areas / areas.sum())]


def _propose_box(
    plan: ScenePlan,
    unplaced: _UnplacedThing,
    host: Thing | None,
    relation: tuple[str, Thing] | None,
    roles: frozenset[str],
    rng: np.random.Generator,
) -> Box | None:
    """A random box, with regard to one relation; None where the thing does not fit in its size."""
    if unplaced.band is None and host:
        return _carried_box(unplaced, host, roles, rng)
    assert unplaced.band
    w, h = unplaced.extent
    if unplaced.band[0] == "sky":
        return _box_in_the_sky(unplaced.band, w, h, relation, rng)
    _, top, bottom = unplaced.band
    horizon = min([t for k, t, _ in visible_bands(plan.stuff) if k not in ("sky", "mountain", "wall")], default=1.0)
    back = 0.5 if h > 0.3 or w > 0.32 else 1.0
    feet = rng.uniform(top + 0.02, top + 0.02 + max(0.01, back * (min(bottom, 0.99) - top - 0.03)))
    if relation and relation[0] not in ("above", "below"):
        ahead = _DEPTH_OFFSETS.get(relation[0], (-0.08, 0.08))
        feet = float(np.clip(_bottom(relation[1]) + rng.uniform(*ahead), top + 0.01, min(bottom - 0.005, 0.99)))
    scale = (0.62 + 0.7 * (feet - horizon) / max(0.3, 1 - horizon)) * rng.uniform(0.94, 1.06)
    fit = min(scale, (feet - 0.01) / h, 0.96 / w)
    if fit < 0.8 * scale:  # it would not look its size
        return None
    return _horizontal_position(w * fit, relation, rng), feet - h * fit, w * fit, h * fit


_DEPTH_OFFSETS: dict[str, Bounds] = {"in front of": (0.02, 0.2), "behind": (-0.2, -0.02), "under": (0.0, 0.05)}


def _box_in_the_sky(
    band: Band, w: float, h: float, relation: tuple[str, Thing] | None, rng: np.random.Generator
) -> Box | None:
    _, top, bottom = band
    scale = rng.uniform(0.65, 1.1)
    w, h = w * scale, h * scale
    if h > bottom - top or w > 0.9:
        return None
    return _horizontal_position(w, relation, rng), rng.uniform(top + 0.01, max(top + 0.011, bottom - h - 0.01)), w, h


def _carried_box(unplaced: _UnplacedThing, host: Thing, roles: frozenset[str], rng: np.random.Generator) -> Box | None:
    """The box of a thing that its host carries, in the host's scale."""
    scale = host.box[3] / (
        _extent(host.kind, host.pose, host.seed, host.colour)[1] * DISTANCE_SCALE * _SIZE_SCALE[host.size]
    )
    w, h = (v * scale for v in unplaced.extent)
    thing = replace(unplaced.thing, box=(0.0, 0.0, w, h))
    if unplaced.band is None and unplaced.thing.kind in HOLDABLE:
        grip, (x, y) = _anchors(thing)["grip"], _anchors(host, frozenset({"holding"}))["hand"]
        if unplaced.thing.kind == "kite":  # on its string
            x += rng.uniform(0.05, 0.3) * (-1 if host.flip else 1)
            y -= rng.uniform(0.12, 0.4)
        box = x - grip[0], y - grip[1], w, h
        return box if box[1] >= 0 and box[0] > -0.02 and box[0] + w < 1.02 else None
    back = _anchors(host).get("back")
    if back and roles & {"riding"} and unplaced.thing.kind in PEOPLE:
        seat = _anchors(thing, roles)["seat"]
        aside = rng.uniform(-0.3, 0.3) * host.box[2] if host.kind in ("bench", "boat") else 0.0
        return back[0] + aside - seat[0], back[1] - seat[1], w, h
    (left, right), (top, low) = MAY_BE_ON[unplaced.thing.kind][host.kind]
    x = host.box[0] + rng.uniform(left, right) * host.box[2]
    feet = back[1] if back and host.kind in ANIMALS else host.box[1] + rng.uniform(top, low) * host.box[3]
    return x - w / 2, feet - h, w, h


_extent = lru_cache(maxsize=64)(individual_extent)  # the same host is asked for with every proposal
_anchors = lru_cache(maxsize=64)(anchor_points)


def _random_relation(task: _Task, layout: _Layout, rng: np.random.Generator) -> tuple[str, Thing] | None:
    """One of a thing's relations as seen from it: the predicate and the other thing. None without relations."""
    if not task.relations:
        return None
    subject, predicate, object_ = task.relations[rng.integers(len(task.relations))]
    if subject == task.i:
        return predicate, layout.things[object_]
    return INVERSE.get(predicate, "behind" if predicate == "in front of" else predicate), layout.things[subject]


def _horizontal_position(w: float, other: tuple[str, Thing] | None, rng: np.random.Generator) -> float:
    """A random left edge for a thing of width w, with regard to one relation."""
    low, high = 0.01, max(0.011, 0.99 - w)
    if other is None:
        return rng.uniform(low, high)
    predicate, thing = other
    if predicate == "left of":
        return rng.uniform(low, max(low + 0.001, min(high, _centre(thing) - w)))
    if predicate == "right of":
        return rng.uniform(min(high, max(low, _centre(thing))), high + 0.001)
    reach = 0.5 * (w + thing.box[2]) * (0.75 if predicate in ("in front of", "behind") else 0.55)
    return float(np.clip(_centre(thing) + rng.uniform(-reach, reach) - w / 2, low, high))


def _choose_pose(kind: str, situation: str, rng: np.random.Generator) -> str:
    """A pose that the kind has and the situation allows."""
    special = {"sky": "flying", "water": "swimming", "ride": "sitting", "seat": "sitting"}
    if special.get(situation) in POSES[kind]:
        return special[situation]
    unfit = {"perch": ("running", "walking", "lying", "jumping"), "busy": ("jumping", "waving")}.get(situation, ())
    usual = [p for p in POSES[kind] if p not in ("flying", "swimming", "closed", *unfit)]
    return str(rng.choice(usual or list(POSES[kind])))


def visible_bands(background: Sequence[Stuff]) -> list[Band]:
    """(kind, top, bottom) of the rows of each stuff that no later one covers."""
    out = []
    for k, stuff in enumerate(background):
        bottom = min([stuff.bottom, *(s.top for s in background[k + 1 :] if s.top > stuff.top)])
        out.append((stuff.kind, stuff.top, bottom))
    return out


def _stays_visible(thing: Thing, nearness: float, layout: _Layout, may_cover: set[int]) -> bool:
    """Whether enough of a thing, and of each thing behind it, stays in view; those of may_cover don't count."""
    nearer = [t.box for j, t in layout.things.items() if layout.nearness[j] > nearness and j not in may_cover]
    if _covered_share(thing.box, nearer) > 0.5:
        return False
    for j, other in layout.things.items():
        if layout.nearness[j] < nearness and j not in may_cover and _overlap_share(thing.box, other.box) > 0:
            over = [t.box for k, t in layout.things.items() if layout.nearness[k] > layout.nearness[j]]
            if _covered_share(other.box, [*over, thing.box]) > 0.55:
                return False
    return True


_CELLS = (np.arange(8) + 0.5) / 8


def _covered_share(box: Box, over: list[Box]) -> float:
    """Share of a box that others cover."""
    x, y = box[0] + box[2] * _CELLS[None, :], box[1] + box[3] * _CELLS[:, None]
    hidden = np.zeros((8, 8), dtype=bool)
    for left, top, w, h in over:
        hidden |= (x >= left) & (x <= left + w) & (y >= top) & (y <= top + h)
    return float(hidden.mean())


def _overlap(a: float, length: float, b: float, other: float) -> float:
    return min(a + length, b + other) - max(a, b)


def _overlap_share(a: Box, b: Box) -> float:
    """Intersection of two boxes over the smaller one."""
    w, h = _overlap(a[0], a[2], b[0], b[2]), _overlap(a[1], a[3], b[1], b[3])
    return max(0.0, w) * max(0.0, h) / max(1e-9, min(a[2] * a[3], b[2] * b[3]))


def _centre(thing: Thing) -> float:
    return thing.box[0] + thing.box[2] / 2


def _bottom(thing: Thing) -> float:
    return thing.box[1] + thing.box[3]


def _rounded(box: Box) -> Box:
    x, y, w, h = (round(float(v), 5) for v in box)
    return x, y, w, h
