"""The names a model knows: words of captions, classes of nodes, predicates of edges; text to numbers and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from segue.types import InputError, Picture

END, UNKNOWN = 0, 1  # the first two word numbers; END also fills what follows it
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def word_spans(caption: str) -> list[tuple[str, int, int]]:
    """The words of a caption in lower case, each with its first character and the one after its last."""
    return [(match.group().lower(), match.start(), match.end()) for match in WORD.finditer(caption)]


@dataclass(frozen=True)
class Lexicon:
    """words: numbered from 2 (0 ends a caption, 1 is any other). classes, predicates: numbered from 1 (0 is any other).

    Raises InputError when a list of names is empty or names one twice.
    """

    words: tuple[str, ...]
    classes: tuple[str, ...]
    predicates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("words", "classes", "predicates"):
            names = getattr(self, kind)
            if len(set(names)) < len(names) or (not names and kind != "predicates"):
                raise InputError(f"{kind}: got {len(names)} names, {len(set(names))} of them different; name each once")

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        first = {"words": 2, "classes": 1, "predicates": 1}
        words, classes, predicates = (
            {_plain(name): i for i, name in enumerate(getattr(self, kind), start)} for kind, start in first.items()
        )
        return words, classes, predicates

    @property
    def size(self) -> int:
        """Count the word numbers, END and UNKNOWN among them."""
        return len(self.words) + 2

    def numbers(self, caption: str, length: int) -> list[int]:
        """`length` word numbers: the caption's words, cut to `length`, then END."""
        found = [self._numbers[0].get(word, UNKNOWN) for word, _, _ in word_spans(caption)][:length]
        return found + [END] * (length - len(found))

    def text(self, numbers: Iterable[int]) -> tuple[str, list[tuple[int, int]]]:
        """The caption up to the first END, and where each of its words starts and ends."""
        spans: list[tuple[int, int]] = []
        caption = ""
        for number in numbers:
            if number == END:
                break
            word = "[unknown]" if number == UNKNOWN else self.words[number - 2]
            start = len(caption) + bool(caption)
            caption = f"{caption} {word}" if caption else word
            spans.append((start, start + len(word)))
        return caption, spans

    def known(self, words: Iterable[str]) -> list[int]:
        """Numbers of words that a caption must include; InputError names those outside the vocabulary."""
        phrases = list(words)
        if odd := [phrase for phrase in phrases if not isinstance(phrase, str)]:
            raise InputError(f"include: got {odd[0]!r}, expected words")
        if empty := [phrase for phrase in phrases if not word_spans(phrase)]:
            raise InputError(f"include: got {empty[0]!r}, in which there is no word")
        asked = [part for phrase in phrases for part, _, _ in word_spans(phrase)]
        if strange := [word for word in asked if word not in self._numbers[0]]:
            near = ", ".join(self.words[:8])
            raise InputError(
                f"include: {', '.join(strange)} is outside the model's {len(self.words)} words; "
                f"choose among them ({near}, ...), or train with captions that use it"
            )
        return [self._numbers[0][word] for word in asked]

    def class_number(self, name: str) -> int:
        """The number of a class in any case of letters, 0 for one that the model doesn't know."""
        return self._numbers[1].get(_plain(name), 0)

    def predicate_number(self, name: str) -> int:
        """The number of a predicate in any case of letters, 0 for one that the model doesn't know."""
        return self._numbers[2].get(_plain(name), 0)


def _plain(name: str) -> str:
    return name.strip().lower()


def lexicon_of(pictures: Iterable[Picture], min_count: int = 1, predicates: Iterable[str] = ()) -> Lexicon:
    """The lexicon of a training set: words by falling frequency, those of fewer than `min_count` left out.

    predicates: further ones, beside those of the pictures' relations (`segue.methods.sgdiff.graph.SPATIAL`).
    """
    words: Counter[str] = Counter()
    classes: set[str] = set()
    seen = set(predicates)
    for picture in pictures:
        words.update(word for caption in picture.captions for word, _, _ in word_spans(caption))
        classes.update(region.label for region in picture.regions)
        seen.update(relation.predicate for relation in picture.relations)
    kept = sorted((word for word, count in words.items() if count >= min_count), key=lambda word: (-words[word], word))
    return Lexicon(tuple(kept), tuple(sorted(classes)), tuple(sorted(seen)))
