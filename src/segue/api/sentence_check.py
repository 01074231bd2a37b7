"""What a sentence says of a layout, and how much of it the boxes of a layout fulfil: a rule, nothing learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.synthetic.scenes.language.parser import parse
from segue.synthetic.scenes.scene import CLASSES

Classes = tuple[int, ...]  # any one of them will do: a "person" is a man, a woman or a child
Relation = tuple[Classes, str, Classes]  # subject, one of DIRECTIONS, object
DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis (x, y), sign


@dataclass(frozen=True)
class CaptionContent:
    """What a caption says of a layout: the classes that it names, how many things, and relations between them.

    counts: classes with the fewest and the most of them.
    """

    named: tuple[Classes, ...] = ()
    relations: tuple[Relation, ...] = ()
    counts: tuple[tuple[Classes, tuple[int, int]], ...] = ()


class Fulfilled(NamedTuple):
    """Shares, 1 where nothing is said, to compare tries: of named classes and relations together, then of counts."""

    said: float
    counts: float


def caption_content(caption: str, classes: Sequence[str]) -> CaptionContent:
    """The content of a caption of the synthetic scenes; empty for other classes, whose captions can't be parsed."""
    if tuple(classes) != CLASSES:
        return CaptionContent()
    request = parse(caption, strict=False)
    things = [tuple(CLASSES.index(kind) for kind in thing.kinds) for thing in request.things]
    relations = [(things[a], names[0], things[b]) for a, names, b in request.relations if len(names) == 1]
    stuff = [(CLASSES.index(name),) for name in request.stuff]
    return CaptionContent(
        tuple(dict.fromkeys([*things, *stuff])),
        tuple(r for r in relations if r[1] in DIRECTIONS),
        tuple((kinds, thing.count) for kinds, thing in zip(things, request.things, strict=True)),
    )


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
