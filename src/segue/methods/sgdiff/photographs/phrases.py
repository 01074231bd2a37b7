"""Which words of a caption name which nodes of its graph, by their names.

A noun names nodes of its class (`segue.data.formats.names`): in the plural, after a number or as "a group of" all or so
many of them, in the singular one: the prompt's, else the largest that no noun before it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from segue.data.english import plural, word_spans
from segue.data.formats.names import find_class_names, terms
from segue.methods.sgdiff.graph import SceneGraph

NUMBERS = {"two": 2, "both": 2, "couple": 2, "pair": 2, "three": 3, "four": 4, "five": 5, "six": 6}
MANY = {"group", "crowd", "several", "many", "some", "people", "bunch", "herd", "flock", "row", "team", "various"}
DETERMINERS = {"a", "an", "the", "his", "her", "its", "their", "another", "each", "one", *NUMBERS, *MANY}
STOPS = {"of", "and", "with", "in", "on", "at", "to", "is", "are", "by", "for", "from", "that", "while", "as", "or"}
REACH = 4  # words before a noun that its phrase may begin with


class LinkedPhrase(NamedTuple):
    """caption[start:end] names the nodes at these positions of the graph."""

    start: int
    end: int
    nodes: tuple[int, ...]


def link_phrases(caption: str, graph: SceneGraph, prompt: int) -> list[LinkedPhrase]:
    """The phrases of a caption that name nodes, in order; a node is in one of them at most.

    prompt: the position of the prompt's node, which the first noun of its class names.
    """
    words = word_spans(caption)
    area = graph.boxes[:, 2:].prod(1)
    order = sorted(range(len(graph.labels)), key=lambda i: (i != prompt, -float(area[i]), i))
    free, found = dict.fromkeys(order), list[LinkedPhrase]()
    for start, end, classes in find_class_names(caption, graph.labels):
        nodes = [i for i in free if graph.labels[i] in classes]
        before = [word for word, a, _ in words if a < start]
        chosen = nodes[: _count(caption[start:end].lower(), before, classes)]
        if not chosen:
            continue
        for node in chosen:
            del free[node]
        first = _first_word(before)
        at = len(before) - first
        found.append(LinkedPhrase(words[at][1] if first else start, end, tuple(chosen)))
    return found


def _count(noun: str, before: Sequence[str], classes: frozenset[str]) -> int | None:
    """How many nodes a noun names; None for all. before: the words before it."""
    near = before[-REACH:]
    if number := next((NUMBERS[word] for word in reversed(near) if word in NUMBERS), None):
        return number
    if noun in MANY or any(word in MANY for word in near[-3:]) or noun in NUMBERS:
        return NUMBERS.get(noun)
    return None if _is_plural(noun, classes) else 1


def _is_plural(noun: str, classes: frozenset[str]) -> bool:
    singular = {" ".join(term) for name in classes for term in terms(name)}
    return any(plural(one) == noun and one != noun for one in singular)


def _first_word(before: Sequence[str]) -> int:
    """How many words before a noun belong to its phrase: as far back as a determiner, if one is near."""
    near = before[-REACH:]
    for count, word in enumerate(reversed(near), 1):
        earlier = near[-count - 1] if count < len(near) else ""
        if word in STOPS and not (word == "of" and (earlier in MANY or earlier in NUMBERS)):
            return 0
        if word in DETERMINERS and earlier not in ("a", "the"):
            return count
    return 0
