"""The names that a model knows: words of captions, classes of nodes, predicates of edges; text to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from segue.data.english import plural, word_spans
from segue.data.formats.names import terms
from segue.types import InputError, Picture

END, UNKNOWN = 0, 1  # the first two token ids; END also fills what follows it
MIN_NAMED_SHARE = 0.1  # of what a noun names: rarer classes are phrases that were marked wrong


@dataclass(frozen=True)
class Lexicon:
    """The vocabulary of captions, one token a word, and the names of classes and predicates.

    words: their token ids start at 2 (0 ends a caption, 1 is any other word). classes, predicates: their ids start at 1
    (0 is any other). nouns: a word and the classes that phrases ending in it name, for each such word; without any,
    those of `segue.data.formats.names`.
    Raises InputError when words or classes are empty, or a list has a name twice.
    """

    words: tuple[str, ...]
    classes: tuple[str, ...]
    predicates: tuple[str, ...] = ()
    nouns: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "nouns", tuple(map(tuple, self.nouns)))  # rows of JSON are lists
        for kind in ("words", "classes", "predicates"):
            names = getattr(self, kind)
            if len(set(names)) < len(names) or (not names and kind != "predicates"):
                raise InputError(f"{kind}: got {len(names)} names, {len(set(names))} of them different; name each once")

    @cached_property
    def _ids(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        first = {"words": 2, "classes": 1, "predicates": 1}
        words, classes, predicates = (
            {_normalise(name): i for i, name in enumerate(getattr(self, kind), start)} for kind, start in first.items()
        )
        return words, classes, predicates

    @cached_property
    def _classes_of(self) -> dict[str, frozenset[str]]:
        if self.nouns:
            return {row[0]: frozenset(map(_normalise, row[1:])) for row in self.nouns if row}
        found: dict[str, set[str]] = {}
        for label in self.classes:
            for term in terms(label):
                found.setdefault(term[-1], set()).add(_normalise(label))
        return {word: frozenset(classes) for word, classes in found.items()}

    def classes_of(self, word: str) -> frozenset[str]:
        """The classes, in lower case, of which a word in lower case may name an object; none for other words."""
        return self._classes_of.get(word, frozenset())

    @cached_property
    def noun_words(self) -> tuple[str, ...]:
        """The words that name classes and whose plural is another such word."""
        return tuple(
            sorted(word for word in self._classes_of if plural(word) != word and plural(word) in self._classes_of)
        )

    @property
    def size(self) -> int:
        """The vocabulary size: how many token ids there are, with END and UNKNOWN."""
        return len(self.words) + 2

    def encode(self, caption: str, length: int) -> list[int]:
        """`length` token ids: those of the caption's words, cut to `length`, then END."""
        found = [self._ids[0].get(word, UNKNOWN) for word, _, _ in word_spans(caption)][:length]
        return found + [END] * (length - len(found))

    def decode(self, token_ids: Iterable[int]) -> tuple[str, list[tuple[int, int]]]:
        """The caption up to the first END, and where each of its words starts and ends."""
        spans: list[tuple[int, int]] = []
        caption = ""
        for token in token_ids:
            if token == END:
                break
            word = "[unknown]" if token == UNKNOWN else self.words[token - 2]
            start = len(caption) + bool(caption)
            caption = f"{caption} {word}" if caption else word
            spans.append((start, start + len(word)))
        return caption, spans

    def encode_required(self, words: Iterable[str]) -> list[int]:
        """The token ids of words that a caption must include; InputError names those outside the vocabulary."""
        phrases = list(words)
        if no_text := [phrase for phrase in phrases if not isinstance(phrase, str)]:
            raise InputError(f"include: got {no_text[0]!r}, expected words")
        if empty := [phrase for phrase in phrases if not word_spans(phrase)]:
            raise InputError(f"include: got {empty[0]!r}, in which there is no word")
        required = [part for phrase in phrases for part, _, _ in word_spans(phrase)]
        if unknown := [word for word in required if word not in self._ids[0]]:
            examples = ", ".join(self.words[:8])
            raise InputError(
                f"include: {', '.join(unknown)} is outside the model's {len(self.words)} words; "
                f"choose among them ({examples}, ...), or train with captions that use it"
            )
        return [self._ids[0][word] for word in required]

    def class_id(self, name: str) -> int:
        """The id of a class, whatever its letters' case; 0 for one that the model doesn't know."""
        return self._ids[1].get(_normalise(name), 0)

    def predicate_id(self, name: str) -> int:
        """The id of a predicate, whatever its letters' case; 0 for one that the model doesn't know."""
        return self._ids[2].get(_normalise(name), 0)


def _normalise(name: str) -> str:
    return name.strip().lower()


def build_lexicon(pictures: Sequence[Picture], min_count: int = 1, predicates: Iterable[str] = ()) -> Lexicon:
    """The lexicon of a training set: words by falling frequency, without those of fewer than `min_count` occurrences.

    predicates: further ones, beside those of the pictures' relations (such as `segue.methods.sgdiff.graph.SPATIAL`).
    """
    words: Counter[str] = Counter()
    classes: set[str] = set()
    all_predicates = set(predicates)
    for picture in pictures:
        words.update(word for caption in picture.captions for word, _, _ in word_spans(caption))
        classes.update(region.label for region in picture.regions)
        all_predicates.update(relation.predicate for relation in picture.relations)
    kept = sorted((word for word, count in words.items() if count >= min_count), key=lambda word: (-words[word], word))
    nouns = {word: count for word, count in _named_classes(pictures).items() if word in set(kept)}
    return Lexicon(tuple(kept), tuple(sorted(classes)), tuple(sorted(all_predicates)), _noun_rows(nouns))


def _named_classes(pictures: Iterable[Picture]) -> dict[str, Counter[str]]:
    """Of each word that ends a phrase, how often it names which class."""
    found: dict[str, Counter[str]] = {}
    for picture in pictures:
        for phrase in picture.phrases:
            if phrase.regions and (words := word_spans(picture.captions[phrase.caption][phrase.start : phrase.end])):
                found.setdefault(words[-1][0], Counter()).update({picture.regions[r].label for r in phrase.regions})
    return found


def _noun_rows(nouns: dict[str, Counter[str]]) -> tuple[tuple[str, ...], ...]:
    """Each word with its classes, the rare ones left out, in alphabetical order."""
    return tuple(
        (word, *sorted(label for label, n in count.items() if n >= MIN_NAMED_SHARE * count.total()))
        for word, count in sorted(nouns.items())
    )
