"""Decoding that leans towards naming an object: the tokens of its names get a bonus until one of them was said.

The decoder has seen few pictures of rare objects, so that it may describe a cat that it is told of as a toy. Terms are
the names of a class, its synonyms and plurals (`segue.data.formats.names`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from segue.data.formats.names import find_class_names, terms
from segue.data.tokenizer import CaptionTokenizer
from segue.nn.prefix_decoder import PrefixDecoder

STRENGTHS = (0.0, 3.0, 5.0, 7.0)  # nats, tried in turn until a caption names the object
MOST_TOKENS = 4  # of a term; longer ones are no hint


@dataclass
class Hint:
    """Tokens that begin a term; what follows a token within a term; tokens that end one. strength: in nats."""

    begin: list[int] = field(default_factory=list)
    following: dict[int, list[int]] = field(default_factory=dict)
    end: set[int] = field(default_factory=set)
    strength: float = 0.0


def hint_of(label: str, tokenizer: CaptionTokenizer) -> Hint:
    """The hint of a class, of strength 0; an empty one for no name."""
    hint = Hint()
    for term in sorted(terms(label)) if label.strip() else ():
        ids = tokenizer.tokenizer.encode(" ".join(term), add_special_tokens=False).ids
        if 0 < len(ids) <= MOST_TOKENS:
            hint.begin.append(ids[0])
            hint.end.add(ids[-1])
            for before, after in pairwise(ids):
                hint.following.setdefault(before, []).append(after)
    return hint


def names_class(caption: str, label: str) -> bool:
    """Whether a caption names a class; True where it has no name."""
    return not label.strip() or bool(find_class_names(caption, [label]))


@dataclass
class _State:
    """A decoder's cache of R rows, the hint of each, and whether its object was named."""

    cache: Any
    hints: Sequence[Hint]
    named: list[bool]

    def select(self, rows: Tensor) -> _State:
        at = rows.tolist()
        return _State(self.cache.select(rows), [self.hints[i] for i in at], [self.named[i] for i in at])


def start_hinted(decoder: PrefixDecoder, prefix: Tensor, hints: Sequence[Hint]) -> tuple[Tensor, _State]:
    """As `PrefixDecoder.start`, with a hint for each row."""
    logits, cache = decoder.start(prefix)
    state = _State(cache, hints, [False] * len(hints))
    for row, hint in enumerate(hints):
        logits[row, hint.begin] += hint.strength
    return logits, state


def step_hinted(decoder: PrefixDecoder, tokens: Tensor, state: _State) -> tuple[Tensor, _State]:
    """As `PrefixDecoder.step`."""
    logits, cache = decoder.step(tokens, state.cache)
    named = list(state.named)
    for row, (token, hint) in enumerate(zip(tokens.tolist(), state.hints, strict=True)):
        named[row] |= token in hint.end
        if hint.strength and not named[row]:
            logits[row, hint.begin] += hint.strength
        if hint.strength and token in hint.following:
            logits[row, hint.following[token]] += hint.strength
    return logits, _State(cache, state.hints, named)
