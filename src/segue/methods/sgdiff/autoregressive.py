"""The baseline: the same transformer, one token after another, with a cache of keys and values.

The graph's stream runs first without the caption, which is not there yet; when it is, the same layers attend to it for
the masks. So the two decoders have the same layers, the same losses on the tokens, and the same mask head.

Shapes: B captions, L tokens, G nodes and edges, D = width, V vocabulary size.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from segue.methods.sgdiff.lexicon import END, UNKNOWN
from segue.methods.sgdiff.transformer import BimodalTransformer, CaptionHead, HiddenStates, KeyValue
from segue.nn.decoding import decode
from segue.options import Decoding

WORD_TEMPERATURE = 0.7  # on val five captions differ more than at .5, and are as good


class TokenEmbedding(nn.Module):
    """Token ids and positions -> the caption's stream, shifted by one: position j has token j - 1."""

    def __init__(self, size: int, width: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size, width)
        self.start = nn.Parameter(torch.randn(width) * 0.5)
        self.position = nn.Parameter(torch.randn(length, width) * 0.5)
        nn.init.normal_(self.tokens.weight, std=0.5)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(B, L) token ids, of which the last one is not read -> (B, L, D)."""
        start = self.start.expand(len(token_ids), 1, -1)
        return torch.cat([start, self.tokens(token_ids[:, :-1])], 1) + self.position[: token_ids.shape[1]]


def encode_graph(transformer: BimodalTransformer, g: Tensor, mask: Tensor) -> list[Tensor]:
    """What each caption layer attends to: g (B, G, D) before any block, after the first, ..., without the caption.

    mask: (B, G) bool.
    """
    memories = [g]
    for layer in transformer.graph_layers[: len(transformer.caption_layers) - 1]:
        memories.append(layer(memories[-1], None, mask[:, None, None], None))
    return memories + memories[-1:] * (len(transformer.caption_layers) - len(memories))


def teacher_forced(transformer: BimodalTransformer, c: Tensor, g: Tensor, mask: Tensor) -> HiddenStates:
    """Both streams when all tokens are known: the caption's causally, then the graph's, which attends to all of it.

    c: (B, L, D), g: (B, G, D), mask: (B, G) bool.
    """
    graph_mask = mask[:, None, None]
    memories, captions = encode_graph(transformer, g, mask), [c]
    for layer, memory in zip(transformer.caption_layers, memories, strict=True):
        captions.append(layer(captions[-1], memory, None, graph_mask, causal=True))
    if transformer.graph_norm is not None:
        for layer, caption in zip(transformer.graph_layers, captions, strict=False):
            g = layer(g, caption, graph_mask, None)
    return transformer.final_norms(captions[-1], g, (captions[-2], memories[-1]))


class IncrementalDecoder:
    """One token at a time; keys and values of the tokens so far, and of the graph, are cached."""

    def __init__(self, transformer: BimodalTransformer, g: Tensor, mask: Tensor) -> None:
        self.transformer, self.graph_mask = transformer, mask[:, None, None]
        memories = encode_graph(transformer, g, mask)
        self.layers, _ = transformer.layers()
        self.graph = [layer.project_kv(memory) for layer, memory in zip(self.layers, memories, strict=True)]
        self.past: list[KeyValue | None] = [None] * len(self.layers)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, D), the input at the next position -> h_c there, (B, 1, D)."""
        for i, layer in enumerate(self.layers):
            y = layer.self_norm(x)
            new, past = layer.self_attention.project_kv(y), self.past[i]
            kv = new if past is None else (torch.cat([past[0], new[0]], 2), torch.cat([past[1], new[1]], 2))
            self.past[i] = kv
            x = layer.cross_attend(x + layer.self_attention.attend(y, kv, None), self.graph[i], self.graph_mask)
        assert self.transformer.caption_norm is not None  # for mypy: it generates captions
        h: Tensor = self.transformer.caption_norm(x)
        return h

    def select(self, rows: Tensor) -> IncrementalDecoder:
        """The same for the rows (R,) int64."""
        other = copy.copy(self)
        other.graph_mask = self.graph_mask[rows]
        other.graph, other.past = (
            [None if kv is None else (kv[0][rows], kv[1][rows]) for kv in cache] for cache in (self.graph, self.past)
        )
        return other


@dataclass
class _DecodingState:
    """What `decode` carries from token to token: the cache, what is added to every input, the next position."""

    decoder: IncrementalDecoder
    offset: Tensor | float
    position: int = 0

    def select(self, rows: Tensor) -> _DecodingState:
        offset = self.offset[rows] if isinstance(self.offset, Tensor) else self.offset
        return _DecodingState(self.decoder.select(rows), offset, self.position)


def generate(
    decoder: IncrementalDecoder,
    embedding: TokenEmbedding,
    head: CaptionHead,
    *,
    offset: Tensor | float,
    max_words: int,
    length: int | None,
    temperature: float,
    seeds: Sequence[int],
    num: int = 1,
) -> Tensor:
    """Token ids (B num, max_words), a graph's next to each other, END after the end, by `segue.nn.decoding`.

    decoder: a fresh one, of B graphs. offset: (B, 1, D), added to the input at every position. temperature: 0 searches
    the likeliest. length: exactly so many words, or None. seeds: of sampling, one for each graph. num: captions of a
    graph, distinct where so many exist, else the same ones again.
    """
    last = max_words if length is None else length

    def read(x: Tensor, state: _DecodingState) -> tuple[Tensor, _DecodingState]:
        h = state.decoder(x[:, None] + embedding.position[state.position] + state.offset)
        return head(h)[:, 0], _DecodingState(state.decoder, state.offset, state.position + 1)

    def step(tokens: Tensor, state: _DecodingState) -> tuple[Tensor, _DecodingState]:
        if state.position == last:  # only the end can follow
            return embedding.position.new_zeros(len(tokens), embedding.tokens.num_embeddings), state
        return read(embedding.tokens(tokens), state)

    logits, state = read(embedding.start.expand(len(seeds), -1), _DecodingState(decoder, offset))
    options = Decoding(max_tokens=last, num=num)
    if temperature:
        options = replace(options, top_p=1.0, temperature=temperature)
    suppressed = [UNKNOWN] if length is None else [UNKNOWN, END]
    answers = decode(step, logits, state, end=END, options=options, suppressed_token_ids=suppressed, seeds=seeds)
    token_ids = torch.full((len(seeds) * num, max_words), END, device=logits.device)
    for row in range(len(token_ids)):
        some = answers[row // num]
        tokens = some[row % num % len(some)].tokens
        token_ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64, device=logits.device)
    return token_ids
