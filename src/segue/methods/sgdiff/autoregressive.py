"""The honest rival: the same transformer, one word after another, with a cache of keys and values.

The graph's stream runs first without the caption, which is not written yet; when it is, the same blocks read it for the
masks. So the two decoders have the same blocks, the same losses on the words, and the same mask head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segue.methods.sgdiff.lexicon import END, UNKNOWN
from segue.methods.sgdiff.transformer import BimodalTransformer, Kept, States, WordHead
from segue.nn.decoding import decode
from segue.options import Decoding


class WordInput(nn.Module):
    """Word numbers and positions -> the caption's stream, shifted by one: position j holds word j - 1."""

    def __init__(self, size: int, width: int, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, width)
        self.start = nn.Parameter(torch.randn(width) * 0.5)
        self.position = nn.Parameter(torch.randn(length, width) * 0.5)
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, numbers: Tensor) -> Tensor:
        """(B, L) numbers of which the last one is not read -> (B, L, D)."""
        before = self.start.expand(len(numbers), 1, -1)
        return torch.cat([before, self.words(numbers[:, :-1])], 1) + self.position[: numbers.shape[1]]


def graph_alone(transformer: BimodalTransformer, g: Tensor, real: Tensor) -> list[Tensor]:
    """What each block of the caption reads: g before any block, after the first, ..., without the caption."""
    read = [g]
    for block in transformer.graphs[: len(transformer.captions) - 1]:
        read.append(block(read[-1], None, real[:, None, None], None))
    return read + read[-1:] * (len(transformer.captions) - len(read))


def read_through(transformer: BimodalTransformer, c: Tensor, g: Tensor, real: Tensor) -> States:
    """Both streams when all words are known: the caption's causally, then the graph's, which reads all of it."""
    there = real[:, None, None]
    read, told = graph_alone(transformer, g, real), [c]
    for block, memory in zip(transformer.captions, read, strict=True):
        told.append(block(told[-1], memory, None, there, causal=True))
    if transformer.norm_graph is not None:
        for block, said in zip(transformer.graphs, told, strict=False):
            g = block(g, said, there, None)
    return transformer.finish(told[-1], g, (told[-2], read[-1]))


class Writer:
    """One word at a time; keys and values of the words so far, and of the graph, are kept."""

    def __init__(self, transformer: BimodalTransformer, g: Tensor, real: Tensor) -> None:
        self.transformer, self.there = transformer, real[:, None, None]
        read = graph_alone(transformer, g, real)
        self.blocks, _ = transformer.directions()
        self.graph = [block.remember(memory) for block, memory in zip(self.blocks, read, strict=True)]
        self.words: list[Kept | None] = [None] * len(self.blocks)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, D), the input at the next position -> h_c there, (B, 1, D)."""
        for i, block in enumerate(self.blocks):
            y = block.norm_own(x)
            fresh, past = block.own.remember(y), self.words[i]
            kept = fresh if past is None else (torch.cat([past[0], fresh[0]], 2), torch.cat([past[1], fresh[1]], 2))
            self.words[i] = kept
            x = block.reads(x + block.own.attend(y, kept, None), self.graph[i], self.there)
        assert self.transformer.norm_caption is not None  # it writes, so it tells
        return self.transformer.norm_caption(x)

    def select(self, rows: Tensor) -> Writer:
        """The same for the rows (R,) int64."""
        other = copy.copy(self)
        other.there = self.there[rows]
        other.graph, other.words = (
            [None if part is None else (part[0][rows], part[1][rows]) for part in kept]
            for kept in (self.graph, self.words)
        )
        return other


@dataclass
class _Past:
    """What `decode` carries from word to word: the cache, what is added to every input, and the next place."""

    writer: Writer
    extra: Tensor | float
    place: int = 0

    def select(self, rows: Tensor) -> _Past:
        extra = self.extra[rows] if isinstance(self.extra, Tensor) else self.extra
        return _Past(self.writer.select(rows), extra, self.place)


def write(
    transformer: BimodalTransformer,
    words: WordInput,
    head: WordHead,
    extra: Tensor | float,
    g: Tensor,
    real: Tensor,
    *,
    most: int,
    length: int | None = None,
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Word numbers (B, most), END after the end, by `segue.nn.decoding`. extra: (B, 1, D), added to every position.

    temperature: 0 takes the likeliest word. length: exactly so many words. seeds: of sampling, one for each row.
    """
    last = most if length is None else length

    def read(x: Tensor, past: _Past) -> tuple[Tensor, _Past]:
        h = past.writer(x[:, None] + words.position[past.place] + past.extra)
        return head(h)[:, 0], _Past(past.writer, past.extra, past.place + 1)

    def step(tokens: Tensor, past: _Past) -> tuple[Tensor, _Past]:
        if past.place == last:  # only the end can follow
            return words.position.new_zeros(len(tokens), words.words.num_embeddings), past
        return read(words.words(tokens), past)

    logits, past = read(words.start.expand(len(g), -1), _Past(Writer(transformer, g, real), extra))
    options = (
        Decoding(max_tokens=last, top_p=1.0, temperature=temperature) if temperature else Decoding(max_tokens=last)
    )
    banned = [UNKNOWN] if length is None else [UNKNOWN, END]
    answers = decode(step, logits, past, end=END, options=options, suppressed_token_ids=banned, seeds=seeds)
    numbers = torch.full((len(g), most), END, device=g.device)
    for row, (answer,) in enumerate(answers):
        numbers[row, : len(answer.tokens)] = torch.tensor(answer.tokens, dtype=torch.int64, device=g.device)
    return numbers
