"""The vocabulary of concepts, and which of them a caption names.

A caption names a concept when one to four of its whole words, in order and in lower case, are the concept or its
plural: "woman" does not name "man". A line end is a space like any other. A possessive is two words ("dog's" is "dog",
"s").
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from segue.data.english import plural, singular
from segue.types import InputError

MAX_CONCEPT_WORDS = 4
Captions = Sequence["str | Sequence[str] | None"]  # of each picture: one, none, or several
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_CLAUSE = re.compile(r"[.,;:!?()\"]")


def split_words(text: str) -> list[str]:
    """The words of a text in lower case: 'A man\\nin T-shirts' -> ['a', 'man', 'in', 't-shirts']."""
    return _WORD.findall((text if text.isascii() else unicodedata.normalize("NFC", text)).lower())


class CaptionConcepts(NamedTuple):
    """The concepts that the captions of N pictures name.

    offsets: (N + 1,). concept_ids: positions in the vocabulary; those of picture i are
    concept_ids[offsets[i]:offsets[i + 1]], sorted and without repeats.
    """

    offsets: NDArray[np.int64]
    concept_ids: NDArray[np.int32]

    def of_rows(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For (R,) pictures all their concepts, in order: (position in `rows`, concept id), both (C,)."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        position = np.repeat(np.arange(len(rows)), lengths)
        within = np.arange(len(position)) - np.repeat(lengths.cumsum() - lengths, lengths)
        return position, self.concept_ids[self.offsets[rows][position] + within].astype(np.int64)


class Vocabulary:
    """Concepts and a fast search for them; the id of a concept is its position.

    concepts: at least one; each has one to four words. Repeats (in any case of letters) count once, in the order given.
    Raises InputError for no concept, and for one that is empty or too long.
    """

    def __init__(self, concepts: Iterable[str]) -> None:
        phrases = [_concept_words(concept) for concept in concepts]
        self.concepts: tuple[str, ...] = tuple(dict.fromkeys(" ".join(phrase) for phrase in phrases))
        if not self.concepts:
            raise InputError("vocabulary: got no concept, expected at least one; give a list or longer captions")
        plurals = {plural(concept): i for i, concept in enumerate(self.concepts)}
        self._ids = plurals | {concept: i for i, concept in enumerate(self.concepts)}  # a listed plural is itself
        self._further_words: dict[str, int] = {}  # first word -> the most words that follow it in a concept, if any
        for text in self._ids:
            first, *rest = text.split(" ")
            if rest:
                self._further_words[first] = max(self._further_words.get(first, 0), len(rest))

    def __len__(self) -> int:
        return len(self.concepts)

    def find(self, caption: str) -> set[int]:
        """The ids of the concepts that the caption names."""
        words = split_words(caption)
        found = set(map(self._ids.get, words))
        found.discard(None)
        for i, word in enumerate(words):
            if word in self._further_words:
                ends = range(i + 2, min(i + 1 + self._further_words[word], len(words)) + 1)
                found.update(self._ids[p] for end in ends if (p := " ".join(words[i:end])) in self._ids)
        return cast(set[int], found)


def _concept_words(concept: str) -> list[str]:
    if not isinstance(concept, str) or not (words := split_words(concept)):
        raise InputError(f"concept {concept!r:.40}: expected one to {MAX_CONCEPT_WORDS} words; take it out of the list")
    if len(words) > MAX_CONCEPT_WORDS:
        raise InputError(f"concept {' '.join(words)!r}: got {len(words)} words, expected one to {MAX_CONCEPT_WORDS}")
    return words


def find_concepts(captions: Captions, vocabulary: Vocabulary) -> CaptionConcepts:
    """The concepts that each picture's captions name: the union over them; none for a picture without caption."""
    counts = np.zeros(len(captions) + 1, np.int64)
    concept_ids: list[int] = []
    for i, texts in enumerate(map(_texts, captions)):
        found: set[int] = set().union(*map(vocabulary.find, texts))
        counts[i + 1] = len(found)
        concept_ids.extend(sorted(found))
    return CaptionConcepts(counts.cumsum(), np.array(concept_ids, np.int32))


def _texts(captions: str | Sequence[str] | None) -> Sequence[str]:
    return (captions,) if isinstance(captions, str) else captions or ()


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a text file with one concept a line; empty lines don't count.

    Raises InputError when the file is missing, not UTF-8, or holds no usable concept.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a text file with one concept a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); save it as UTF-8 text") from error
    return Vocabulary(line for line in lines if line.strip())


# ------------------------------------------------------------------------------------------------ nouns of a corpus

_DETERMINERS, _PREPOSITIONS, _OTHER_FUNCTION_WORDS = (
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
_PHRASE_OPENERS = _DETERMINERS | _PREPOSITIONS
_FUNCTION_WORDS = _PHRASE_OPENERS | _OTHER_FUNCTION_WORDS


def noun_vocabulary(captions: Captions, *, at_least: int = 5, limit: int = 2000) -> Vocabulary:
    """The nouns that the captions name, the most frequent first. No tagger is used, only the positions of words.

    A noun phrase begins after a determiner, a number or a preposition and ends at the next function word, verb or
    punctuation mark. A noun is a word that ends at least half of its phrases; an adjective is followed by another word,
    a verb hardly ever begins a phrase or is more frequent with -ing, and a word that "of" follows as often as not is a
    measure ("a group of"). Two neighbours in a phrase that are both nouns are a concept too ("traffic light"). Plurals
    count for their singular.

    at_least: how often a noun must occur. limit: how many are kept. Raises InputError when there is no such noun.
    """
    clauses = [clause for picture in captions for text in _texts(picture) for clause in _clauses(text)]
    counts = Counter(word for clause in clauses for word in clause)
    verbs = _verbs(clauses, counts)
    phrases = [phrase for clause in clauses for phrase in _noun_phrases(clause, verbs)]
    frequency = _concept_counts(phrases, _nouns(phrases, clauses, counts, verbs), counts)
    ranked = sorted((c for c in frequency if frequency[c] >= at_least), key=lambda c: (-frequency[c], c))
    if not ranked:
        raise InputError(f"captions: no noun is named {at_least} times or more; give more captions or your own list")
    return Vocabulary(ranked[:limit])


def _clauses(text: str) -> list[list[str]]:
    """The words between punctuation marks."""
    return [split_words(part) for part in _CLAUSE.split(text)]


def _verbs(clauses: Sequence[list[str]], counts: Counter[str]) -> set[str]:
    opening = Counter(word for clause in clauses for before, word in pairwise(clause) if before in _PHRASE_OPENERS)
    return {word for word in counts if _is_verb(word, counts, opening)}


def _is_verb(word: str, counts: Counter[str], opening: Counter[str]) -> bool:
    """Whether a word, with its singular, hardly ever begins a phrase, or is more frequent with -ing."""
    both = {word, singular(word, counts)}
    seldom_opens = sum(opening[w] for w in both) < 0.04 * sum(counts[w] for w in both)
    return seldom_opens or _count_ing_form(word, counts) > counts[word]


def _count_ing_form(word: str, counts: Counter[str]) -> int:
    """How often the -ing form of a word occurs: walking, riding, sitting."""
    other = word[:-1] if word.endswith("e") else word + word[-1]
    return max(counts[word + "ing"], counts[other + "ing"])


def _noun_phrases(clause: list[str], verbs: set[str]) -> Iterable[list[str]]:
    """The noun phrases of a clause, without the words that open them."""
    phrase: list[str] | None = None
    for before, word in zip(["", *clause], clause, strict=False):
        ing_form = word.endswith("ing") and len(word) > 4 and before not in _DETERMINERS
        if word in _FUNCTION_WORDS or word in verbs or ing_form:
            if phrase:
                yield phrase
            phrase = None
        elif before in _PHRASE_OPENERS:
            phrase = [word]
        elif phrase is not None:
            phrase.append(word)
    if phrase:
        yield phrase


def _nouns(
    phrases: Sequence[list[str]], clauses: Sequence[list[str]], counts: Counter[str], verbs: set[str]
) -> set[str]:
    last = Counter(phrase[-1] for phrase in phrases)
    before_of = Counter(word for clause in clauses for word, after in pairwise(clause) if after == "of")
    ends_phrases = {w for w, n in last.items() if n >= 0.5 * counts[w] and before_of[w] < 0.5 * counts[w]}
    words = {w for w in ends_phrases if len(w) > 2 and not w.isdigit()}
    return {w for w in words if singular(w, counts) not in verbs}


def _concept_counts(phrases: Sequence[list[str]], nouns: set[str], counts: Counter[str]) -> Counter[str]:
    """How often each noun and each pair of neighbouring nouns occurs, plurals counted for their singular."""
    frequency: Counter[str] = Counter()
    for noun in nouns:
        frequency[singular(noun, counts)] += counts[noun]
    for phrase in phrases:
        for head, tail in pairwise(phrase):
            if head in nouns and tail in nouns:
                frequency[f"{head} {singular(tail, counts)}"] += 1
    return frequency
