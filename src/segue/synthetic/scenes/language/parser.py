"""Captions understood: from a sentence of `grammar` to what it asks for, and on to a scene that shows it.

A sentence is a chain of clauses. A clause is its subjects (nouns joined by "and"), then what they do, where, to whom:
every relation is the subjects', and after an object "and" begins the next clause. "with" begins one whose relations may
point back: "a bench with a bird on it".
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
from segue.synthetic.scenes.language import lexicon as words
from segue.synthetic.scenes.placement import PERCHES, STANDS, Plan, Wish, lay_out
from segue.synthetic.scenes.render import POSES, render
from segue.synthetic.scenes.sampling import SETTINGS, Layer, pave
from segue.synthetic.scenes.scene import COLOURS, PEOPLE, STUFFS, THINGS, Scene, Stuff
from segue.types import InputError


@dataclass(frozen=True)
class Wanted:
    """Things that a caption names together. kinds: any of these will do. count: fewest and most. What is None is not
    said. ground: the stuff they are on.
    """

    kinds: tuple[str, ...]
    count: tuple[int, int] = (1, 1)
    colour: str | None = None
    size: str | None = None
    pose: str | None = None
    ground: str | None = None


@dataclass(frozen=True)
class Request:
    """What a caption asks for. relations: (subject, predicates of which one is enough, object), positions in things."""

    things: tuple[Wanted, ...]
    stuffs: tuple[str, ...] = ()
    relations: tuple[tuple[int, tuple[str, ...], int], ...] = ()
    light: str | None = None


def parse(caption: str, strict: bool = True) -> Request:
    """What a caption asks for.

    Raises InputError that lists the words it doesn't understand; with strict=False they are passed over, as are hash
    tags and names of files.
    """
    items, unknown = _items(caption, strict)
    if strict and unknown:
        raise InputError(
            f"caption {caption!r}: can't draw {', '.join(repr(w) for w in dict.fromkeys(unknown))}; "
            f"use other words (things: {', '.join(THINGS)}; stuffs: {', '.join(STUFFS)}) or pass strict=False"
        )
    reader = _Reader()
    for kind, value in items:
        reader.read(kind, value)
    if strict and not reader.things and not reader.stuffs:
        raise InputError(f"caption {caption!r}: names nothing to draw; name one of {', '.join((*THINGS, *STUFFS))}")
    return Request(tuple(reader.things), tuple(reader.stuffs), tuple(reader.relations), reader.light)


def scene_of(caption: str, seed: int | Iterable[int], strict: bool = True) -> Scene:
    """A scene that shows what a caption says and no other things; what it leaves open is left to chance.

    seed: a number or several. Raises InputError when the caption isn't understood (see `parse`) or asks for what can't
    be put together in one picture.
    """
    request = parse(caption, strict)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 11])
    for _ in range(60):
        scene = lay_out(_plan(request, rng), rng)
        if scene is not None:
            return scene
    if not strict:
        scene = lay_out(_plan(request, rng), rng, strict=False)
        assert scene is not None  # with strict=False nothing fails, wishes are dropped
        return scene
    raise InputError(f"caption {caption!r}: found no room for all of it in 60 layouts; ask for fewer or smaller things")


def text_to_image(
    captions: Sequence[str], seed: int = 0, size: int = 128, strict: bool = True
) -> list[NDArray[np.uint8]]:
    """The sketchbook as a text-to-image model: a (size, size, 3) uint8 synthetic picture for each caption."""
    return [render(scene_of(caption, [seed, i], strict), size, "synthetic").image for i, caption in enumerate(captions)]


# ------------------------------------------------------------------------------------------------ words to items

Item = tuple[str, object]
T = TypeVar("T")
BOTH_SIDES = ("left of", "right of")
_FILE = re.compile(r"\S+\.(jpe?g|png|gif)\b", re.IGNORECASE)


class _Lexicon(dict[tuple[str, ...], Item]):
    """Every word and fixed phrase of both worlds. On a clash the later one counts."""

    def put(self, phrases: Iterable[str], kind: str, value: object = None) -> None:
        """Phrases of one meaning."""
        for phrase in phrases:
            self[tuple(phrase.lower().split())] = (kind, value)


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    out = _Lexicon()
    out.put(("is", "are", "the"), "glue")
    for table in (words.OPENINGS, words.THERE_ONE, words.THERE_MANY):
        out.put(_both(table), "glue")
    out.put(_both(words.FAR), "far")
    out.put(("with",), "with")
    out.put((",", *_both(words.JOINS), *_both(words.LOOSE_JOINS)), "and")
    out.put(("it", "him", "her", "them"), "pronoun")
    _put_nouns(out)
    _put_traits(out)
    _put_relations(out)
    _put_stuffs(out)
    return out


def _both(table: dict[str, tuple[T, ...]]) -> list[T]:
    """What either world has."""
    return [one for world in table.values() for one in world]


def _put_nouns(out: _Lexicon) -> None:
    for kind, nouns in words.NOUNS.items():
        _put_noun(out, _both(nouns), (kind,))
    _put_noun(out, _both(words.PERSON), PEOPLE)
    for number, count in words.NUMBERS.items():
        out.put((number,), "count", count)


def _put_noun(out: _Lexicon, nouns: list[str], kinds: tuple[str, ...]) -> None:
    for noun in nouns:
        out.put((plural(noun),), "noun", (kinds, (2, 7)))
        out.put((noun,), "noun", (kinds, (1, 1)))


def _put_traits(out: _Lexicon) -> None:
    for colour in COLOURS:
        for word in {colour, *words.COLOUR_WORDS.get(colour, {}).values()}:
            out.put((word,), "colour", colour)
            dress = (*_both(words.CLOTHES), *_both(words.MANY_CLOTHES))
            out.put((words.dressed(d, word) for d in dress), "clothes", colour)
    for sizes in (words.SIZE_WORDS, words.PEOPLE_SIZES):
        for size, table in sizes.items():
            out.put(_both(table), "size", size)
    poses: dict[str, dict[str, None]] = {}  # of a word; a dict for its order
    for pose, verbs in words.POSES.items():
        for form in (form for forms in _both(verbs) for form in forms):
            poses.setdefault(form, {})[pose] = None
    for form, meant in poses.items():
        out.put((form,), "pose", tuple(meant))
    idle = {form for forms in words.IDLE.values() for form in _both(forms)}
    out.put(idle - poses.keys(), "idle")


def _put_relations(out: _Lexicon) -> None:
    out.put(("in", "through", "across", "up in"), "relation", ("in",))
    out.put(("against", "before"), "relation", BOTH_SIDES)  # of stuffs only
    for predicate, table in words.RELATIONS.items():
        value = {"beside": BOTH_SIDES, "riding": ("on",), "atop": ("on",)}.get(predicate, (predicate,))
        out.put(_both(table), "relation", value)


def _put_stuffs(out: _Lexicon) -> None:
    for stuff in STUFFS:
        nouns = [noun for _, noun in _both(words.GROUNDS.get(stuff, {}))] + _both(words.HEADS.get(stuff, {}))
        nouns += [noun for _, noun, _ in _both(words.BACKDROPS.get(stuff, {}))]
        out.put((*nouns, stuff, f"the {stuff}", f"a {stuff}"), "stuff", (stuff, None))
    for light, skies in words.SKIES.items():
        out.put(_both(skies), "stuff", ("sky", light))
    for light, lights in words.LIGHTS.items():
        out.put(_both(lights), "light", light)


def _items(caption: str, strict: bool) -> tuple[list[Item], list[str]]:
    """The longest phrases of the lexicon from left to right, and the words in between."""
    if not strict:
        caption = re.sub(r"[#&@]\S+", " ", _FILE.sub(" ", caption))
    found = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|,|[^\s\w.!?]", caption.lower())
    lexicon, items, unknown, at = _lexicon(), [], [], 0
    longest = max(len(k) for k in lexicon)
    while at < len(found):
        for n in range(min(longest, len(found) - at), 0, -1):
            if tuple(found[at : at + n]) in lexicon:
                items.append(lexicon[tuple(found[at : at + n])])
                at += n
                break
        else:
            unknown.append(found[at])
            at += 1
    return items, unknown


# ------------------------------------------------------------------------------------------------ items to a request


@dataclass
class _Reader:
    """What was read so far; subjects: of the clause; pending: a relation that waits for its object."""

    things: list[Wanted] = field(default_factory=list)
    stuffs: list[str] = field(default_factory=list)
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
        self.things.append(Wanted(kinds, self.count or usual, **self.traits))
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
        if stuff not in self.stuffs:
            self.stuffs.append(stuff)
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


def _plan(request: Request, rng: np.random.Generator) -> Plan:
    """One way to grant a request: kinds, numbers and predicates chosen where it leaves them open."""
    wishes: list[Wish] = []
    members: list[list[int]] = []
    for wanted in request.things:
        low, high = wanted.count
        n = int(rng.integers(low, min(high, max(low, 4)) + 1))
        members.append(list(range(len(wishes), len(wishes) + n)))
        wishes += [_wish(wanted, rng) for _ in range(n)]
    relations = []
    for subject, predicates, object_ in request.relations:
        predicate = predicates[rng.integers(len(predicates))]
        relations += [(s, predicate, o) for s in members[subject] for o in members[object_]]
    grounded = _carriers_stand(wishes, relations)
    light = request.light or str(rng.choice(("day", "day", "day", "overcast", "evening")))
    return Plan(_background(request.stuffs, grounded, relations, rng), tuple(grounded), tuple(relations), light)


def _wish(wanted: Wanted, rng: np.random.Generator) -> Wish:
    kind = str(wanted.kinds[rng.integers(len(wanted.kinds))])
    pose = wanted.pose if wanted.pose in POSES[kind] else None
    return Wish(kind, wanted.colour, wanted.size, pose, wanted.ground)


def _carriers_stand(wishes: list[Wish], relations: list[tuple[int, str, int]]) -> list[Wish]:
    """Who is carried has no ground of its own: the carrier is on it."""
    out = list(wishes)
    for s, p, o in relations:
        if p == "on":
            ground = out[s].ground or out[o].ground
            out[s], out[o] = replace(out[s], ground=None), replace(out[o], ground=ground)
        elif p == "holding":
            out[o] = replace(out[o], ground=None)
    return out


def _background(
    said: tuple[str, ...], wishes: list[Wish], relations: list[tuple[int, str, int]], rng: np.random.Generator
) -> tuple[Stuff, ...]:
    """A setting that has what is said and room for all, or, when there is none, the stuffs one before the other."""
    carried = {s for s, p, _ in relations if p == "on"} | {o for _, p, o in relations if p == "holding"}
    free = [w for i, w in enumerate(wishes) if i not in carried]
    aloft = {"sky"} if any(_needs_sky(w) for w in free) else set()
    needed = {*said, *aloft, *(w.ground for w in free if w.ground)}
    suited = [
        layers
        for layers in SETTINGS.values()
        if needed <= {layer[0] for layer in layers} and all(_has_ground(w, [x[0] for x in layers]) for w in free)
    ]
    if suited and rng.random() < 0.9:
        layers = suited[rng.integers(len(suited))]
        return pave(
            [(k, a, b, 1 if k in needed or not _optional(k, free, layers) else p) for k, a, b, p in layers], rng
        )
    needed |= {STANDS[w.kind][0] for w in free if not _has_ground(w, needed)}
    if not needed - {"sky", "mountain", "wall"}:
        needed.add("grass")
    if "wall" not in needed:
        needed.add("sky")
    return pave([layer for kind, layer in _DEPTH.items() if kind in needed], rng)


def _optional(kind: str, free: list[Wish], layers: tuple[Layer, ...]) -> bool:
    """Whether everything still has ground without that layer."""
    rest = [layer[0] for layer in layers if layer[0] != kind]
    return all(_has_ground(w, rest) for w in free)


def _needs_sky(wish: Wish) -> bool:
    return wish.pose == "flying" or wish.ground == "sky" or STANDS[wish.kind] == ("sky",)


def _has_ground(wish: Wish, there: Iterable[str]) -> bool:
    if wish.ground:
        return wish.ground in there
    if wish.pose == "swimming":
        return "water" in there
    return bool(set(STANDS[wish.kind]) & set(there))


assert all(host in STANDS for hosts in PERCHES.values() for host in hosts)
