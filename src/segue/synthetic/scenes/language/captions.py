"""Captions of synthetic scenes. What they say is true; much that is visible is left out on purpose, as in web captions.

Segments are numbered as in `render.RenderedScene.segments`: the stuff of the scene first, then its things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segue.data.english import article, plural
from segue.synthetic.scenes.language import lexicon
from segue.synthetic.scenes.placement import INVERSE, RIDEABLE, supporting_stuff
from segue.synthetic.scenes.render import POSES
from segue.synthetic.scenes.sampling import find_domain, weighted_choice
from segue.synthetic.scenes.scene import PEOPLE, STUFF_CLASSES, Scene, Thing

MIN_VISIBLE_SHARE = 0.0015  # share of the picture from which a segment counts as visible
SegmentRelation = tuple[int, str, int]
T = TypeVar("T")


@dataclass(frozen=True)
class PhraseSpan:
    """Characters start..end (end excluded) of a caption, and the segments that they name."""

    start: int
    end: int
    segments: tuple[int, ...]


@dataclass(frozen=True)
class Omissions:
    """What is visible and a caption does not mention. things, stuff: segments. attributes: (segment, "colour", "size"
    or "pose"), without medium sizes and poses for which there is no word. relations: (segment, predicate, segment), and
    "on" with the stuff that a thing is on. light: whether the light is left out.
    """

    things: tuple[int, ...]
    stuff: tuple[int, ...]
    attributes: tuple[tuple[int, str], ...]
    relations: tuple[SegmentRelation, ...]
    light: bool


@dataclass(frozen=True)
class SceneCaption:
    """One caption: its text, what its phrases name, and what it leaves out."""

    text: str
    phrases: tuple[PhraseSpan, ...]
    omissions: Omissions


def caption_scene(
    scene: Scene, visible: Sequence[float], seed: int | Iterable[int], n: int = 5, domain: str = "a"
) -> list[SceneCaption]:
    """n captions of a scene, of 5 to 18 words each, different ones where possible.

    visible: the share of the picture that each segment covers, in [0, 1]; those below MIN_VISIBLE_SHARE are not
    mentioned. seed: a number or several. domain: whose words are used. Raises InputError for an unknown domain.
    """
    find_domain(domain)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 7])
    view = _VisibleScene(scene, np.asarray(visible, dtype=float), rng, domain)
    different: dict[str, SceneCaption] = {}
    repeated: list[SceneCaption] = []
    for _ in range(4 * n):
        caption = _sample_caption(view)
        if caption.text.lower().rstrip(".") in different:
            repeated.append(caption)
        else:
            different[caption.text.lower().rstrip(".")] = caption
        if len(different) == n:
            break
    return [*different.values(), *repeated][:n]


def scene_relations(scene: Scene) -> tuple[SegmentRelation, ...]:
    """The relations between the segments of a scene, and the stuff that each thing is on."""
    m = len(scene.stuff)
    among = tuple((s + m, p, o + m) for s, p, o in scene.relations)
    below = ((k + m, "on", g) for k in range(len(scene.things)) if (g := supporting_stuff(scene, k)) is not None)
    return among + tuple(f for f in below if scene.stuff[f[2]].kind != "sky")


def describable_attributes(scene: Scene, position: int) -> tuple[str, ...]:
    """The attributes of a thing that a caption can mention: "colour", "size" unless medium, "pose" if it has a word."""
    thing = scene.things[position]
    size = ("size",) if thing.size != "medium" else ()
    return ("colour", *size, *(("pose",) if _has_pose_word(thing) else ()))


def _has_pose_word(thing: Thing) -> bool:
    """Whether there is a word for the pose of a thing, and its kind has other poses."""
    return thing.pose in lexicon.POSE_VERBS and len(POSES[thing.kind]) > 1


# ------------------------------------------------------------------------------------------------ what is visible


@dataclass(frozen=True)
class _Group:
    """Things that are mentioned together. members: positions in things. kind: of all of them, or "people"."""

    members: tuple[int, ...]
    kind: str


class _VisibleScene:
    """The visible part of a scene: its things and stuff, how large they are and how they relate; and random choices."""

    def __init__(self, scene: Scene, visible: NDArray[np.float64], rng: np.random.Generator, domain: str) -> None:
        m = len(scene.stuff)
        self.scene, self.rng, self.domain, self.first = scene, rng, domain, m
        self.share = visible
        self.things = [k for k in range(len(scene.things)) if visible[m + k] >= MIN_VISIBLE_SHARE]
        self.stuff = {
            kind: [k for k, s in enumerate(scene.stuff) if s.kind == kind and visible[k] >= MIN_VISIBLE_SHARE]
            for kind in STUFF_CLASSES
        }
        visible_segments = {k for ks in self.stuff.values() for k in ks} | {m + k for k in self.things}
        self.relations = [f for f in scene_relations(scene) if f[0] in visible_segments and f[2] in visible_segments]
        self.statements = {f: f for f in self.relations} | {
            (o, INVERSE.get(p, "behind"), s): (s, p, o)
            for s, p, o in self.relations
            if p in INVERSE or p == "in front of"
        }

    def choose(self, *table: dict[str, tuple[T, ...]]) -> T:
        """One of the domain's words."""
        choice = [w for t in table for w in t[self.domain]]
        return choice[self.rng.integers(len(choice))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def groups(self) -> list[_Group]:
        """A random choice of the visible things by kind; people of several kinds sometimes together."""
        kinds: dict[str, list[int]] = {}
        together = self.chance(0.35)
        for k in self.things:
            kind = self.scene.things[k].kind
            kinds.setdefault("people" if together and kind in PEOPLE else kind, []).append(k)
        out = []
        for kind, members in kinds.items():
            one = {self.scene.things[k].kind for k in members}
            out.append(_Group(tuple(members), kind if len(one) > 1 or self.chance(0.3) else next(iter(one))))
        return [g for g in out if self.chance(0.05 + 1.4 * lexicon.MENTION_WEIGHT.get(g.kind, 1.0))] or out

    def ground(self, group: _Group, mentioned: Sequence[_Group] = ()) -> str | None:
        """The kind of visible stuff that a whole group is on, or in when it flies; of its carriers if mentioned."""
        carriers = {k for g in mentioned for k in g.members}
        kinds = {self._ground(k, carriers) for k in group.members}
        only = kinds.pop() if len(kinds) == 1 else None
        return only if only and self.stuff[only] and only not in ("mountain", "wall") else None

    def _ground(self, k: int, carriers: set[int]) -> str | None:
        for s, p, o in self.scene.relations:
            if p == "on" and s == k and o in carriers:
                return self._ground(o, carriers)
        at = supporting_stuff(self.scene, k)
        return None if at is None else self.scene.stuff[at].kind

    def predicates_between(self, a: _Group, b: _Group) -> list[str]:
        """Predicates that hold between every member of a and every member of b."""
        pairs = [(i + self.first, j + self.first) for i in a.members for j in b.members]
        predicates = {p for s, p, o in self.statements if (s, o) == pairs[0]}
        return sorted(p for p in predicates if all((s, p, o) in self.statements for s, o in pairs))

    def are_close(self, a: _Group, b: _Group) -> bool:
        """Whether the first members of two groups stand close together."""
        boxes = [self.scene.things[k].box for k in (a.members[0], b.members[0])]
        (ax, ay, aw, ah), (bx, by, bw, bh) = boxes
        return max(bx - ax - aw, ax - bx - bw) < 0.18 and abs(ay + ah - by - bh) < 0.15

    def weight(self, group: _Group) -> float:
        """How likely a group is to be mentioned: by its kind and its size in the picture."""
        size = sum(float(self.share[self.first + k]) for k in group.members)
        result: float = lexicon.MENTION_WEIGHT.get(group.kind, 1.0) ** 1.5 * (0.05 + size) ** 0.5
        return result


# ------------------------------------------------------------------------------------------------ sentences


@dataclass
class _Sentence:
    """A caption in progress: pieces of text with the segments that they name, and what they say of them."""

    pieces: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    attributes: set[tuple[int, str]] = field(default_factory=set)  # (segment, attribute)
    relations: set[SegmentRelation] = field(default_factory=set)
    light: bool = False

    def add(self, *texts: str) -> None:
        self.pieces += [(text, ()) for text in texts if text]

    def name(self, text: str, segments: Iterable[int]) -> None:
        self.pieces.append((text, tuple(segments)))

    @property
    def segments(self) -> set[int]:
        return {k for _, segments in self.pieces for k in segments}

    @property
    def length(self) -> int:
        return sum(len(text.split()) for text, _ in self.pieces)


def _sample_caption(view: _VisibleScene) -> SceneCaption:
    """A random sentence of 5 to 18 words."""
    target = int(np.clip(view.rng.normal(10, 2.8), 6, 17))
    while True:
        sentence = _Sentence()
        groups = view.groups()
        if groups:
            weights = {name: weight for name, (weight, _) in SENTENCE_PATTERNS.items()}
            _, add_pattern = SENTENCE_PATTERNS[weighted_choice(view.rng, weights)]
            add_pattern(view, sentence, groups)
        else:
            _add_background_only(view, sentence)
        for _ in range(4):
            if sentence.length < target:
                _add_detail(view, sentence, groups)
        if 5 <= sentence.length <= 18:
            return _finish(view, sentence)


def _finish(view: _VisibleScene, sentence: _Sentence) -> SceneCaption:
    text, phrases = "", []
    for piece, segments in sentence.pieces:
        text += ("" if not text or piece.startswith(",") else " ") + piece
        if segments:
            phrases.append(PhraseSpan(len(text) - len(piece), len(text), segments))
    style = view.rng.random()
    text = text[0].upper() + text[1:] if style < 0.75 else text
    return SceneCaption(text + ("." if style < 0.55 else ""), tuple(phrases), _omissions(view, sentence))


def _omissions(view: _VisibleScene, sentence: _Sentence) -> Omissions:
    named, m = sentence.segments, view.first
    attributes = [(m + k, what) for k in view.things for what in describable_attributes(view.scene, k)]
    return Omissions(
        things=tuple(m + k for k in view.things if m + k not in named),
        stuff=tuple(k for ks in view.stuff.values() for k in ks if k not in named),
        attributes=tuple(a for a in attributes if a not in sentence.attributes),
        relations=tuple(f for f in view.relations if f not in sentence.relations),
        light=not sentence.light,
    )


def _sample_subject(view: _VisibleScene, groups: list[_Group]) -> _Group:
    weights = {str(i): view.weight(g) for i, g in enumerate(groups)}
    return groups[int(weighted_choice(view.rng, weights))]


def _clause_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """a black dog (is) running on the grass; a man holding a red balloon."""
    subject = _sample_subject(view, groups)
    single = _single_out(view, subject)
    opening = view.rng.random()
    if opening < 0.14:
        s.add(view.choose(lexicon.OPENINGS))
    elif opening < 0.3:
        s.add(view.choose(lexicon.THERE_MANY if len(subject.members) > 1 and not single else lexicon.THERE_ONE))
    _add_clause(
        view,
        s,
        single or subject,
        groups,
        finite=opening >= 0.3 and view.chance(0.45) and _can_be_described(view, s, single or subject),
    )


def _two_clauses_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """a man riding a horse and a dog running on the grass."""
    able = [g for g in groups if _can_be_described(view, s, g)]
    if len(groups) < 2 or not able:
        return _clause_pattern(view, s, groups)
    first = _sample_subject(view, able)
    finite = view.chance(0.5)
    used = _add_clause(view, s, first, groups, finite)
    rest = [g for g in groups if g not in used and _can_be_described(view, s, g)]
    if rest:
        s.add(view.choose(lexicon.CONJUNCTIONS if finite else lexicon.LOOSE_CONJUNCTIONS))
        _add_clause(view, s, _sample_subject(view, rest), rest, finite)
    return None


def _list_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """a man, a dog and a red car; a man and a dog on the beach."""
    if len(groups) < 2:
        return _clause_pattern(view, s, groups)
    if view.chance(0.3):
        s.add(view.choose(lexicon.OPENINGS))
    chosen = _sample_groups(view, groups, 2 if view.chance(0.7) else 3)
    _add_names(view, s, chosen)
    grounds = {view.ground(g) for g in chosen}
    only = grounds.pop() if len(grounds) == 1 else None
    if only and view.chance(0.75):
        _add_place(view, s, [k for g in chosen for k in g.members], only)
    return None


def _place_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """a sandy beach with two people and a dog."""
    there = [kind for kind in lexicon.PLACE_NOUNS if view.stuff[kind]]
    if not there:
        return _clause_pattern(view, s, groups)
    kind = there[view.rng.integers(len(there))]
    if view.chance(0.25) and not (opening := view.choose(lexicon.OPENINGS)).endswith("with"):
        s.add(opening)
    s.name(view.choose(lexicon.PLACE_NOUNS[kind]), view.stuff[kind])
    s.add("with")
    _add_names(view, s, _sample_groups(view, groups, 1 if view.chance(0.5) else 2))
    return None


def _inverse_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """a bench with a bird on it."""
    pairs = [
        (a, b, p)
        for a in groups
        for b in groups
        if a is not b
        for p in view.predicates_between(a, b)
        if p in ("on", "under", "in front of", "behind", "above") and not (b.kind in RIDEABLE and a.kind in PEOPLE)
    ]
    if not pairs:
        return _clause_pattern(view, s, groups)
    a, b, predicate = pairs[view.rng.integers(len(pairs))]
    if view.chance(0.3):
        s.add(view.choose(lexicon.THERE_MANY if len(b.members) > 1 else lexicon.THERE_ONE))
    _add_name(view, s, b)
    s.add("with")
    _add_name(view, s, a)
    how = "atop" if predicate == "on" and b.kind not in ("bench", "boat") else predicate
    s.add(view.choose(lexicon.RELATIONS[how]), _pronoun(view, b))
    _mark_relation(view, s, a, predicate, b)
    return None


def _fronted_pattern(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """on the grass, a dog is lying; in the field there are two horses."""
    subject = _sample_subject(view, groups)
    ground = view.ground(subject)
    if not ground or ground == "sky":
        return _clause_pattern(view, s, groups)
    _add_place(view, s, subject.members, ground)
    many = len(subject.members) > 1
    if view.chance(0.5) or not _pose_words(view, subject):
        s.add(view.choose(lexicon.THERE_MANY if many else lexicon.THERE_ONE))
        _add_name(view, s, subject)
    else:
        s.add(",")
        _add_name(view, s, subject)
        _add_action(view, s, subject, finite=True)
    return None


def _add_background_only(view: _VisibleScene, s: _Sentence) -> None:
    """Nothing but background."""
    there = [kind for kind in lexicon.PLACE_NOUNS if view.stuff[kind]] or ["grass"]
    s.add(view.choose(lexicon.OPENINGS))
    s.name(view.choose(lexicon.PLACE_NOUNS[there[0]]), view.stuff[there[0]])
    _add_sky(view, s)


Pattern = Callable[[_VisibleScene, _Sentence, list[_Group]], None]
SENTENCE_PATTERNS: dict[str, tuple[float, Pattern]] = {
    "clause": (5.0, _clause_pattern),
    "two clauses": (1.6, _two_clauses_pattern),
    "listing": (1.4, _list_pattern),
    "place": (1.2, _place_pattern),
    "inverse": (0.7, _inverse_pattern),
    "fronted": (0.7, _fronted_pattern),
}


# ------------------------------------------------------------------------------------------------ parts of sentences


def _add_clause(view: _VisibleScene, s: _Sentence, subject: _Group, groups: list[_Group], finite: bool) -> list[_Group]:
    """Who does what, where, to whom. Returns the groups that it mentions."""
    _add_name(view, s, subject)
    bare = s.length
    related = _possible_relations(view, s, subject, groups)
    close = [(p, o) for p, o in related if p in ("holding", "on", "under")]
    loose = [(p, o) for p, o in related if p not in ("holding", "on", "under")]
    mentioned = [subject]
    if close and view.chance(0.85):
        mentioned.append(_add_relation(view, s, subject, close, finite))
    elif loose and view.chance(0.4):
        mentioned.append(_add_relation(view, s, subject, loose, finite))
    else:
        _add_action(view, s, subject, finite)
    ground = _unambiguous_ground(view, s, mentioned)
    if ground and (s.length == bare or view.chance(0.35 + 0.5 * lexicon.MENTION_WEIGHT[ground])):
        _add_place(view, s, subject.members, ground)
    return mentioned


def _possible_relations(
    view: _VisibleScene, s: _Sentence, subject: _Group, groups: list[_Group]
) -> list[tuple[str, _Group]]:
    """(predicate, other group) of all relations of a group to those that the sentence does not mention yet."""
    taken = {*subject.members, *_named_positions(view, s)}
    others = [other for other in groups if not taken & set(other.members)]
    return [(p, other) for other in others for p in view.predicates_between(subject, other)]


def _unambiguous_ground(view: _VisibleScene, s: _Sentence, mentioned: list[_Group]) -> str | None:
    """The stuff that a clause may end with: "a dog left of a car on the grass" says that both are on it."""
    ground = view.ground(mentioned[0], mentioned)
    if not ground or not _place_is_new(view, s, ground):
        return None
    if len(mentioned) > 1 and (ground == "sky" or view.ground(mentioned[1]) not in (None, ground)):
        return None
    return ground


def _named_positions(view: _VisibleScene, s: _Sentence) -> set[int]:
    return {k - view.first for k in s.segments if k >= view.first}


def _single_out(view: _VisibleScene, group: _Group) -> _Group | None:
    """Sometimes one of several things that differs from the others: it holds something or is on something."""
    busy = [k for k in group.members if any(s == k and p in ("holding", "on") for s, p, _ in view.scene.relations)]
    if len(group.members) > 1 and busy and view.chance(0.7):
        k = busy[view.rng.integers(len(busy))]
        return _Group((k,), view.scene.things[k].kind)
    return None


def _add_relation(
    view: _VisibleScene, s: _Sentence, subject: _Group, related: list[tuple[str, _Group]], finite: bool
) -> _Group:
    """is standing next to a car."""
    weights = {str(i): view.weight(o) + 0.02 for i, (_, o) in enumerate(related)}
    predicate, other = related[int(weighted_choice(view.rng, weights))]
    how = predicate
    riding = predicate == "on" and other.kind in RIDEABLE and _are_people(view, subject)
    if riding:
        how = "riding"
    elif predicate in ("left of", "right of") and view.are_close(subject, other) and view.chance(0.55):
        how = "beside"
    elif predicate == "on" and other.kind not in ("bench", "boat"):
        how = "atop"
    verb = how in ("riding", "holding")
    word = view.choose(lexicon.RELATIONS[how])
    if finite:
        s.add("are" if len(subject.members) > 1 else "is")
    if not verb and view.chance(0.6):
        _add_action(view, s, subject, finite=False)
    s.add(word)
    _add_name(view, s, other)
    _mark_relation(view, s, subject, predicate, other)
    if riding:
        s.attributes |= {(view.first + k, "pose") for k in subject.members}
    return other


def _are_people(view: _VisibleScene, group: _Group) -> bool:
    return all(view.scene.things[k].kind in PEOPLE for k in group.members)


def _mark_relation(view: _VisibleScene, s: _Sentence, a: _Group, predicate: str, b: _Group) -> None:
    """Mark a relation as mentioned."""
    pairs = [(i + view.first, predicate, j + view.first) for i in a.members for j in b.members]
    s.relations |= {view.statements[pair] for pair in pairs}


def _pose_words(view: _VisibleScene, group: _Group) -> tuple[tuple[str, str, str], ...]:
    poses = {t.pose if _has_pose_word(t := view.scene.things[k]) else "" for k in group.members}
    riding = any(
        s in group.members and p == "on" and view.scene.things[o].kind in RIDEABLE for s, p, o in view.scene.relations
    )
    only = poses.pop() if len(poses) == 1 and not riding else ""
    return lexicon.POSE_VERBS.get(only, {}).get(view.domain, ())


def _can_be_described(view: _VisibleScene, s: _Sentence, group: _Group) -> bool:
    """Whether there is something to say about what a group does or where it is."""
    return bool(_pose_words(view, group)) or _is_idle(view, group) or _place_is_new(view, s, view.ground(group))


def _place_is_new(view: _VisibleScene, s: _Sentence, ground: str | None) -> bool:
    """Whether there are words for being on that stuff, and the sentence does not name it yet."""
    return ground in lexicon.PLACE_PHRASES and not set(view.stuff[ground]) & s.segments


def _is_idle(view: _VisibleScene, group: _Group) -> bool:
    carried = {k for s, p, o in view.scene.relations for k in ((s, o) if p == "on" else (o,) if p == "holding" else ())}
    return group.kind in lexicon.IDLE_VERBS and not carried & set(group.members)


def _add_action(view: _VisibleScene, s: _Sentence, group: _Group, finite: bool) -> None:
    """What a group does, if there is a word for it."""
    many = len(group.members) > 1
    be = "are" if many else "is"
    choice = _pose_words(view, group)
    if choice:
        doing, does, do = choice[view.rng.integers(len(choice))]
        simple = view.domain == "b" and view.chance(0.6)
        if finite and simple:
            s.add(do if many else does)
        else:
            s.add(be if finite else "", doing)
        s.attributes |= {(view.first + k, "pose") for k in group.members}
    elif _is_idle(view, group):
        s.add(be if finite else "", view.choose(lexicon.IDLE_VERBS[group.kind]))
    elif finite and (ground := view.ground(group)) and _place_is_new(view, s, ground):
        s.add(be)
        _add_place(view, s, group.members, ground)


def _add_names(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    for i, group in enumerate(groups):
        if i:
            s.add("and" if i == len(groups) - 1 else ",")
        _add_name(view, s, group)


def _add_name(view: _VisibleScene, s: _Sentence, group: _Group) -> None:
    """a small red car; two dogs; a woman in a blue shirt."""
    many = len(group.members) > 1
    noun = view.choose(lexicon.PERSON if group.kind == "people" else lexicon.NOUNS[group.kind])
    noun = plural(noun) if many else noun
    size = _size_word(view, s, group, noun)
    colour, clothes = _colour_words(view, s, group)
    phrase = " ".join(filter(None, (size, colour, noun)))
    count = _count(view, group) if many else article(phrase)
    if s.pieces and s.pieces[-1][0] == "there are" and count.startswith(("a group", "a herd", "a flock", "a trio")):
        s.pieces[-1] = ("there is", ())
    s.name(f"{count} {phrase}", (view.first + k for k in group.members))
    s.add(clothes)


def _size_word(view: _VisibleScene, s: _Sentence, group: _Group, noun: str) -> str:
    """Sometimes a word for the size that all of a group have, else ""."""
    sizes = {view.scene.things[k].size for k in group.members}
    size = sizes.pop() if len(sizes) == 1 else ""
    words = lexicon.PEOPLE_SIZES if _are_people(view, group) else lexicon.SIZE_WORDS
    if size not in words or not view.chance(0.45) or noun.startswith(("young", "little")):
        return ""
    s.attributes |= {(view.first + k, "size") for k in group.members}
    return view.choose(words[size])


def _colour_words(view: _VisibleScene, s: _Sentence, group: _Group) -> tuple[str, str]:
    """Sometimes the colour that all of a group have: an adjective, or for people their clothes, else ""."""
    colours, people = {view.scene.things[k].colour for k in group.members}, _are_people(view, group)
    if len(colours) != 1 or not view.chance(0.35 if people else 0.5):
        return "", ""
    s.attributes |= {(view.first + k, "colour") for k in group.members}
    colour = lexicon.COLOUR_WORDS.get(c := colours.pop(), {}).get(view.domain, c)
    if not people:
        return colour, ""
    clothes = lexicon.MANY_CLOTHES if len(group.members) > 1 else lexicon.CLOTHES
    return "", lexicon.fill_colour(view.choose(clothes), colour)


def _count(view: _VisibleScene, group: _Group) -> str:
    n = len(group.members)
    if n > 2 and group.kind in lexicon.GROUP_WORDS and view.chance(0.4):
        return lexicon.GROUP_WORDS[group.kind]
    return view.choose(lexicon.COUNTS[min(n, 7)])


def _pronoun(view: _VisibleScene, group: _Group) -> str:
    if len(group.members) > 1:
        return "them"
    return {"man": "him", "woman": "her", "child": "them", "people": "them"}.get(group.kind, "it")


def _add_place(view: _VisibleScene, s: _Sentence, members: Iterable[int], kind: str) -> None:
    """on the grass."""
    preposition, noun = view.choose(lexicon.PLACE_PHRASES[kind])
    s.add(preposition)
    s.name(noun, view.stuff[kind])
    m = view.first
    standing = {(m + k, "on", g) for k in members for g in view.stuff[kind]}
    s.relations |= standing & set(view.relations)


def _sample_groups(view: _VisibleScene, groups: list[_Group], n: int) -> list[_Group]:
    left, out = list(groups), list[_Group]()
    while left and len(out) < n:
        out.append(_sample_subject(view, left))
        left.remove(out[-1])
    return out


# ------------------------------------------------------------------------------------------------ details


def _add_detail(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """One more detail: the background, the sky, the light, distant things."""
    details = {"behind": 1.0, "sky": 0.7, "light": 0.9, "things": 1.2}
    adders: dict[str, Callable[[_VisibleScene, _Sentence], None]] = {
        "behind": _add_backdrop,
        "sky": _add_sky,
        "light": _add_light,
        "things": lambda v, s: _add_distant_things(v, s, groups),
    }
    adders[weighted_choice(view.rng, details)](view, s)


def _add_backdrop(view: _VisibleScene, s: _Sentence) -> None:
    grounds = {view.ground(_Group((k,), "")) for k in view.things}
    there = [k for k in lexicon.BACKDROPS if view.stuff[k] and not set(view.stuff[k]) & s.segments and k not in grounds]
    if s.light or not there:
        return
    kind = there[view.rng.integers(len(there))]
    if not view.chance(2.5 * lexicon.MENTION_WEIGHT[kind]):
        return
    before, noun, after = view.choose(lexicon.BACKDROPS[kind])
    if before == "with" and any(text == "with" for text, _ in s.pieces):
        return
    s.add(before)
    s.name(noun, view.stuff[kind])
    s.add(after)


def _add_sky(view: _VisibleScene, s: _Sentence) -> None:
    if s.light or not view.stuff["sky"] or set(view.stuff["sky"]) & s.segments:
        return
    s.add("under")
    s.name(view.choose(lexicon.SKY_PHRASES[view.scene.light]), view.stuff["sky"])
    s.light = True


def _add_light(view: _VisibleScene, s: _Sentence) -> None:
    if not s.light:
        s.add(view.choose(lexicon.LIGHT_PHRASES[view.scene.light]))
        s.light = True


def _add_distant_things(view: _VisibleScene, s: _Sentence, groups: list[_Group]) -> None:
    """with a tree and a house in the background: things that are behind all that was named."""
    named = _named_positions(view, s)
    if (
        s.light
        or not named
        or any(text == "with" or text in lexicon.DISTANCE_PHRASES[view.domain] for text, _ in s.pieces)
    ):
        return
    far = [g for g in groups if max(g.members) < min(named) and g.kind != "people"]
    far = [g for g in far if view.chance(min(1.0, 0.25 + lexicon.MENTION_WEIGHT[g.kind]))][:2]
    if far:
        s.add("with")
        _add_names(view, s, far)
        s.add(view.choose(lexicon.DISTANCE_PHRASES))
