"""English words: where they are in a text; of nouns plural, singular and indefinite article, by rule and by tables."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_IRREGULAR = {
    "calf": "calves",
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "half": "halves",
    "knife": "knives",
    "leaf": "leaves",
    "life": "lives",
    "loaf": "loaves",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "scarf": "scarves",
    "shelf": "shelves",
    "thief": "thieves",
    "tooth": "teeth",
    "wife": "wives",
    "wolf": "wolves",
} | {
    one: one + "es" for one in ("buffalo", "domino", "echo", "hero", "mango", "mosquito", "potato", "tomato", "volcano")
}
_COMPOUND_ENDS = ("man", "child", "person")  # fireman, grandchild, salesperson
_NO_COMPOUNDS = frozenset(("german", "human", "norman", "ottoman", "roman", "shaman", "talisman"))
_UNCHANGED = frozenset(
    (
        *("aircraft", "broccoli", "cattle", "deer", "fish", "fries", "luggage", "moose", "offspring", "people"),
        *("salmon", "scissors", "series", "sheep", "skis", "species", "stairs", "trout", "woods"),
    )
)

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The words of a text in lower case, each with its first character and the one after its last."""
    return [(match.group().lower(), match.start(), match.end()) for match in WORD.finditer(text)]


def plural(noun: str) -> str:
    """The plural of a noun, or of the last word of several: "fireman" -> "firemen", "hot dog" -> "hot dogs".

    noun: in lower case. A word of a script without Latin letters stays as it is.
    """
    before, space, last = noun.rpartition(" ")
    return before + space + _plural_word(last)


def _plural_word(word: str) -> str:
    ends = () if word in _NO_COMPOUNDS else tuple(end for end in _COMPOUND_ENDS if word.endswith(end))
    for stem in (word, *ends):
        if stem in _IRREGULAR:
            return word.removesuffix(stem) + _IRREGULAR[stem]
    if not word or word in _UNCHANGED or not unicodedata.normalize("NFD", word[-1])[0].isascii():
        return word
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def singular(noun: str, counts: Counter[str]) -> str:
    """The word whose plural `noun` is, if a corpus has it; otherwise `noun` itself: "pants" stays.

    noun: one word in lower case. counts: how often each word occurs in the corpus; a singular more than 20 times
    rarer than `noun` does not count.
    """
    candidates = [noun[:-1], noun[:-2], noun[:-3] + "y", noun[:-3] + "f", noun[:-3] + "fe"]
    candidates += [noun.removesuffix(many) + one for one, many in _IRREGULAR.items() if noun.endswith(many)]
    return next((one for one in candidates if 20 * counts[one] >= counts[noun] and plural(one) == noun), noun)


def article(phrase: str) -> str:
    """ "a" or "an", by the first letter of a phrase in lower case."""
    return "an" if phrase[0] in "aeiou" else "a"
