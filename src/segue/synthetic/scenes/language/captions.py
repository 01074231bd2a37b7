"""Scenes in lexicon. What is said is true; much that is to be seen is left unsaid on purpose, as in the web's captions.

Owners are counted as `draw.Drawn.owner` counts them: the stuffs of the scene first, then its things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from segue.data.english import article, plural
from segue.synthetic.scenes.language import lexicon
from segue.synthetic.scenes.language.parser import Request, Wanted, parse, scene_of, text_to_image
from segue.synthetic.scenes.placement import INVERSE, RIDDEN, ground
from segue.synthetic.scenes.render import POSES
from segue.synthetic.scenes.sampling import pick, world_of
from segue.synthetic.scenes.scene import PEOPLE, STUFFS, Scene, Thing

__all__ = ["LeftOut", "Link", "Request", "Told", "Wanted", "captions", "noisy", "parse", "scene_of", "text_to_image"]

SEEN = 0.0015  # share of the picture from which something is there to be told
Fact = tuple[int, str, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Link:
    """Characters start..end (end excluded) of a caption, and the owners that they name."""

    start: int
    end: int
    owners: tuple[int, ...]


@dataclass(frozen=True)
class LeftOut:
    """What is to be seen and a caption doesn't say. things, stuffs: owners. attributes: (owner, "colour" | "size" |
    "pose"), a medium size and a pose without a word not being any. relations: (owner, predicate, owner), what a thing
    is on among them. light: whether the light is left out.
    """

    things: tuple[int, ...]
    stuffs: tuple[int, ...]
    attributes: tuple[tuple[int, str], ...]
    relations: tuple[Fact, ...]
    light: bool


@dataclass(frozen=True)
class Told:
    """One caption: its text, what its phrases name, and what it leaves out."""

    text: str
    phrases: tuple[Link, ...]
    left_out: LeftOut


def captions(
    scene: Scene, visible: Sequence[float], seed: int | Iterable[int], n: int = 5, world: str = "a"
) -> list[Told]:
    """n captions of a scene, of 5 to 18 words, no two alike if that can be had.

    visible: the share of the picture that each owner has, 0 to 1: only what has at least SEEN of it is told.
    seed: a number or several. world: whose words are used. Raises InputError for an unknown world.
    """
    world_of(world)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 7])
    view = _View(scene, np.asarray(visible, dtype=float), rng, world)
    told: dict[str, Told] = {}
    spare: list[Told] = []
    for _ in range(4 * n):
        one = _caption(view)
        if one.text.lower().rstrip(".") in told:
            spare.append(one)
        else:
            told[one.text.lower().rstrip(".")] = one
        if len(told) == n:
            break
    return [*told.values(), *spare][:n]


def facts(scene: Scene) -> tuple[Fact, ...]:
    """The relations of a scene between owners, and what stuff each thing is on."""
    m = len(scene.stuffs)
    among = tuple((s + m, p, o + m) for s, p, o in scene.relations)
    below = ((k + m, "on", g) for k in range(len(scene.things)) if (g := ground(scene, k)) is not None)
    return among + tuple(f for f in below if scene.stuffs[f[2]].kind != "sky")


def attributes(scene: Scene, position: int) -> tuple[str, ...]:
    """Which attributes of a thing can be told: "colour", "size" unless medium, "pose" when there is a word for it."""
    thing = scene.things[position]
    size = ("size",) if thing.size != "medium" else ()
    return ("colour", *size, *(("pose",) if _tellable(thing) else ()))


def _tellable(thing: Thing) -> bool:
    """Whether its pose has a word, and its kind another pose than this."""
    return thing.pose in lexicon.POSES and len(POSES[thing.kind]) > 1


# ------------------------------------------------------------------------------------------------ what is in view


@dataclass(frozen=True)
class _Group:
    """Things told together: positions in things; whole: all that are in view of their kind (or all people)."""

    members: tuple[int, ...]
    kind: str
    whole: bool = True


class _View:
    """A scene as somebody looks at it who is to tell it: what is in view, how large, on what."""

    def __init__(self, scene: Scene, visible: np.ndarray, rng: np.random.Generator, world: str) -> None:
        m = len(scene.stuffs)
        self.scene, self.rng, self.world, self.first = scene, rng, world, m
        self.share = visible
        self.things = [k for k in range(len(scene.things)) if visible[m + k] >= SEEN]
        self.stuffs = {
            kind: [k for k, s in enumerate(scene.stuffs) if s.kind == kind and visible[k] >= SEEN] for kind in STUFFS
        }
        seen = {k for ks in self.stuffs.values() for k in ks} | {m + k for k in self.things}
        self.facts = [f for f in facts(scene) if f[0] in seen and f[2] in seen]
        self.true = {f: f for f in self.facts} | {
            (o, INVERSE.get(p, "behind"), s): (s, p, o) for s, p, o in self.facts if p in INVERSE or p == "in front of"
        }

    def say(self, *table: dict[str, tuple[T, ...]]) -> T:
        """One of this world's lexicon."""
        choice = [w for t in table for w in t[self.world]]
        return choice[self.rng.integers(len(choice))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def groups(self) -> list[_Group]:
        """What a teller notices of the things in view, by kind; people of several kinds sometimes together."""
        kinds: dict[str, list[int]] = {}
        together = self.chance(0.35)
        for k in self.things:
            kind = self.scene.things[k].kind
            kinds.setdefault("people" if together and kind in PEOPLE else kind, []).append(k)
        out = []
        for kind, members in kinds.items():
            one = {self.scene.things[k].kind for k in members}
            out.append(_Group(tuple(members), kind if len(one) > 1 or self.chance(0.3) else next(iter(one))))
        return [g for g in out if self.chance(0.05 + 1.4 * lexicon.TELL.get(g.kind, 1.0))] or out

    def floor(self, group: _Group, told: Sequence[_Group] = ()) -> str | None:
        """The kind of stuff in view that all of them are on or, flying, in; a carrier's when it was told."""
        carriers = {k for g in told for k in g.members}
        kinds = {self._floor(k, carriers) for k in group.members}
        only = kinds.pop() if len(kinds) == 1 else None
        return only if only and self.stuffs[only] and only not in ("mountain", "wall") else None

    def _floor(self, k: int, carriers: set[int]) -> str | None:
        for s, p, o in self.scene.relations:
            if p == "on" and s == k and o in carriers:
                return self._floor(o, carriers)
        at = ground(self.scene, k)
        return None if at is None else self.scene.stuffs[at].kind

    def between(self, a: _Group, b: _Group) -> list[str]:
        """Predicates that hold from every member of a to every one of b."""
        pairs = [(i + self.first, j + self.first) for i in a.members for j in b.members]
        predicates = {p for s, p, o in self.true if (s, o) == pairs[0]}
        return sorted(p for p in predicates if all((s, p, o) in self.true for s, o in pairs))

    def near(self, a: _Group, b: _Group) -> bool:
        """Whether there is little room between any of them."""
        boxes = [self.scene.things[k].box for k in (a.members[0], b.members[0])]
        (ax, ay, aw, ah), (bx, by, bw, bh) = boxes
        return max(bx - ax - aw, ax - bx - bw) < 0.18 and abs(ay + ah - by - bh) < 0.15

    def weight(self, group: _Group) -> float:
        """How much a group asks to be told."""
        size = sum(float(self.share[self.first + k]) for k in group.members)
        return lexicon.TELL.get(group.kind, 1.0) ** 1.5 * (0.05 + size) ** 0.5


# ------------------------------------------------------------------------------------------------ sentences


@dataclass
class _Sentence:
    """A caption in the making: pieces of text, each with the owners it names; and what was said."""

    pieces: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    said: set[tuple[int, str]] = field(default_factory=set)  # (owner, attribute)
    relations: set[Fact] = field(default_factory=set)
    light: bool = False

    def add(self, *texts: str) -> None:
        self.pieces += [(text, ()) for text in texts if text]

    def name(self, text: str, owners: Iterable[int]) -> None:
        self.pieces.append((text, tuple(owners)))

    @property
    def owners(self) -> set[int]:
        return {k for _, owners in self.pieces for k in owners}

    @property
    def length(self) -> int:
        return sum(len(text.split()) for text, _ in self.pieces)


def _caption(view: _View) -> Told:
    """A sentence of 5 to 18 lexicon."""
    target = int(np.clip(view.rng.normal(10, 2.8), 6, 17))
    while True:
        sentence = _Sentence()
        groups = view.groups()
        if groups:
            FRAMES[pick(view.rng, {f: w for f, (w, _) in FRAMES.items()})][1](view, sentence, groups)
        else:
            _empty(view, sentence)
        for _ in range(4):
            if sentence.length < target:
                _tail(view, sentence, groups)
        if 5 <= sentence.length <= 18:
            return _told(view, sentence)


def _told(view: _View, sentence: _Sentence) -> Told:
    text, links = "", []
    for piece, owners in sentence.pieces:
        text += ("" if not text or piece.startswith(",") else " ") + piece
        if owners:
            links.append(Link(len(text) - len(piece), len(text), owners))
    style = view.rng.random()
    text = text[0].upper() + text[1:] if style < 0.75 else text
    return Told(text + ("." if style < 0.55 else ""), tuple(links), _left_out(view, sentence))


def _left_out(view: _View, sentence: _Sentence) -> LeftOut:
    named, m = sentence.owners, view.first
    told = [(m + k, what) for k in view.things for what in attributes(view.scene, k)]
    return LeftOut(
        things=tuple(m + k for k in view.things if m + k not in named),
        stuffs=tuple(k for ks in view.stuffs.values() for k in ks if k not in named),
        attributes=tuple(a for a in told if a not in sentence.said),
        relations=tuple(f for f in view.facts if f not in sentence.relations),
        light=not sentence.light,
    )


def _subject(view: _View, groups: list[_Group]) -> _Group:
    weights = {str(i): view.weight(g) for i, g in enumerate(groups)}
    return groups[int(pick(view.rng, weights))]


def _clause_frame(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """a black dog (is) running on the grass; a man holding a red balloon."""
    subject = _subject(view, groups)
    single = _singled_out(view, subject)
    opening = view.rng.random()
    if opening < 0.14:
        s.add(view.say(lexicon.OPENINGS))
    elif opening < 0.3:
        s.add(view.say(lexicon.THERE_MANY if len(subject.members) > 1 and not single else lexicon.THERE_ONE))
    _clause(
        view,
        s,
        single or subject,
        groups,
        finite=opening >= 0.3 and view.chance(0.45) and _can_act(view, s, single or subject),
    )


def _two_clauses(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """a man riding a horse and a dog running on the grass."""
    able = [g for g in groups if _can_act(view, s, g)]
    if len(groups) < 2 or not able:
        return _clause_frame(view, s, groups)
    first = _subject(view, able)
    finite = view.chance(0.5)
    used = _clause(view, s, first, groups, finite)
    rest = [g for g in groups if g not in used and _can_act(view, s, g)]
    if rest:
        s.add(view.say(lexicon.JOINS if finite else lexicon.LOOSE_JOINS))
        _clause(view, s, _subject(view, rest), rest, finite)
    return None


def _listing(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """a man, a dog and a red car; a man and a dog on the beach."""
    if len(groups) < 2:
        return _clause_frame(view, s, groups)
    if view.chance(0.3):
        s.add(view.say(lexicon.OPENINGS))
    chosen = _some(view, groups, 2 if view.chance(0.7) else 3)
    _names(view, s, chosen)
    floors = {view.floor(g) for g in chosen}
    only = floors.pop() if len(floors) == 1 else None
    if only and view.chance(0.75):
        _on_stuff(view, s, [k for g in chosen for k in g.members], only)
    return None


def _place(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """a sandy beach with two people and a dog."""
    there = [kind for kind in lexicon.HEADS if view.stuffs[kind]]
    if not there:
        return _clause_frame(view, s, groups)
    kind = there[view.rng.integers(len(there))]
    if view.chance(0.25) and not (opening := view.say(lexicon.OPENINGS)).endswith("with"):
        s.add(opening)
    s.name(view.say(lexicon.HEADS[kind]), view.stuffs[kind])
    s.add("with")
    _names(view, s, _some(view, groups, 1 if view.chance(0.5) else 2))
    return None


def _inverse(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """a bench with a bird on it."""
    pairs = [
        (a, b, p)
        for a in groups
        for b in groups
        if a is not b
        for p in view.between(a, b)
        if p in ("on", "under", "in front of", "behind", "above") and not (b.kind in RIDDEN and a.kind in PEOPLE)
    ]
    if not pairs:
        return _clause_frame(view, s, groups)
    a, b, predicate = pairs[view.rng.integers(len(pairs))]
    if view.chance(0.3):
        s.add(view.say(lexicon.THERE_MANY if len(b.members) > 1 else lexicon.THERE_ONE))
    _name(view, s, b)
    s.add("with")
    _name(view, s, a)
    how = "atop" if predicate == "on" and b.kind not in ("bench", "boat") else predicate
    s.add(view.say(lexicon.RELATIONS[how]), _pronoun(view, b))
    _state(view, s, a, predicate, b)
    return None


def _fronted(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """on the grass, a dog is lying; in the field there are two horses."""
    subject = _subject(view, groups)
    floor = view.floor(subject)
    if not floor or floor == "sky":
        return _clause_frame(view, s, groups)
    _on_stuff(view, s, subject.members, floor)
    many = len(subject.members) > 1
    if view.chance(0.5) or not _pose_words(view, subject):
        s.add(view.say(lexicon.THERE_MANY if many else lexicon.THERE_ONE))
        _name(view, s, subject)
    else:
        s.add(",")
        _name(view, s, subject)
        _act(view, s, subject, finite=True)
    return None


def _empty(view: _View, s: _Sentence) -> None:
    """Nothing but background."""
    there = [kind for kind in lexicon.HEADS if view.stuffs[kind]] or [k for k in lexicon.HEADS if k == "grass"]
    s.add(view.say(lexicon.OPENINGS))
    s.name(view.say(lexicon.HEADS[there[0]]), view.stuffs[there[0]])
    _sky(view, s)


Frame = Callable[[_View, _Sentence, list[_Group]], None]
FRAMES: dict[str, tuple[float, Frame]] = {
    "clause": (5.0, _clause_frame),
    "two clauses": (1.6, _two_clauses),
    "listing": (1.4, _listing),
    "place": (1.2, _place),
    "inverse": (0.7, _inverse),
    "fronted": (0.7, _fronted),
}


# ------------------------------------------------------------------------------------------------ parts of sentences


def _clause(view: _View, s: _Sentence, subject: _Group, groups: list[_Group], finite: bool) -> list[_Group]:
    """Who does what, where, to whom. Returns the groups it told."""
    _name(view, s, subject)
    bare = s.length
    related = [
        (p, other)
        for other in groups
        if not set(other.members) & set(subject.members) and not set(other.members) & _positions(view, s)
        for p in view.between(subject, other)
    ]
    close = [(p, o) for p, o in related if p in ("holding", "on", "under")]
    loose = [(p, o) for p, o in related if p not in ("holding", "on", "under")]
    told = [subject]
    if close and view.chance(0.85):
        told.append(_relate(view, s, subject, close, finite))
    elif loose and view.chance(0.4):
        told.append(_relate(view, s, subject, loose, finite))
    else:
        _act(view, s, subject, finite)
    floor = view.floor(subject, told)
    apart = len(told) > 1 and (floor == "sky" or view.floor(told[1]) not in (None, floor))
    fresh = floor and not apart and _fresh(view, s, floor)  # apart: "left of a car on the grass" would be the car's
    if floor and fresh and (s.length == bare or view.chance(0.35 + 0.5 * lexicon.TELL[floor])):
        _on_stuff(view, s, subject.members, floor)
    return told


def _positions(view: _View, s: _Sentence) -> set[int]:
    return {k - view.first for k in s.owners if k >= view.first}


def _singled_out(view: _View, group: _Group) -> _Group | None:
    """One of several that does what the others don't: holds something, is on or under something."""
    busy = [k for k in group.members if any(s == k and p in ("holding", "on") for s, p, _ in view.scene.relations)]
    if len(group.members) > 1 and busy and view.chance(0.7):
        k = busy[view.rng.integers(len(busy))]
        return _Group((k,), view.scene.things[k].kind, whole=False)
    return None


def _relate(view: _View, s: _Sentence, subject: _Group, related: list[tuple[str, _Group]], finite: bool) -> _Group:
    """is standing next to a car."""
    weights = {str(i): view.weight(o) + 0.02 for i, (_, o) in enumerate(related)}
    predicate, other = related[int(pick(view.rng, weights))]
    how = predicate
    riding = predicate == "on" and other.kind in RIDDEN and all(_is_person(view, k) for k in subject.members)
    if riding:
        how = "riding"
    elif predicate in ("left of", "right of") and view.near(subject, other) and view.chance(0.55):
        how = "beside"
    elif predicate == "on" and other.kind not in ("bench", "boat"):
        how = "atop"
    verb = how in ("riding", "holding")
    word = view.say(lexicon.RELATIONS[how])
    if finite:
        s.add("are" if len(subject.members) > 1 else "is")
    if not verb and view.chance(0.6):
        _act(view, s, subject, finite=False)
    s.add(word)
    _name(view, s, other)
    _state(view, s, subject, predicate, other)
    if riding:
        s.said |= {(view.first + k, "pose") for k in subject.members}
    return other


def _is_person(view: _View, k: int) -> bool:
    return view.scene.things[k].kind in PEOPLE


def _state(view: _View, s: _Sentence, a: _Group, predicate: str, b: _Group) -> None:
    """Note that the relation was said."""
    pairs = [(i + view.first, predicate, j + view.first) for i in a.members for j in b.members]
    s.relations |= {view.true[pair] for pair in pairs}


def _pose_words(view: _View, group: _Group) -> tuple[tuple[str, str, str], ...]:
    poses = {t.pose if _tellable(t := view.scene.things[k]) else "" for k in group.members}
    riding = any(
        s in group.members and p == "on" and view.scene.things[o].kind in RIDDEN for s, p, o in view.scene.relations
    )
    only = poses.pop() if len(poses) == 1 and not riding else ""
    return lexicon.POSES.get(only, {}).get(view.world, ())


def _can_act(view: _View, s: _Sentence, group: _Group) -> bool:
    """Whether there is something to say of what they do or where they are."""
    return bool(_pose_words(view, group)) or _idles(view, group) or _fresh(view, s, view.floor(group))


def _fresh(view: _View, s: _Sentence, floor: str | None) -> bool:
    """Whether "on" that stuff can be said and was not yet."""
    return floor in lexicon.GROUNDS and not set(view.stuffs[floor]) & s.owners


def _idles(view: _View, group: _Group) -> bool:
    carried = {k for s, p, o in view.scene.relations for k in ((s, o) if p == "on" else (o,) if p == "holding" else ())}
    return group.kind in lexicon.IDLE and not carried & set(group.members)


def _act(view: _View, s: _Sentence, group: _Group, finite: bool) -> None:
    """What they do, if there is a word for it."""
    many = len(group.members) > 1
    choice = _pose_words(view, group)
    if choice:
        doing, does, do = choice[view.rng.integers(len(choice))]
        simple = view.world == "b" and view.chance(0.6)
        s.add(
            *(
                ((do if many else does),)
                if finite and simple
                else ("are" if many else "is", doing)
                if finite
                else (doing,)
            )
        )
        s.said |= {(view.first + k, "pose") for k in group.members}
    elif _idles(view, group):
        idle = view.say(lexicon.IDLE[group.kind])
        s.add(*(("are" if many else "is", idle) if finite else (idle,)))
    elif finite and (floor := view.floor(group)) and _fresh(view, s, floor):
        s.add("are" if many else "is")
        _on_stuff(view, s, group.members, floor)


def _names(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    for i, group in enumerate(groups):
        if i:
            s.add("and" if i == len(groups) - 1 else ",")
        _name(view, s, group)


def _name(view: _View, s: _Sentence, group: _Group) -> None:
    """a small red car; two dogs; a woman in a blue shirt."""
    things = [view.scene.things[k] for k in group.members]
    owners = [view.first + k for k in group.members]
    many, person = len(things) > 1, all(t.kind in PEOPLE for t in things)
    noun = view.say(lexicon.PERSON if group.kind == "people" else lexicon.NOUNS[group.kind])
    noun = plural(noun) if many else noun
    parts, after = [], ""
    sizes, colours = {t.size for t in things}, {t.colour for t in things}
    told = lexicon.PEOPLE_SIZES if person else lexicon.SIZE_WORDS
    if (
        len(sizes) == 1
        and (size := sizes.pop()) in told
        and view.chance(0.45)
        and not noun.startswith(("young", "little"))
    ):
        parts.append(view.say(told[size]))
        s.said |= {(k, "size") for k in owners}
    if len(colours) == 1 and view.chance(0.5 if not person else 0.35):
        colour = lexicon.COLOUR_WORDS.get(c := colours.pop(), {}).get(view.world, c)
        clothes = lexicon.MANY_CLOTHES if many else lexicon.CLOTHES
        if person:
            after = lexicon.dressed(view.say(clothes), colour)
        else:
            parts.append(colour)
        s.said |= {(k, "colour") for k in owners}
    phrase = " ".join([*parts, noun])
    count = _count(view, group) if many else article(phrase)
    if s.pieces and s.pieces[-1][0] == "there are" and count.startswith(("a group", "a herd", "a flock", "a trio")):
        s.pieces[-1] = ("there is", ())
    s.name(f"{count} {phrase}", owners)
    s.add(after)


def _count(view: _View, group: _Group) -> str:
    n = len(group.members)
    if n > 2 and group.kind in lexicon.HERDS and view.chance(0.4):
        return lexicon.HERDS[group.kind]
    return view.say(lexicon.COUNTS[min(n, 7)])


def _pronoun(view: _View, group: _Group) -> str:
    if len(group.members) > 1:
        return "them"
    return {"man": "him", "woman": "her", "child": "them", "people": "them"}.get(group.kind, "it")


def _on_stuff(view: _View, s: _Sentence, members: Iterable[int], kind: str) -> None:
    """on the grass."""
    preposition, noun = view.say(lexicon.GROUNDS[kind])
    s.add(preposition)
    s.name(noun, view.stuffs[kind])
    m = view.first
    standing = {(m + k, "on", g) for k in members for g in view.stuffs[kind]}
    s.relations |= standing & set(view.facts)


def _some(view: _View, groups: list[_Group], n: int) -> list[_Group]:
    left, out = list(groups), list[_Group]()
    while left and len(out) < n:
        out.append(_subject(view, left))
        left.remove(out[-1])
    return out


# ------------------------------------------------------------------------------------------------ tails


def _tail(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """One more thing to say: what is behind, the sky, the light."""
    tails = {"behind": 1.0, "sky": 0.7, "light": 0.9, "things": 1.2}
    {"behind": _backdrop, "sky": _sky, "light": _light, "things": lambda v, s: _further(v, s, groups)}[
        pick(view.rng, tails)
    ](view, s)


def _backdrop(view: _View, s: _Sentence) -> None:
    floors = {view.floor(_Group((k,), "")) for k in view.things}
    there = [k for k in lexicon.BACKDROPS if view.stuffs[k] and not set(view.stuffs[k]) & s.owners and k not in floors]
    if s.light or not there or not view.chance(2.5 * lexicon.TELL[kind := there[view.rng.integers(len(there))]]):
        return
    before, noun, after = view.say(lexicon.BACKDROPS[kind])
    if before == "with" and any(text == "with" for text, _ in s.pieces):
        return
    s.add(before)
    s.name(noun, view.stuffs[kind])
    s.add(after)


def _sky(view: _View, s: _Sentence) -> None:
    if s.light or not view.stuffs["sky"] or set(view.stuffs["sky"]) & s.owners:
        return
    s.add("under")
    s.name(view.say(lexicon.SKIES[view.scene.light]), view.stuffs["sky"])
    s.light = True


def _light(view: _View, s: _Sentence) -> None:
    if not s.light:
        s.add(view.say(lexicon.LIGHTS[view.scene.light]))
        s.light = True


def _further(view: _View, s: _Sentence, groups: list[_Group]) -> None:
    """with a tree and a house in the background: what is painted before all that was named."""
    named = _positions(view, s)
    if s.light or not named or any(text == "with" or text in lexicon.FAR[view.world] for text, _ in s.pieces):
        return
    far = [g for g in groups if max(g.members) < min(named) and g.kind != "people"]
    far = [g for g in far if view.chance(min(1.0, 0.25 + lexicon.TELL[g.kind]))][:2]
    if far:
        s.add("with")
        _names(view, s, far)
        s.add(view.say(lexicon.FAR))


# ------------------------------------------------------------------------------------------------ noise of the web

_TAGS = ("#photo", "#love", "#nature", "#instagood", "#travel", "#wow", "#2019", "#nofilter")
_BEFORE = ("Stock Photo:", "FILE -", "Royalty free image:", "HD Wallpaper -", "Photo of the day:", "NEW!!", "[OC]")
_AFTER = (
    "| Stock Photo",
    "- Pinterest",
    "by John Smith",
    "(c) 2016",
    "- Free Download",
    "&amp; more",
    "...click here",
    "@ 300dpi",
)


def noisy(caption: str, rng: np.random.Generator) -> str:
    """A caption as the web has them: with tags, file names, foreign words, cut off, in title case. The words that stay
    are the caption's, so `parse(..., strict=False)` still finds most of it.
    """
    split = caption.split()
    if rng.random() < 0.3 and len(split) > 6:
        split = split[: int(rng.integers(5, len(split)))]
        caption = " ".join(split) + "..."
    for chance, change in (
        (0.25, lambda c: c.title()),
        (0.35, lambda c: f"{c} {' '.join(rng.choice(_TAGS, int(rng.integers(1, 4)), replace=False))}"),
        (0.3, lambda c: f"{rng.choice(_BEFORE)} {c}"),
        (0.3, lambda c: f"{c} {rng.choice(_AFTER)}"),
        (0.15, lambda c: f"{'_'.join(re.findall('[a-z]+', c.lower())[:4])}_{rng.integers(1, 99):02d}.jpg {c}"),
        (0.15, lambda c: f"IMG_{rng.integers(1000, 9999)}.JPG {c}"),
        (0.08, lambda c: c.upper()),
    ):
        if rng.random() < chance:
            caption = str(change(caption))
    return caption
