"""Where things go: a plan of what a scene must hold, laid out so that all it says is true by geometry.

A thing stands on the stuff at its feet. Lower in the picture is nearer, and nearer is larger and painted later. Lengths
are in units of the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.sketchbook.scenes.draw import EXTENT, NATURAL, POSES
from segue.data.sketchbook.scenes.world import ANIMALS, PEOPLE, SIZES, THINGS, Scene, Stuff, Thing

Box = tuple[float, float, float, float]
Bounds = tuple[float, float]

_SOLID = ("grass", "road", "sand", "snow")
STANDS: dict[str, tuple[str, ...]] = {kind: _SOLID for kind in THINGS} | {
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
HELD = ("kite", "balloon", "umbrella", "ball", "flower")
# Who may be on what, the share of the host's width its middle may be over, and the share of its height its feet are at.
PERCHES: dict[str, dict[str, tuple[Bounds, Bounds]]] = {
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
    "man": {
        "bicycle": ((0.42, 0.55), (0.7, 0.85)),
        "horse": ((0.42, 0.55), (0.62, 0.75)),
        "bench": ((0.25, 0.75), (0.85, 1.0)),
        "boat": ((0.35, 0.65), (0.78, 0.9)),
    },
}
PERCHES["woman"] = PERCHES["child"] = PERCHES["man"]
RIDDEN, SEATS = ("bicycle", "horse"), ("bench",)
ROOFS = ("tree", "umbrella")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_SCALE = {"small": 0.68, "medium": 1.0, "large": 1.4}


@dataclass(frozen=True)
class Wish:
    """One thing that a plan asks for; what is None is left to chance. ground: the stuff it is to be on."""

    kind: str
    colour: str | None = None
    size: str | None = None
    pose: str | None = None
    ground: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a scene must hold. relations: (subject, predicate, object), positions in wishes."""

    stuffs: tuple[Stuff, ...]
    wishes: tuple[Wish, ...]
    relations: tuple[tuple[int, str, int], ...]
    light: str


def lay_out(plan: Plan, rng: np.random.Generator, strict: bool = True) -> Scene | None:
    """A scene of the plan, or None when chance found no room for it.

    strict: all of it; otherwise wishes that find no room are left out, with their relations.
    """
    placed: dict[int, Thing] = {}
    depth: dict[int, float] = {}
    for i in _hosts_first(plan):
        needs = [r for r in plan.relations if i in (r[0], r[2])]
        hosts = {s if o == i else o for s, p, o in needs if _is_guest(i, (s, p, o))}
        found = None if hosts - placed.keys() else _place(plan, i, needs, placed, depth, rng)
        if found:
            placed[i], depth[i] = found
        elif strict:
            return None
    order = sorted(placed, key=lambda i: depth[i])
    at = {i: position for position, i in enumerate(order)}
    things = tuple(placed[i] for i in order)
    kept = [(at[s], p, at[o]) for s, p, o in plan.relations if s in at and o in at]
    return Scene(plan.stuffs, things, _relations(things, kept, rng), plan.light, int(rng.integers(2**31)))


# ------------------------------------------------------------------------------------------------ what is true


def holds(things: Sequence[Thing], relation: tuple[int, str, int]) -> bool:
    """Whether a relation is true of things that stand in their order of painting."""
    subject, predicate, object_ = relation
    if predicate in ("right of", "below"):
        return holds(things, (object_, INVERSE[predicate], subject))
    a, b = things[subject], things[object_]
    if predicate == "in front of":
        stand = subject > object_ and _feet(a) > _feet(b) and not (flies(a) or flies(b))
        return stand and _shared(a.box, b.box) > 0.12
    return {"left of": _left, "above": _above, "on": _on, "holding": _holding, "under": _under}[predicate](a, b)


def flies(thing: Thing) -> bool:
    """Whether it is in the air."""
    return thing.kind in ("airplane", "kite", "balloon") or thing.pose == "flying"


def ground(scene: Scene, position: int) -> int | None:
    """Position in stuffs of what a thing is on (in, for one that flies); None when another thing carries it."""
    if any((p == "on" and s == position) or (p == "holding" and o == position) for s, p, o in scene.relations):
        return None
    x, y, w, h = scene.things[position].box
    row = y + h / 2 if flies(scene.things[position]) else y + h
    return max((k for k, s in enumerate(scene.stuffs) if s.top <= row <= s.bottom), default=None)


def _left(a: Thing, b: Thing) -> bool:
    beside = a.box[0] + a.box[2] <= _middle(b) and _middle(a) <= b.box[0]
    return beside and _overlap(a.box[1], a.box[3], b.box[1], b.box[3]) > 0


def _above(a: Thing, b: Thing) -> bool:
    clear = _feet(a) <= b.box[1] + 0.02
    return flies(a) and clear and _overlap(a.box[0], a.box[2], b.box[0], b.box[2]) > 0.3 * min(a.box[2], b.box[2])


def _on(a: Thing, b: Thing) -> bool:
    if b.kind not in PERCHES.get(a.kind, {}):
        return False
    (left, right), (top, low) = PERCHES[a.kind][b.kind]
    x, y, w, h = b.box
    return (
        x + (left - 0.02) * w <= _middle(a) <= x + (right + 0.02) * w
        and y + (top - 0.02) * h <= _feet(a) <= y + (low + 0.02) * h
    )


def _holding(a: Thing, b: Thing) -> bool:
    x, y = _hand(a)
    bx, by, bw, bh = b.box
    return a.kind in PEOPLE and b.kind in HELD and bx - 0.01 <= x <= bx + bw + 0.01 and by - 0.01 <= y <= by + bh + 0.01


def _under(a: Thing, b: Thing) -> bool:
    x, y, w, h = b.box
    return (
        b.kind in ROOFS
        and not flies(a)
        and x + 0.05 * w <= _middle(a) <= x + 0.95 * w
        and a.box[1] > y + 0.12 * h
        and _feet(a) >= y + 0.8 * h
        and _feet(a) <= y + 1.2 * h + 0.04
    )


def _relations(
    things: tuple[Thing, ...], planned: list[tuple[int, str, int]], rng: np.random.Generator
) -> tuple[tuple[int, str, int], ...]:
    """The planned relations and, for every other pair, the first that geometry gives, told from either side."""
    told = list(dict.fromkeys(planned))
    pairs = {frozenset((s, o)) for s, _, o in told}
    for i in range(len(things)):
        for j in range(i):
            if frozenset((i, j)) in pairs:
                continue
            pair = [(s, o) for s, o in ((i, j), (j, i))]
            rng.shuffle(pair)
            found = ((s, p, o) for p in ("in front of", "above", "left of", "below", "right of") for s, o in pair)
            first = next((r for r in found if holds(things, r)), None)
            if first and first[1] in INVERSE and rng.random() < 0.5:
                first = (first[2], INVERSE[first[1]], first[0])
            told += [first] if first else []
    return tuple(told)


# ------------------------------------------------------------------------------------------------ placing


def _is_guest(i: int, relation: tuple[int, str, int]) -> bool:
    """Whether the relation puts wish i at the other one: what is held, and who is on, under or in front of a thing."""
    subject, predicate, object_ = relation
    return i == object_ if predicate == "holding" else i == subject and predicate in ("on", "under", "in front of")


def _hosts_first(plan: Plan) -> list[int]:
    order: list[int] = []
    waiting = list(range(len(plan.wishes)))
    waiting.sort(key=lambda i: -EXTENT[plan.wishes[i].kind][0] * EXTENT[plan.wishes[i].kind][1])
    while waiting:
        hosts = {i: {r[0] if r[2] == i else r[2] for r in plan.relations if _is_guest(i, r)} for i in waiting}
        free = next((i for i in waiting if not hosts[i] & set(waiting)), waiting[0])
        waiting.remove(free)
        order.append(free)
    return order


def _place(
    plan: Plan,
    i: int,
    needs: list[tuple[int, str, int]],
    placed: dict[int, Thing],
    depth: dict[int, float],
    rng: np.random.Generator,
) -> tuple[Thing, float] | None:
    """The first of some proposals for which all relations with what is placed hold and nothing is hidden."""
    known = [r for r in needs if (r[0] if r[2] == i else r[2]) in placed]
    for _ in range(40):
        made = _propose(plan, i, known, placed, depth, rng)
        if made is None:
            continue
        thing, far = made
        pairs = {j: (thing, other) if far < depth[j] else (other, thing) for j, other in placed.items()}
        true = all(_holds_between(thing, r, i, pairs) for r in known)
        if true and _seen(thing, far, placed, depth, {r[0] if r[2] == i else r[2] for r in known if _carried(r)}):
            return thing, far
    return None


def _holds_between(
    thing: Thing, relation: tuple[int, str, int], i: int, pairs: dict[int, tuple[Thing, Thing]]
) -> bool:
    subject, predicate, object_ = relation
    pair = pairs[object_ if subject == i else subject]
    mine = pair.index(thing)
    return holds(pair, (mine, predicate, 1 - mine) if subject == i else (1 - mine, predicate, mine))


def _carried(relation: tuple[int, str, int]) -> bool:
    return relation[1] in ("on", "holding", "under")


def _propose(
    plan: Plan,
    i: int,
    known: list[tuple[int, str, int]],
    placed: dict[int, Thing],
    depth: dict[int, float],
    rng: np.random.Generator,
) -> tuple[Thing, float] | None:
    wish = plan.wishes[i]
    size = wish.size or str(rng.choice(SIZES, p=(0.22, 0.56, 0.22)))
    guest = next((r for r in known if _is_guest(i, r)), None)
    host = placed[guest[0] if guest[2] == i else guest[2]] if guest else None
    situation = _situation(wish, guest, host)
    flip = bool(rng.random() < 0.5)
    if guest and host and guest[1] in ("on", "holding"):
        if guest[1] == "on" and host.kind not in PERCHES.get(wish.kind, {}):
            return None
        box = _carried_box(wish, host, guest[1], size, rng)
        far = depth[guest[0] if guest[2] == i else guest[2]] + 0.002 * (1 + rng.random())
        flip = host.flip if host.kind in RIDDEN else flip
    else:
        spot = _spot(plan, wish, situation, size, known, i, placed, rng)
        if spot is None:
            return None
        box, situation = spot
        far = box[1] + box[3] - (1.0 if situation == "sky" else 0.0)
    pose = wish.pose or _pose(wish.kind, situation, rng)
    colour = wish.colour or str(rng.choice(NATURAL[wish.kind]))
    return Thing(wish.kind, colour, size, pose, _rounded(box), flip, int(rng.integers(2**31))), far


def _situation(wish: Wish, guest: tuple[int, str, int] | None, host: Thing | None) -> str:
    if guest and host and guest[1] == "on":
        return "ride" if host.kind in RIDDEN and wish.kind in PEOPLE else "seat" if host.kind in SEATS else "perch"
    return "held" if guest and guest[1] == "holding" else "ground"


def _carried_box(wish: Wish, host: Thing, predicate: str, size: str, rng: np.random.Generator) -> Box:
    """At the place of its host where it belongs, in the host's scale."""
    scale = host.box[3] / EXTENT[host.kind][1] / _SCALE[host.size]
    w, h = (v * scale * _SCALE[size] for v in EXTENT[wish.kind])
    if predicate == "on":
        (left, right), (top, low) = PERCHES[wish.kind][host.kind]
        x = host.box[0] + rng.uniform(left, right) * host.box[2]
        feet = host.box[1] + rng.uniform(top, low) * host.box[3]
        return x - w / 2, feet - h, w, h
    x, y = _hand(host)
    grip = {"ball": rng.uniform(0.3, 0.7), "flower": rng.uniform(0.6, 0.85)}.get(wish.kind, 0.99)
    lean = rng.uniform(0.45, 0.55)
    return x - lean * w, y - grip * h, w, h


def _hand(person: Thing) -> tuple[float, float]:
    """Where a person holds what it holds: on the side it looks to, half way down."""
    x, y, w, h = person.box
    return (x + 0.1 * w if person.flip else x + 0.9 * w), y + 0.45 * h


def _spot(
    plan: Plan,
    wish: Wish,
    situation: str,
    size: str,
    known: list[tuple[int, str, int]],
    i: int,
    placed: dict[int, Thing],
    rng: np.random.Generator,
) -> tuple[Box, str] | None:
    """A place on the ground, in the water or in the sky, drawn towards where the relations want it."""
    open_ = [b for b in bands(plan.stuffs) if b[0] in ((wish.ground,) if wish.ground else STANDS[wish.kind])]
    if wish.pose in ("flying", "swimming"):
        open_ = [b for b in open_ if b[0] == ("sky" if wish.pose == "flying" else "water")]
    elif wish.pose and wish.kind in ANIMALS:
        open_ = [b for b in open_ if b[0] not in ("sky", "water")]
    if not open_:
        return None
    areas = np.array([bottom - top for _, top, bottom in open_])
    kind, top, bottom = open_[rng.choice(len(open_), p=areas / areas.sum())]
    horizon = min([t for k, t, _ in bands(plan.stuffs) if k not in ("sky", "mountain", "wall")], default=1.0)
    other = _pull(known, i, placed, rng)
    if kind == "sky":
        return _in_the_sky(wish, size, top, bottom, other, rng), "sky"
    w, h = EXTENT[wish.kind]
    back = 0.5 if h > 0.3 or w > 0.32 else 1.0
    feet = rng.uniform(top + 0.02, top + 0.02 + max(0.01, back * (min(bottom, 0.99) - top - 0.03)))
    if other and other[0] not in ("above", "below"):
        ahead = {"in front of": (0.02, 0.2), "behind": (-0.2, -0.02), "under": (0.0, 0.05)}.get(other[0], (-0.08, 0.08))
        feet = float(np.clip(_feet(other[1]) + rng.uniform(*ahead), top + 0.01, min(bottom - 0.005, 0.99)))
    scale = (0.62 + 0.7 * (feet - horizon) / max(0.3, 1 - horizon)) * _SCALE[size] * rng.uniform(0.94, 1.06)
    scale = min(scale, (feet - 0.01) / h, 0.9 / w)
    w, h = w * scale, h * scale
    return (_across(w, other, rng), feet - h, w, h), "water" if kind == "water" else situation


def _in_the_sky(
    wish: Wish, size: str, top: float, bottom: float, other: tuple[str, Thing] | None, rng: np.random.Generator
) -> Box:
    scale = rng.uniform(0.65, 1.1) * _SCALE[size]
    w, h = (v * scale for v in EXTENT[wish.kind])
    fit = min(1.0, (bottom - top) * 0.95 / h)
    w, h = w * fit, h * fit
    return _across(w, other, rng), rng.uniform(top + 0.01, max(top + 0.011, bottom - h - 0.01)), w, h


def _pull(
    known: list[tuple[int, str, int]], i: int, placed: dict[int, Thing], rng: np.random.Generator
) -> tuple[str, Thing] | None:
    """One of the relations as wish i sees it, and the other thing."""
    if not known:
        return None
    subject, predicate, object_ = known[rng.integers(len(known))]
    if subject == i:
        return predicate, placed[object_]
    return INVERSE.get(predicate, "behind" if predicate == "in front of" else predicate), placed[subject]


def _across(w: float, other: tuple[str, Thing] | None, rng: np.random.Generator) -> float:
    low, high = 0.01, max(0.011, 0.99 - w)
    if other is None:
        return rng.uniform(low, high)
    predicate, thing = other
    if predicate == "left of":
        return rng.uniform(low, max(low + 0.001, min(high, _middle(thing) - w)))
    if predicate == "right of":
        return rng.uniform(min(high, max(low, _middle(thing))), high + 0.001)
    reach = 0.5 * (w + thing.box[2]) * (0.75 if predicate in ("in front of", "behind") else 0.55)
    return float(np.clip(_middle(thing) + rng.uniform(-reach, reach) - w / 2, low, high))


def _pose(kind: str, situation: str, rng: np.random.Generator) -> str:
    """A pose that the kind has and the situation allows."""
    special = {"sky": ("flying",), "water": ("swimming",), "ride": ("riding", "sitting"), "seat": ("sitting",)}
    wanted = [p for p in special.get(situation, ()) if p in POSES[kind]]
    if wanted:
        return wanted[0]
    elsewhere = ("flying", "swimming", "riding")
    still = ("running", "walking", "lying") if situation == "perch" else ("lying",) if situation == "held" else ()
    usual = [p for p in POSES[kind] if p not in (*elsewhere, *still)] or list(POSES[kind])
    return str(rng.choice(usual))


def bands(stuffs: Sequence[Stuff]) -> list[tuple[str, float, float]]:
    """(kind, top, bottom) of the rows of each stuff that no later one paints over."""
    out = []
    for k, stuff in enumerate(stuffs):
        bottom = min([stuff.bottom, *(s.top for s in stuffs[k + 1 :] if s.top > stuff.top)])
        out.append((stuff.kind, stuff.top, bottom))
    return out


def _seen(thing: Thing, far: float, placed: dict[int, Thing], depth: dict[int, float], free: set[int]) -> bool:
    """Whether enough of it, and of each thing behind it, stays in view. free: what it may cover, being carried."""
    nearer = [t.box for j, t in placed.items() if depth[j] > far and j not in free]
    if _covered(thing.box, nearer) > 0.5:
        return False
    for j, other in placed.items():
        if depth[j] < far and j not in free:
            over = [t.box for k, t in placed.items() if depth[k] > depth[j]]
            if _shared(thing.box, other.box) > 0 and _covered(other.box, [*over, thing.box]) > 0.55:
                return False
    return True


_CELLS = (np.arange(8) + 0.5) / 8


def _covered(box: Box, over: list[Box]) -> float:
    """Share of a box that others cover."""
    x, y = box[0] + box[2] * _CELLS[None, :], box[1] + box[3] * _CELLS[:, None]
    hidden = np.zeros((8, 8), dtype=bool)
    for left, top, w, h in over:
        hidden |= (x >= left) & (x <= left + w) & (y >= top) & (y <= top + h)
    return float(hidden.mean())


def _overlap(a: float, length: float, b: float, other: float) -> float:
    return min(a + length, b + other) - max(a, b)


def _shared(a: Box, b: Box) -> float:
    """Intersection of two boxes over the smaller one."""
    w, h = _overlap(a[0], a[2], b[0], b[2]), _overlap(a[1], a[3], b[1], b[3])
    return max(0.0, w) * max(0.0, h) / max(1e-9, min(a[2] * a[3], b[2] * b[3]))


def _middle(thing: Thing) -> float:
    return thing.box[0] + thing.box[2] / 2


def _feet(thing: Thing) -> float:
    return thing.box[1] + thing.box[3]


def _rounded(box: Box) -> Box:
    x, y, w, h = (round(float(v), 5) for v in box)
    return x, y, w, h
