"""Where things go: a plan of what a scene must hold, laid out so that all it says is true by geometry.

A thing stands on the stuff at its feet. Lower in the picture is nearer, and nearer is larger and painted later. Lengths
are in units of the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from segue.synthetic.scenes.render import EXTENT, NATURAL, POSES, SEATS, measure, spots
from segue.synthetic.scenes.scene import ANIMALS, PEOPLE, SIZES, THINGS, Scene, Stuff, Thing

Box = tuple[float, float, float, float]
Bounds = tuple[float, float]

_SOLID = ("grass", "road", "sand", "snow")
STANDS: dict[str, tuple[str, ...]] = dict.fromkeys(THINGS, _SOLID) | {
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
    "man": {  # who sits reaches down with the feet
        "bicycle": ((0.25, 0.75), (0.5, 1.1)),
        "horse": ((0.25, 0.75), (0.4, 1.0)),
        "bench": ((0.2, 0.8), (0.7, 1.2)),
        "boat": ((0.2, 0.8), (0.6, 1.1)),
    },
}
PERCHES["woman"] = PERCHES["child"] = PERCHES["man"]
RIDDEN = ("bicycle", "horse")
ROOFS = ("tree", "umbrella")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
CLOSE = 0.9  # a middle distance is a little farther here than in `draw`: more has room
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

    strict: all of it; otherwise relations that no two such things have, and wishes that find no room, are left out.
    """
    plan = plan if strict else replace(plan, relations=tuple(r for r in plan.relations if _possible(plan, r)))
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


def _possible(plan: Plan, relation: tuple[int, str, int]) -> bool:
    """Whether things of these kinds can ever be so related."""
    subject, predicate, object_ = relation
    a, b = plan.wishes[subject].kind, plan.wishes[object_].kind
    if predicate == "on":
        return b in PERCHES.get(a, {})
    return predicate != "holding" or (a in PEOPLE and b in HELD)


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
    _, y, _, h = scene.things[position].box
    row = y + h / 2 if flies(scene.things[position]) else y + h
    return max((k for k, s in enumerate(scene.stuffs) if s.top <= row <= s.bottom), default=None)


def _left(a: Thing, b: Thing) -> bool:
    beside = a.box[0] + a.box[2] <= _middle(b) and _middle(a) <= b.box[0]
    return beside and flies(a) == flies(b) and _overlap(a.box[1], a.box[3], b.box[1], b.box[3]) > 0


def _above(a: Thing, b: Thing) -> bool:
    clear = _feet(a) <= b.box[1] + 0.02
    return flies(a) and clear and _overlap(a.box[0], a.box[2], b.box[0], b.box[2]) > 0.3 * min(a.box[2], b.box[2])


def _on(a: Thing, b: Thing) -> bool:
    if b.kind not in PERCHES.get(a.kind, {}):
        return False
    (left, right), (top, low) = PERCHES[a.kind][b.kind]
    x, y, w, h = b.box
    return x + (left - 0.1) * w <= _middle(a) <= x + (right + 0.1) * w and (
        y + (top - 0.1) * h <= _feet(a) <= y + (low + 0.1) * h
    )


def _holding(a: Thing, b: Thing) -> bool:
    """What is held touches who holds it, or is up from there on its string."""
    if a.kind not in PEOPLE or b.kind not in HELD:
        return False
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    apart = max(ax - bx - bw, bx - ax - aw, ay - by - bh, by - ay - ah)
    return apart <= (0.45 if b.kind == "kite" else 0.02) and by + bh <= ay + ah + 0.02


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
    guest = next((r for r in known if _is_guest(i, r) and r[1] in ("on", "holding")), None)
    host = None if guest is None else guest[0] if guest[2] == i else guest[2]
    free = {r[0] if r[2] == i else r[2] for r in known if r[1] in ("on", "holding", "under")}
    roles = _roles(plan, i)
    for _ in range(3):
        body = _body(plan, i, None if host is None else placed[host], guest[1] if guest else "", rng)
        for _ in range(14 if body else 0):
            assert body
            box = _spot(plan, body, None if host is None else placed[host], _pull(known, i, placed, rng), roles, rng)
            if box is None:
                continue
            thing = replace(body.thing, box=_rounded(box))
            far = depth[host] + 0.002 * (1 + rng.random()) if host is not None else _depth(thing, body.band)
            pairs = {j: (thing, other) if far < depth[j] else (other, thing) for j, other in placed.items()}
            if all(_holds_between(thing, r, i, pairs) for r in known) and _seen(thing, far, placed, depth, free):
                return thing, far
    return None


def _depth(thing: Thing, band: tuple[str, float, float] | None) -> float:
    """In what order it is painted: the sky's things first, then by their feet."""
    return _feet(thing) - (1.0 if band and band[0] == "sky" else 0.0)


def _holds_between(thing: Thing, relation: tuple[int, str, int], i: int, pairs: dict[int, tuple[Thing, Thing]]) -> bool:
    subject, predicate, object_ = relation
    pair = pairs[object_ if subject == i else subject]
    mine = pair.index(thing)
    return holds(pair, (mine, predicate, 1 - mine) if subject == i else (1 - mine, predicate, mine))


@dataclass(frozen=True)
class _Body:
    """A wish made flesh, before it has a place. band: the rows of the stuff it is to be on, None when carried. extent:
    width and height at a middle distance.
    """

    thing: Thing
    band: tuple[str, float, float] | None
    extent: tuple[float, float]


def _body(plan: Plan, i: int, host: Thing | None, link: str, rng: np.random.Generator) -> _Body | None:
    """Whatever a wish leaves open is chosen; None when no stuff of the plan suits it. link: predicate to the host."""
    wish = plan.wishes[i]
    size = wish.size or str(rng.choice(SIZES, p=(0.22, 0.56, 0.22)))
    if link == "on" and (host is None or host.kind not in PERCHES.get(wish.kind, {})):
        return None
    if link == "holding" and (host is None or host.kind not in PEOPLE or wish.kind not in HELD):
        return None
    band = None if link in ("on", "holding") else _band(plan, wish, rng)
    if band is None and link not in ("on", "holding"):
        return None
    situation = "held" if link == "holding" else _seat(wish, host) if link == "on" and host else band[0] if band else ""
    if any(p == "holding" and s == i for s, p, _ in plan.relations):
        situation = "busy" if situation not in ("ride", "seat") else situation
    pose = wish.pose or _pose(wish.kind, situation, rng)
    seed, flip = int(rng.integers(2**31)), bool(rng.random() < 0.5)
    flip = host.flip if host and host.kind in RIDDEN else flip
    colour = wish.colour or str(rng.choice(NATURAL[wish.kind]))
    w, h = measure(wish.kind, pose, seed, colour, _roles(plan, i))
    thing = Thing(wish.kind, colour, size, pose, (0.0, 0.0, 1.0, 1.0), flip, seed)
    return _Body(thing, band, (CLOSE * w * _SCALE[size], CLOSE * h * _SCALE[size]))


def _roles(plan: Plan, i: int) -> frozenset[str]:
    """What a thing does, as the drawing wants to know it (see `draw.roles_of`)."""
    on = {o for s, p, o in plan.relations if p == "on" and s == i}
    rides = any(plan.wishes[o].kind in SEATS for o in on)
    holds_ = any(p == "holding" and s == i for s, p, _ in plan.relations)
    return frozenset((["riding"] if rides else []) + (["holding"] if holds_ else []))


def _seat(wish: Wish, host: Thing) -> str:
    return ("ride" if host.kind in RIDDEN else "seat") if wish.kind in PEOPLE and host.kind in SEATS else "perch"


def _band(plan: Plan, wish: Wish, rng: np.random.Generator) -> tuple[str, float, float] | None:
    """The rows of one of the stuffs on which a wish can be."""
    open_ = [b for b in bands(plan.stuffs) if b[0] in ((wish.ground,) if wish.ground else STANDS[wish.kind])]
    if wish.pose in ("flying", "swimming"):
        open_ = [b for b in open_ if b[0] == ("sky" if wish.pose == "flying" else "water")]
    elif wish.pose and wish.kind in ANIMALS:
        open_ = [b for b in open_ if b[0] not in ("sky", "water")]
    open_ = [b for b in open_ if b[2] - b[1] > 0.04]
    if not open_:
        return None
    areas = np.array([bottom - top for _, top, bottom in open_])
    return open_[rng.choice(len(open_), p=areas / areas.sum())]


def _spot(
    plan: Plan,
    body: _Body,
    host: Thing | None,
    pull: tuple[str, Thing] | None,
    roles: frozenset[str],
    rng: np.random.Generator,
) -> Box | None:
    """One place to try."""
    if body.band is None and host:
        return _carried_box(body, host, roles, rng)
    assert body.band
    kind, top, bottom = body.band
    w, h = body.extent
    if kind == "sky":
        scale = rng.uniform(0.65, 1.1)
        w, h = w * scale, h * scale
        if h > bottom - top or w > 0.9:
            return None
        return _across(w, pull, rng), rng.uniform(top + 0.01, max(top + 0.011, bottom - h - 0.01)), w, h
    horizon = min([t for k, t, _ in bands(plan.stuffs) if k not in ("sky", "mountain", "wall")], default=1.0)
    back = 0.5 if h > 0.3 or w > 0.32 else 1.0
    feet = rng.uniform(top + 0.02, top + 0.02 + max(0.01, back * (min(bottom, 0.99) - top - 0.03)))
    if pull and pull[0] not in ("above", "below"):
        ahead = {"in front of": (0.02, 0.2), "behind": (-0.2, -0.02), "under": (0.0, 0.05)}.get(pull[0], (-0.08, 0.08))
        feet = float(np.clip(_feet(pull[1]) + rng.uniform(*ahead), top + 0.01, min(bottom - 0.005, 0.99)))
    scale = (0.62 + 0.7 * (feet - horizon) / max(0.3, 1 - horizon)) * rng.uniform(0.94, 1.06)
    fit = min(scale, (feet - 0.01) / h, 0.96 / w)
    if fit < 0.8 * scale:  # it would not look its size
        return None
    return _across(w * fit, pull, rng), feet - h * fit, w * fit, h * fit


def _carried_box(body: _Body, host: Thing, roles: frozenset[str], rng: np.random.Generator) -> Box | None:
    """At the place of its host where it belongs, in the host's scale."""
    scale = host.box[3] / (_measured(host.kind, host.pose, host.seed, host.colour)[1] * CLOSE * _SCALE[host.size])
    w, h = (v * scale for v in body.extent)
    thing = replace(body.thing, box=(0.0, 0.0, w, h))
    if body.band is None and body.thing.kind in HELD:
        grip, (x, y) = _spots(thing)["grip"], _spots(host, frozenset({"holding"}))["hand"]
        if body.thing.kind == "kite":  # on its string
            x += rng.uniform(0.05, 0.3) * (-1 if host.flip else 1)
            y -= rng.uniform(0.12, 0.4)
        box = x - grip[0], y - grip[1], w, h
        return box if box[1] >= 0 and box[0] > -0.02 and box[0] + w < 1.02 else None
    back = _spots(host).get("back")
    if back and roles & {"riding"} and body.thing.kind in PEOPLE:
        seat = _spots(thing, roles)["seat"]
        aside = rng.uniform(-0.3, 0.3) * host.box[2] if host.kind in ("bench", "boat") else 0.0
        return back[0] + aside - seat[0], back[1] - seat[1], w, h
    (left, right), (top, low) = PERCHES[body.thing.kind][host.kind]
    x = host.box[0] + rng.uniform(left, right) * host.box[2]
    feet = back[1] if back and host.kind in ANIMALS else host.box[1] + rng.uniform(top, low) * host.box[3]
    return x - w / 2, feet - h, w, h


_measured = lru_cache(maxsize=64)(measure)  # a host is asked for again with every proposal
_spots = lru_cache(maxsize=64)(spots)


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
    special = {"sky": "flying", "water": "swimming", "ride": "sitting", "seat": "sitting"}
    if special.get(situation) in POSES[kind]:
        return special[situation]
    unfit = {"perch": ("running", "walking", "lying", "jumping"), "busy": ("jumping", "waving")}.get(situation, ())
    usual = [p for p in POSES[kind] if p not in ("flying", "swimming", "closed", *unfit)]
    return str(rng.choice(usual or list(POSES[kind])))


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
