"""What a sentence says of a layout, and how much of it the boxes of a layout fulfil: a rule, nothing learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.english import WORD
from segue.data.formats.names import find_class_names
from segue.synthetic.scenes.language.parser import parse
from segue.synthetic.scenes.scene import CLASSES

Classes = tuple[int, ...]  # any one of them will do: a "person" is a man, a woman or a child
Relation = tuple[Classes, str, Classes]  # subject, one of DIRECTIONS, object
DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis (x, y), sign
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_NAMES = {"left of": "left of", "left side of": "left of", "right of": "right of", "right side of": "right of"}
_NAMES |= {"above": "above", "over": "above", "below": "below", "beneath": "below"}
_DIRECTION = re.compile(rf"\b(?P<name>{'|'.join(_NAMES)})\b(?:\s+(?P<pronoun>it|him|her|them)\b)?")


@dataclass(frozen=True)
class CaptionContent:
    """What a caption says of a layout: the classes that it names, how many things, and relations between them.

    Each is there once. counts: classes with the fewest and the most of them.
    """

    named: tuple[Classes, ...] = ()
    relations: tuple[Relation, ...] = ()
    counts: tuple[tuple[Classes, tuple[int, int]], ...] = ()


class Fulfilled(NamedTuple):
    """Shares, 1 where nothing is said, to compare tries: of named classes and relations together, then of counts."""

    said: float
    counts: float


def caption_content(caption: str, classes: Sequence[str]) -> CaptionContent:
    """The content of a caption: of the synthetic scenes' language by its grammar, for other classes by their names."""
    return _by_grammar(caption) if tuple(classes) == CLASSES else _by_names(caption, classes)


def _by_grammar(caption: str) -> CaptionContent:
    request = parse(caption, strict=False)
    things = [tuple(CLASSES.index(kind) for kind in thing.kinds) for thing in request.things]
    relations = [(things[a], names[0], things[b]) for a, names, b in request.relations if len(names) == 1]
    stuff = [(CLASSES.index(name),) for name in request.stuff]
    return CaptionContent(
        tuple(dict.fromkeys([*things, *stuff])),
        tuple(dict.fromkeys(r for r in relations if r[1] in DIRECTIONS)),
        tuple(dict.fromkeys((kinds, thing.count) for kinds, thing in zip(things, request.things, strict=True))),
    )


def _by_names(caption: str, classes: Sequence[str]) -> CaptionContent:
    """By the names of the classes and their synonyms (`find_class_names`), and the words between two of them.

    A number before a name is its count; a direction after it is its relation to the next name, or before a pronoun to
    the last: "a boat with a bird above it".
    """
    found = find_class_names(caption, classes)
    kinds = [tuple(sorted(classes.index(name) for name in names)) for _, _, names in found]
    ends = [0, *(end for _, end, _ in found), len(caption)]
    starts = [*(start for start, _, _ in found), len(caption)]
    between = [caption[end:start].lower() for end, start in zip(ends[:-1], starts, strict=True)]
    counts, relations = [], []
    for i, kind in enumerate(kinds):
        if numbers := [NUMBERS[word] for word in WORD.findall(between[i]) if word in NUMBERS]:
            counts.append((kind, (numbers[-1], numbers[-1])))
        for match in _DIRECTION.finditer(between[i + 1]):
            other = i - 1 if match["pronoun"] else i + 1
            if 0 <= other < len(kinds):
                relations.append((kind, _NAMES[match["name"]], kinds[other]))
    return CaptionContent(tuple(dict.fromkeys(kinds)), tuple(dict.fromkeys(relations)), tuple(dict.fromkeys(counts)))


def wanted(content: CaptionContent) -> list[tuple[Classes, tuple[float, float]]]:
    """Of which classes a layout needs parts, and the fewest and the most of them: what a caption names and counts."""
    return [*((kinds, (1, np.inf)) for kinds in content.named), *content.counts]


def fulfilled(content: CaptionContent, boxes: NDArray[np.int64]) -> Fulfilled:
    """How much of a caption's content the boxes (R, 5) of a layout fulfil: class, left, top, right, bottom.

    A relation holds if it does for the centres of any two boxes of its classes.
    """
    kinds = boxes[:, 0].tolist()
    counts = [low <= sum(kind in each for kind in kinds) <= high for each, (low, high) in content.counts]
    said = [any(kind in each for kind in kinds) for each in content.named]
    said += [_holds(boxes, relation) for relation in content.relations]
    return Fulfilled(*(sum(part) / len(part) if part else 1.0 for part in (said, counts)))


def _holds(boxes: NDArray[np.int64], relation: Relation) -> bool:
    subjects, name, objects = relation
    axis, sign = DIRECTIONS[name]
    a, b = (boxes[np.isin(boxes[:, 0], each)][:, [1 + axis, 3 + axis]].sum(1) for each in (subjects, objects))
    return any(sign * (p - q) > 0 for p, q in product(a.tolist(), b.tolist()))
