"""Parsing of captions: from a sentence of `language.captions` to what it asks for, and to a scene that shows it.

A sentence is a chain of clauses. A clause is its subjects (nouns joined by "and"), then what they do, where, to whom:
every relation is the subjects', and after an object "and" begins the next clause. "with" begins a clause whose
relations may point back: "a bench with a bird on it".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segue.data.english import plural
from segue.synthetic.scenes.language import lexicon
from segue.synthetic.scenes.placement import MAY_BE_ON, STANDS_ON, ScenePlan, ThingSpec, lay_out
from segue.synthetic.scenes.render import POSES, render
from segue.synthetic.scenes.sampling import SETTINGS, Layer, sample_background
from segue.synthetic.scenes.scene import COLOURS, PEOPLE, STUFF_CLASSES, THING_CLASSES, Scene, Stuff
from segue.types import InputError


@dataclass(frozen=True)
class RequestedThings:
    """Things that a caption names together. kinds: any of these is right. count: fewest and most. ground: the stuff
    that they are on. What the caption does not say is None.
    """

    kinds: tuple[str, ...]
    count: tuple[int, int] = (1, 1)
    colour: str | None = None
    size: str | None = None
    pose: str | None = None
    ground: str | None = None


@dataclass(frozen=True)
class SceneRequest:
    """What a caption asks for. relations: (subject, predicates of which one is enough, object), positions in things."""

    things: tuple[RequestedThings, ...]
    stuff: tuple[str, ...] = ()
    relations: tuple[tuple[int, tuple[str, ...], int], ...] = ()
    light: str | None = None


def parse(caption: str, strict: bool = True) -> SceneRequest:
    """What a caption asks for.

    Raises InputError that lists unknown words; with strict=False they are ignored, as are hash tags and file names.
    """
    items, unknown = _items(caption, strict)
    if strict and unknown:
        raise InputError(
            f"caption {caption!r}: can't draw {', '.join(repr(w) for w in dict.fromkeys(unknown))}; "
            f"use other words (things: {', '.join(THING_CLASSES)}; stuff: {', '.join(STUFF_CLASSES)}), or strict=False"
        )
    reader = _RequestBuilder()
    for kind, value in items:
        reader.read(kind, value)
    if strict and not reader.things and not reader.stuff:
        raise InputError(
            f"caption {caption!r}: names nothing to draw; name one of {', '.join((*THING_CLASSES, *STUFF_CLASSES))}"
        )
    return SceneRequest(tuple(reader.things), tuple(reader.stuff), tuple(reader.relations), reader.light)


def scene_from_caption(caption: str, seed: int | Iterable[int], strict: bool = True) -> Scene:
    """A scene that shows what a caption says and no other things; what the caption leaves open is chosen at random.

    seed: a number or several. Raises InputError when the caption isn't understood (see `parse`), or asks for what does
    not fit into one picture.
    """
    request = parse(caption, strict)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 11])
    for _ in range(60):
        scene = lay_out(_plan(request, rng), rng)
        if scene is not None:
            return scene
    if not strict:
        scene = lay_out(_plan(request, rng), rng, strict=False)
        assert scene is not None  # with strict=False what does not fit is dropped
        return scene
    raise InputError(f"caption {caption!r}: found no room for all of it in 60 layouts; ask for fewer or smaller things")


def text_to_image(
    captions: Sequence[str], seed: int = 0, size: int = 128, strict: bool = True
) -> list[NDArray[np.uint8]]:
    """The scene renderer as a text-to-image model: a (size, size, 3) uint8 picture for each caption.

    Raises InputError as `scene_from_caption` does.
    """
    return [
        render(scene_from_caption(caption, [seed, i], strict), size, "synthetic").image
        for i, caption in enumerate(captions)
    ]


# ------------------------------------------------------------------------------------------------ words to items

Item = tuple[str, object]
T = TypeVar("T")
BOTH_SIDES = ("left of", "right of")
_FILE = re.compile(r"\S+\.(jpe?g|png|gif)\b", re.IGNORECASE)


class _Lexicon(dict[tuple[str, ...], Item]):
    """All words and fixed phrases of both domains with their meanings; a later meaning replaces an earlier one."""

    def add(self, phrases: Iterable[str], kind: str, value: object = None) -> None:
        """Add phrases of one meaning."""
        for phrase in phrases:
            self[tuple(phrase.lower().split())] = (kind, value)


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    out = _Lexicon()
    out.add(("is", "are", "the"), "glue")
    for table in (lexicon.OPENINGS, lexicon.THERE_ONE, lexicon.THERE_MANY):
        out.add(_both(table), "glue")
    out.add(_both(lexicon.DISTANCE_PHRASES), "far")
    out.add(("with",), "with")
    out.add((",", *_both(lexicon.CONJUNCTIONS), *_both(lexicon.LOOSE_CONJUNCTIONS)), "and")
    out.add(("it", "him", "her", "them"), "pronoun")
    _add_nouns(out)
    _add_traits(out)
    _add_relations(out)
    _add_stuffs(out)
    return out


def _both(table: dict[str, tuple[T, ...]]) -> list[T]:
    """The words of both domains."""
    return [one for domain in table.values() for one in domain]


def _add_nouns(out: _Lexicon) -> None:
    for kind, nouns in lexicon.NOUNS.items():
        _add_noun(out, _both(nouns), (kind,))
    _add_noun(out, _both(lexicon.PERSON), PEOPLE)
    for number, count in lexicon.COUNT_RANGES.items():
        out.add((number,), "count", count)


def _add_noun(out: _Lexicon, nouns: list[str], kinds: tuple[str, ...]) -> None:
    for noun in nouns:
        out.add((plural(noun),), "noun", (kinds, (2, 7)))
        out.add((noun,), "noun", (kinds, (1, 1)))


def _add_traits(out: _Lexicon) -> None:
    for colour in COLOURS:
        for word in {colour, *lexicon.COLOUR_WORDS.get(colour, {}).values()}:
            out.add((word,), "colour", colour)
            dress = (*_both(lexicon.CLOTHES), *_both(lexicon.MANY_CLOTHES))
            out.add((lexicon.fill_colour(d, word) for d in dress), "clothes", colour)
    for sizes in (lexicon.SIZE_WORDS, lexicon.PEOPLE_SIZES):
        for size, table in sizes.items():
            out.add(_both(table), "size", size)
    poses: dict[str, dict[str, None]] = {}  # of a word; a dict for its order
    for pose, verbs in lexicon.POSE_VERBS.items():
        for form in (form for forms in _both(verbs) for form in forms):
            poses.setdefault(form, {})[pose] = None
    for form, meant in poses.items():
        out.add((form,), "pose", tuple(meant))
    idle = {form for forms in lexicon.IDLE_VERBS.values() for form in _both(forms)}
    out.add(idle - poses.keys(), "idle")


def _add_relations(out: _Lexicon) -> None:
    out.add(("in", "through", "across", "up in"), "relation", ("in",))
    out.add(("against", "before"), "relation", BOTH_SIDES)  # of stuff only
    for predicate, table in lexicon.RELATIONS.items():
        value = {"beside": BOTH_SIDES, "riding": ("on",), "atop": ("on",)}.get(predicate, (predicate,))
        out.add(_both(table), "relation", value)


def _add_stuffs(out: _Lexicon) -> None:
    for stuff in STUFF_CLASSES:
        nouns = [noun for _, noun in _both(lexicon.PLACE_PHRASES.get(stuff, {}))] + _both(
            lexicon.PLACE_NOUNS.get(stuff, {})
        )
        nouns += [noun for _, noun, _ in _both(lexicon.BACKDROPS.get(stuff, {}))]
        out.add((*nouns, stuff, f"the {stuff}", f"a {stuff}"), "stuff", (stuff, None))
    for light, skies in lexicon.SKY_PHRASES.items():
        out.add(_both(skies), "stuff", ("sky", light))
    for light, lights in lexicon.LIGHT_PHRASES.items():
        out.add(_both(lights), "light", light)


def _items(caption: str, strict: bool) -> tuple[list[Item], list[str]]:
    """The longest phrases of the lexicon from left to right, and the words in between."""
    if not strict:
        caption = re.sub(r"[#&@]\S+", " ", _FILE.sub(" ", caption))
    found = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|,|[^\s\w.!?]", caption.lower())
    known, items, unknown, at = _lexicon(), [], [], 0
    longest = max(len(k) for k in known)
    while at < len(found):
        for n in range(min(longest, len(found) - at), 0, -1):
            if tuple(found[at : at + n]) in known:
                items.append(known[tuple(found[at : at + n])])
                at += n
                break
        else:
            unknown.append(found[at])
            at += 1
    return items, unknown


# ------------------------------------------------------------------------------------------------ items to a request


@dataclass
class _RequestBuilder:
    """What was read so far. subjects: of the clause. back: what a pronoun stands for. open: whether more subjects may
    follow. pending: a relation that waits for its object. front: the stuff that a sentence begins with. traits, count:
    of the noun that follows.
    """

    things: list[RequestedThings] = field(default_factory=list)
    stuff: list[str] = field(default_factory=list)
    relations: list[tuple[int, tuple[str, ...], int]] = field(default_factory=list)
    light: str | None = None
    subjects: list[int] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    open: bool = True
    pending: tuple[str, ...] | None = None
    front: str | None = None
    traits: dict[str, str] = field(default_factory=dict)
    count: tuple[int, int] | None = None

    def read(self, kind: str, value: object) -> None:
        """Take in the next item."""
        getattr(self, f"_{kind}")(value)

    def _glue(self, value: object) -> None:
        pass

    def _idle(self, value: object) -> None:
        self.open = False

    _far = _idle

    def _count(self, value: tuple[int, int]) -> None:
        self.count = value

    def _colour(self, value: str) -> None:
        self.traits["colour"] = value

    def _size(self, value: str) -> None:
        self.traits["size"] = value

    def _light(self, value: str) -> None:
        self.light = value

    def _noun(self, value: tuple[tuple[str, ...], tuple[int, int]]) -> None:
        kinds, usual = value
        self.things.append(RequestedThings(kinds, self.count or usual, **self.traits))
        self.count, self.traits, new = None, {}, len(self.things) - 1
        if self.pending and self.subjects:
            self._relate(self.subjects, [new])
        elif self.open:
            self.subjects.append(new)
            self.things[new] = replace(self.things[new], ground=self.front)
        else:
            self._next([new])

    def _clothes(self, value: str) -> None:
        if self.things:
            self.things[-1] = replace(self.things[-1], colour=value)

    def _pose(self, value: tuple[str, ...]) -> None:
        for i in self.subjects:
            own = [pose for pose in value if any(pose in POSES[kind] for kind in self.things[i].kinds)]
            if own:
                self.things[i] = replace(self.things[i], pose=own[0])
        self.open = False

    def _relation(self, value: tuple[str, ...]) -> None:
        self.pending = value
        self.open = self.open and not self.subjects

    def _pronoun(self, value: object) -> None:
        if self.pending and self.back:
            self._relate(self.subjects, self.back)

    def _stuff(self, value: tuple[str, str | None]) -> None:
        stuff, light = value
        if stuff not in self.stuff:
            self.stuff.append(stuff)
        self.light = light or self.light
        if self.pending and self.pending[0] in ("in", "on") and self.subjects:
            for i in self.subjects:
                self.things[i] = replace(self.things[i], ground=stuff)
        elif self.pending and self.pending[0] in ("in", "on"):
            self.front = stuff
        self.pending, self.traits, self.count = None, {}, None

    def _with(self, value: object) -> None:
        back = self.subjects
        self._next([])
        self.back = back

    def _and(self, value: object) -> None:
        if not self.open:
            self._next([])

    def _next(self, subjects: list[int]) -> None:
        self.subjects, self.back, self.open, self.pending, self.front = subjects, [], True, None, None

    def _relate(self, subjects: list[int], objects: list[int]) -> None:
        assert self.pending
        for s in subjects:
            for o in objects:
                if self.pending == ("behind",):
                    self.relations.append((o, ("in front of",), s))
                elif self.pending != ("in",):
                    self.relations.append((s, self.pending, o))
        self.pending, self.open = None, False


# ------------------------------------------------------------------------------------------------ a request to a plan

_DEPTH: dict[str, Layer] = {
    "sky": ("sky", 0.0, 0.0, 1),
    "mountain": ("mountain", 0.18, 0.3, 1),
    "wall": ("wall", 0.2, 0.34, 1),
    "water": ("water", 0.38, 0.46, 1),
    "snow": ("snow", 0.42, 0.5, 1),
    "grass": ("grass", 0.52, 0.62, 1),
    "sand": ("sand", 0.64, 0.7, 1),
    "road": ("road", 0.74, 0.8, 1),
}


def _plan(request: SceneRequest, rng: np.random.Generator) -> ScenePlan:
    """A random plan for a request: kinds, numbers and predicates are chosen where it leaves them open."""
    specs: list[ThingSpec] = []
    members: list[list[int]] = []
    for requested in request.things:
        low, high = requested.count
        n = int(rng.integers(low, min(high, max(low, 4)) + 1))
        members.append(list(range(len(specs), len(specs) + n)))
        specs += [_spec(requested, rng) for _ in range(n)]
    relations = []
    for subject, predicates, object_ in request.relations:
        predicate = predicates[rng.integers(len(predicates))]
        relations += [(s, predicate, o) for s in members[subject] for o in members[object_]]
    grounded = _move_ground_to_carriers(specs, relations)
    light = request.light or str(rng.choice(("day", "day", "day", "overcast", "evening")))
    return ScenePlan(_background(request.stuff, grounded, relations, rng), tuple(grounded), tuple(relations), light)


def _spec(requested: RequestedThings, rng: np.random.Generator) -> ThingSpec:
    kind = str(requested.kinds[rng.integers(len(requested.kinds))])
    pose = requested.pose if requested.pose in POSES[kind] else None
    return ThingSpec(kind, requested.colour, requested.size, pose, requested.ground)


def _move_ground_to_carriers(specs: list[ThingSpec], relations: list[tuple[int, str, int]]) -> list[ThingSpec]:
    """What is carried has no ground of its own: its carrier has it."""
    out = list(specs)
    for s, p, o in relations:
        if p == "on":
            ground = out[s].ground or out[o].ground
            out[s], out[o] = replace(out[s], ground=None), replace(out[o], ground=ground)
        elif p == "holding":
            out[o] = replace(out[o], ground=None)
    return out


def _background(
    stuff: tuple[str, ...], specs: list[ThingSpec], relations: list[tuple[int, str, int]], rng: np.random.Generator
) -> tuple[Stuff, ...]:
    """A setting that has the stuff of the caption and ground for all things; without any, stuff ordered by depth."""
    carried = {s for s, p, _ in relations if p == "on"} | {o for _, p, o in relations if p == "holding"}
    standing = [spec for i, spec in enumerate(specs) if i not in carried]
    needed = {*stuff, *(spec.ground for spec in standing if spec.ground)}
    if any(_needs_sky(spec) for spec in standing):
        needed.add("sky")
    suitable = [layers for layers in SETTINGS.values() if needed <= _kinds(layers) and _all_grounded(standing, layers)]
    if suitable and rng.random() < 0.9:
        return _varied(suitable[rng.integers(len(suitable))], needed, standing, rng)
    needed |= {STANDS_ON[spec.kind][0] for spec in standing if not _has_ground(spec, needed)}
    return _ordered_by_depth(needed, rng)


def _ordered_by_depth(needed: set[str], rng: np.random.Generator) -> tuple[Stuff, ...]:
    """The stuff, with grass where there is no ground, below a sky unless there is a wall."""
    if not needed - {"sky", "mountain", "wall"}:
        needed = needed | {"grass"}
    if "wall" not in needed:
        needed = needed | {"sky"}
    return sample_background([layer for kind, layer in _DEPTH.items() if kind in needed], rng)


def _varied(
    layers: tuple[Layer, ...], needed: set[str], standing: list[ThingSpec], rng: np.random.Generator
) -> tuple[Stuff, ...]:
    """The background of a setting, with all layers that a caption needs."""

    def is_needed(kind: str) -> bool:
        return kind in needed or not _all_grounded(standing, [layer for layer in layers if layer[0] != kind])

    return sample_background([(k, high, low, 1 if is_needed(k) else p) for k, high, low, p in layers], rng)


def _kinds(layers: Iterable[Layer]) -> set[str]:
    return {layer[0] for layer in layers}


def _all_grounded(specs: list[ThingSpec], layers: Iterable[Layer]) -> bool:
    kinds = _kinds(layers)
    return all(_has_ground(spec, kinds) for spec in specs)


def _needs_sky(spec: ThingSpec) -> bool:
    return spec.pose == "flying" or spec.ground == "sky" or STANDS_ON[spec.kind] == ("sky",)


def _has_ground(spec: ThingSpec, there: Iterable[str]) -> bool:
    if spec.ground:
        return spec.ground in there
    if spec.pose == "swimming":
        return "water" in there
    return bool(set(STANDS_ON[spec.kind]) & set(there))


assert all(host in STANDS_ON for hosts in MAY_BE_ON.values() for host in hosts)
