"""Concepts: what counts as one, and which of them a caption names.

A caption names a concept when one to four of its whole words, in order and lower case, are the concept or its plural:
"man" is not in "woman". Line ends are spaces like any other. A possessive is two words ("dog's" is "dog", "s").
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from segue.data.english import plural, singular
from segue.types import InputError

LONGEST = 4  # words of a concept
Captions = Sequence["str | Sequence[str] | None"]  # of each picture: one, none, or several
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_CLAUSE = re.compile(r"[.,;:!?()\"]")


def words(text: str) -> list[str]:
    """'A man\\nin T-shirts' -> ['a', 'man', 'in', 't-shirts']."""
    return _WORD.findall((text if text.isascii() else unicodedata.normalize("NFC", text)).lower())


class Vocabulary:
    """Concepts and the fast search for them; a concept's number is its position.

    concepts: at least one; each has one to four words. Repeated ones (in any case of letters) count once, in the order
    given. Raises InputError for none, and for one that is empty or too long.
    """

    def __init__(self, concepts: Iterable[str]) -> None:
        tokens = [words(self._checked(concept)) for concept in concepts]
        for t in tokens:
            if not 1 <= len(t) <= LONGEST:
                raise InputError(f"concept {' '.join(t)!r}: got {len(t)} words, expected one to {LONGEST}")
        self.concepts: tuple[str, ...] = tuple(dict.fromkeys(" ".join(t) for t in tokens))
        if not self.concepts:
            raise InputError("vocabulary: got no concept, expected at least one; give a list or longer captions")
        plurals = {plural(concept): i for i, concept in enumerate(self.concepts)}
        self._numbers = plurals | {concept: i for i, concept in enumerate(self.concepts)}  # a listed plural is itself
        self._reach: dict[str, int] = {}  # first word -> the most words that follow it in a concept, if any
        for phrase in self._numbers:
            first, *rest = phrase.split(" ")
            if rest:
                self._reach[first] = max(self._reach.get(first, 0), len(rest))

    @staticmethod
    def _checked(concept: str) -> str:
        if not isinstance(concept, str) or not words(concept):
            raise InputError(f"concept {concept!r:.40}: expected one to {LONGEST} words; take it out of the list")
        return concept

    def __len__(self) -> int:
        return len(self.concepts)

    def find(self, caption: str) -> set[int]:
        """The numbers of the concepts that the caption names."""
        said = words(caption)
        found = set(map(self._numbers.get, said))
        found.discard(None)
        for i, word in enumerate(said):
            if word in self._reach:
                ends = range(i + 2, min(i + 1 + self._reach[word], len(said)) + 1)
                found.update(self._numbers[p] for end in ends if (p := " ".join(said[i:end])) in self._numbers)
        return cast(set[int], found)


def find_concepts(captions: Captions, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The concepts of N pictures' captions: offsets o (N + 1,) and numbers; picture i has numbers[o[i]:o[i+1]].

    Of a picture with several captions the union; one without caption has none. Numbers are sorted within a picture.
    """
    counts = np.zeros(len(captions) + 1, np.int64)
    numbers: list[int] = []
    for i, told in enumerate(captions):
        texts = (told,) if isinstance(told, str) else told or ()
        found: set[int] = set().union(*map(vocabulary.find, texts))
        counts[i + 1] = len(found)
        numbers.extend(sorted(found))
    return counts.cumsum(), np.array(numbers, np.int32)


def read_vocabulary(path: Path) -> Vocabulary:
    """One concept a line; empty lines don't count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a text file with one concept a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); save it as UTF-8 text") from error
    return Vocabulary(line for line in lines if line.strip())


# ------------------------------------------------------------------------------------------------ nouns of a corpus

_DETERMINERS, _PREPOSITIONS, _CLOSED = (
    frozenset(line.split())
    for line in (
        "a an the this that these those his her its their my your our some any no each every another other both few "
        "several many two three four five six seven eight nine ten dozen",
        "of in on at by with without from into onto over under above below behind before beside besides between among "
        "near through across along around against inside outside toward towards off up down for like past during",
        "and or but nor so yet while as if when where who whom whose which what than then there here not very too also "
        "just is are was were be been being am has have had do does did can could will would may might must shall "
        "should to after i you he she it we they me him us them himself herself itself themselves one ones out away "
        "back together next front top all most more much something someone anything",
    )
)
_OPENS = _DETERMINERS | _PREPOSITIONS
_FUNCTION = _OPENS | _CLOSED


def noun_vocabulary(captions: Captions, *, at_least: int = 5, limit: int = 2000) -> Vocabulary:
    """The nouns that the captions themselves name, by frequency: no tagger, only where words stand.

    A noun phrase opens after a determiner, a number or a preposition and runs to the next function word, verb or mark.
    A noun is a word that ends such phrases more often than not and sometimes is one alone; an adjective is followed by
    another word, a verb never opens a phrase or is seen more often with -ing, and what "of" follows more often than not
    is a measure ("a group of"). Neighbours in a phrase that are both nouns are a concept too ("traffic light"). Plurals
    count for their singular. at_least: times that a noun must be seen.
    """
    clauses = _clauses(captions)
    total = Counter(word for clause in clauses for word in clause)
    opening = Counter(b for clause in clauses for a, b in _pairs(clause) if a in _OPENS)
    verbs = {word for word in total if _is_verb(word, total, opening)}
    runs = [run for clause in clauses for run in _runs(clause, verbs)]
    last = Counter(run[-1] for run in runs)
    measures = Counter(a for clause in clauses for a, b in _pairs(clause) if b == "of")
    nouns = {w for w, count in last.items() if count >= 0.5 * total[w] and measures[w] < 0.5 * total[w]}
    nouns = {w for w in nouns if len(w) > 2 and not w.isdigit() and singular(w, total) not in verbs}
    pairs = Counter(f"{a} {b}" for run in runs for a, b in _pairs(run) if a in nouns and b in nouns)
    seen: Counter[str] = Counter()
    for word in nouns:
        seen[singular(word, total)] += total[word]
    for pair, count in pairs.items():
        head, tail = pair.split(" ")
        seen[f"{head} {singular(tail, total)}"] += count
    ranked = sorted((word for word in seen if seen[word] >= at_least), key=lambda word: (-seen[word], word))
    if not ranked:
        raise InputError(f"captions: no noun is named {at_least} times or more; give more captions or your own list")
    return Vocabulary(ranked[:limit])


def _is_verb(word: str, total: Counter[str], opening: Counter[str]) -> bool:
    """Whether a word, its singular counted in, hardly ever opens a phrase, or is seen more often with -ing."""
    both = {word, singular(word, total)}
    return sum(opening[w] for w in both) < 0.04 * sum(total[w] for w in both) or _doing(word, total) > total[word]


def _doing(word: str, total: Counter[str]) -> int:
    """How often the -ing form of a word is seen: walk, ride, sit."""
    return max(total[word + "ing"], total[word[:-1] + "ing"] if word.endswith("e") else total[word + word[-1] + "ing"])


def _clauses(captions: Captions) -> list[list[str]]:
    texts = (text for told in captions for text in ([told] if isinstance(told, str) else told or ()))
    return [words(part) for text in texts for part in _CLAUSE.split(text)]


def _pairs(run: Sequence[str]) -> Iterable[tuple[str, str]]:
    return pairwise(run)


def _runs(clause: list[str], verbs: set[str]) -> Iterable[list[str]]:
    """The noun phrases of a clause, without what opens them."""
    run: list[str] | None = None
    for before, word in zip(["", *clause], clause, strict=False):
        doing = word.endswith("ing") and len(word) > 4 and before not in _DETERMINERS
        if word in _FUNCTION or word in verbs or doing:
            if run:
                yield run
            run = None
        elif before in _OPENS:
            run = [word]
        elif run is not None:
            run.append(word)
    if run:
        yield run
