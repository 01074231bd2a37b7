"""Sentences that say how a picture's things lie to each other, from its annotated relations.

Captions seldom say it (of the drawn scenes' one in twenty-five does), so a model that is to draw "a dog left of a red
car on the grass" would hardly meet such a sentence in training.
"""

from __future__ import annotations

from segue.data.english import article
from segue.types import Picture

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over"),
    "below": ("below", "beneath"),
}
GROUND = "on"


def relation_sentences(picture: Picture) -> tuple[str, ...]:
    """One sentence for each relation of DIRECTIONS between two regions of different names.

    Wordings, colours and the ground that the subject is on take their turns: "a dog left of a car", then "a brown dog
    to the left of a red car on the grass".
    """
    told = [r for r in picture.relations if r.predicate in DIRECTIONS]
    pairs = [r for r in told if picture.regions[r.subject].label != picture.regions[r.object].label]
    said = []
    for i, relation in enumerate(dict.fromkeys(pairs)):
        words = DIRECTIONS[relation.predicate]
        full = bool(i % 2)
        a, b = (_noun(picture, region, full) for region in (relation.subject, relation.object))
        said.append(f"{a} {words[i % len(words)]} {b}" + (_ground(picture, relation.subject) if full else ""))
    return tuple(dict.fromkeys(said))


def _noun(picture: Picture, region: int, full: bool) -> str:
    one = picture.regions[region]
    words = " ".join([*(one.attributes[:1] if full else ()), one.label])
    return f"{article(words)} {words}"


def _ground(picture: Picture, subject: int) -> str:
    under = (r.object for r in picture.relations if r.subject == subject and r.predicate == GROUND)
    stuff = [picture.regions[region].label for region in under if not picture.regions[region].thing]
    return f" on the {stuff[0]}" if stuff else ""
