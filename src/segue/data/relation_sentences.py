"""Sentences about spatial relations, made from a picture's annotated relations.

Captions rarely have them (one in twenty-five of the synthetic scenes), so that a model that draws "a dog left of a red
car on the grass" would hardly see such a sentence in training.
"""

from __future__ import annotations

import re

from segue.data.english import article
from segue.types import Picture

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over"),
    "below": ("below", "beneath"),
}
GROUND = "on"
_OPPOSITE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_SIDE = re.compile(rf"\b({'|'.join(_OPPOSITE)})\b")


def relation_sentences(picture: Picture) -> tuple[str, ...]:
    """One sentence for each relation of DIRECTIONS between two regions of different names.

    Wordings, colours and the ground that the subject is on alternate: "a dog left of a car", then "a brown dog
    to the left of a red car on the grass".
    """
    known = [r for r in picture.relations if r.predicate in DIRECTIONS]
    pairs = [r for r in known if picture.regions[r.subject].label != picture.regions[r.object].label]
    sentences = []
    for i, relation in enumerate(dict.fromkeys(pairs)):
        words = DIRECTIONS[relation.predicate]
        full = bool(i % 2)
        a, b = (_noun(picture, region, full) for region in (relation.subject, relation.object))
        sentences.append(
            f"{a} {words[i % len(words)]} {b}" + (_ground_phrase(picture, relation.subject) if full else "")
        )
    return tuple(dict.fromkeys(sentences))


def _noun(picture: Picture, region: int, full: bool) -> str:
    one = picture.regions[region]
    words = " ".join([*(one.attributes[:1] if full else ()), one.label])
    return f"{article(words)} {words}"


def _ground_phrase(picture: Picture, subject: int) -> str:
    under = (r.object for r in picture.relations if r.subject == subject and r.predicate == GROUND)
    stuff = [picture.regions[region].label for region in under if not picture.regions[region].thing]
    return f" on the {stuff[0]}" if stuff else ""


def mirrored_sentence(sentence: str) -> str:
    """What an English sentence says of a picture, of the mirrored picture: left and right are exchanged."""
    return _SIDE.sub(lambda side: _OPPOSITE[side[0]], sentence)
