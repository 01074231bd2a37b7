"""Notes in other words than those of a model's training: each unknown word becomes one that the model knows.

A text encoder that learned from a few hundred notes cuts a word that they lack into letters, which mean nothing to it
and hide the rest of the note: the bundled models did worse with such notes than without any.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

SAME = (  # words of one meaning, the usual one first
    ("infection", "opacity", "opacities", "consolidation", "consolidations", "infiltrate", "infiltrates", "pneumonia"),
    ("infected", "affected", "involved"),
    ("area", "region", "spot", "focus", "lesion"),
    ("areas", "regions", "spots", "foci", "lesions"),
    ("bilateral", "two-sided", "both-sided"),
    ("unilateral", "one-sided"),
    ("upper", "top", "superior", "apical"),
    ("middle", "mid"),
    ("lower", "bottom", "inferior", "basal", "basilar"),
    ("all", "whole", "entire"),
    ("left", "left-sided"),
    ("right", "right-sided"),
    ("lung", "lungs", "pulmonary", "lobe", "lobes"),
    ("one", "1", "single"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
)
PLACES = {  # words that are several of a training's, in radiologists' notes
    "rul": "upper right lung", "rml": "middle right lung", "rll": "lower right lung",
    "lul": "upper left lung", "lll": "lower left lung", "lingula": "middle left lung",
    "base": "lower lung", "apex": "upper lung",
    "bibasilar": "lower left lung and lower right lung", "bibasal": "lower left lung and lower right lung",
    "biapical": "upper left lung and upper right lung",
}  # fmt: skip
FILLERS = frozenset(
    ["a", "an", "the", "is", "are", "there", "there's", "shows", "with", "within", "seen", "please", "of", "in", "at"]
)
_SAME = {word: group for group in SAME for word in group}
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


class Reading(NamedTuple):
    """A note as a model reads it. text: "" where it knows no word of it. unknown: words that it has none for."""

    text: str
    unknown: tuple[str, ...]


def read_wording(note: str, knows: Callable[[str], bool]) -> Reading:
    """The note with each word that the model doesn't know in the place of one of the same meaning that it does.

    knows: whether the model knows a word in small letters. Unknown fillers ("the") go; other unknown words stay and are
    named. A note of known words is returned as it is.
    """
    unknown = list[str]()

    def replaced(found: re.Match[str]) -> str:
        word = found[0].lower()
        if knows(word):
            return found[0]
        other = next((one for one in _SAME.get(word, ()) if knows(one)), None)
        if other is None and word in PLACES and all(map(knows, PLACES[word].split())):
            other = PLACES[word]
        if other is None and word not in FILLERS:
            unknown.append(found[0])
            return found[0]
        return other or ""

    text = _WORD.sub(replaced, note)
    if text != note:
        text = re.sub(r"\s+([,.;])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;")
    return Reading(text, tuple(dict.fromkeys(unknown)))
