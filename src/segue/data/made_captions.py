"""Sentences that nobody wrote: of what a label map shows, by template, and a caption in other words, by rule.

Both are for training only: a figure on such sentences says nothing about how people write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from segue.data.english import article

MIN_SHARE = 0.02  # of the picture: what takes less is not named
MOST_NAMED = 5  # the largest
APART = 0.2  # of the picture's side: centres that are nearer say nothing of above and below, left and right
ALIKE = (  # words that may stand for each other; longer ones are looked for first
    ("photo", "picture", "image"),
    ("near", "close to", "next to", "beside"),
    ("below", "beneath"),
    ("to the left of", "on the left of"),
    ("to the right of", "on the right of"),
    ("large", "big"),
    ("small", "little"),
    ("bicycle", "bike"),
    ("motorcycle", "motorbike"),
    ("airplane", "plane"),
    ("couch", "sofa"),
    ("child", "kid"),
    ("street", "road"),
    ("ocean", "sea"),
)
_OTHERS = {word: [other for other in group if other != word] for group in ALIKE for word in group}
_ALIKE = re.compile(rf"\b({'|'.join(sorted(_OTHERS, key=len, reverse=True))})\b")
_ARTICLE = re.compile(rf"\b(an?) ({_ALIKE.pattern})")
_PHRASE = r"(?:an?|the|some|two|three|four|five) (?:[\w-]+ )?[\w-]+"
_PAIR = re.compile(rf"\b({_PHRASE}) and ({_PHRASE})(?=[.,!]?$)")


def template_captions(labels: NDArray[np.integer], classes: Sequence[str]) -> tuple[str, ...]:
    """Sentences of a label map: what it shows, largest first and last, and how the parts lie to each other.

    labels: (H, W), positions in classes; others are unknown. Empty where no class takes MIN_SHARE of the map.
    """
    shares = {i: float((labels == i).mean()) for i in np.unique(labels[labels < len(classes)]).tolist()}
    shown = sorted((i for i, share in shares.items() if share >= MIN_SHARE), key=lambda i: -shares[i])[:MOST_NAMED]
    if not shown:
        return ()
    names = [classes[i] for i in shown]
    found = [f"a photo of {_listed(names)}", f"{_listed(names[::-1])} in a photo"]
    centres = {i: np.argwhere(labels == i).mean(0) / labels.shape for i in shown}
    for a, b in combinations(shown, 2):
        down, right = (centres[b] - centres[a]).tolist()
        if max(abs(down), abs(right)) >= APART:
            words = ("above", "below") if abs(down) >= abs(right) else ("left of", "right of")
            where = words[(down if abs(down) >= abs(right) else right) < 0]
            found.append(f"{classes[a]} {where} {classes[b]}")
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def paraphrases(caption: str, count: int, seed: Sequence[int]) -> tuple[str, ...]:
    """Up to `count` other wordings of a caption: words of ALIKE exchanged, two things that end it in the other order.

    None of them says something else; fewer, or none, where the rules find too little to change. seed: of the choice.
    """
    rng, found = np.random.default_rng(seed), dict[str, None]()
    for _ in range(4 * count):
        other = _ALIKE.sub(lambda word: str(rng.choice([word[0], *_OTHERS[word[0]]])), caption)
        other = _ARTICLE.sub(lambda found: f"{article(found[2])} {found[2]}", other)
        if rng.random() < 0.5:
            other = _PAIR.sub(r"\2 and \1", other)
        if other != caption:
            found[other] = None
    return tuple(found)[:count]
