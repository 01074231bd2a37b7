"""The scene-graph-guided bimodal transformer (SGBTrans), Eq. 8 and 9, and the captioner of bits around it.

Where we differ: norms come before attention and every sublayer has its residual (the paper adds one around the block);
the two directions have weights of their own; without cross-attention the caption reads the graph's mean, as it could
know nothing of the picture otherwise.

Shapes: B captions, L words, G nodes and edges, D = width, V word numbers, n bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kept = tuple[Tensor, Tensor]  # keys and values


class Attention(nn.Module):
    """Multi-head attention. A memory of one row serves a query of many, so that one picture's is computed once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)  # a bias here would cancel in the softmax
        self.v = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, heads, M, D / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def remember(self, memory: Tensor) -> Kept:
        """The keys and values of a memory (B, M, D), for `attend`."""
        return self.split(self.k(memory)), self.split(self.v(memory))

    def attend(self, x: Tensor, kept: Kept, allowed: Tensor | None, causal: bool = False) -> Tensor:
        """x: (B, Q, D) -> (B, Q, D). allowed: bool, broadcast to (B, heads, Q, M)."""
        k, v = (part.expand(len(x), -1, -1, -1) for part in kept)
        mixed = F.scaled_dot_product_attention(self.split(self.q(x)), k, v, attn_mask=allowed, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, memory: Tensor, allowed: Tensor | None = None, causal: bool = False) -> Tensor:
        """Shapes as above."""
        return self.attend(x, self.remember(memory), allowed, causal)

    def weights(self, x: Tensor, memory: Tensor, allowed: Tensor | None) -> Tensor:
        """(B, Q, M): how much each query looks at each part of the memory, the mean over heads."""
        q, k = self.split(self.q(x)), self.split(self.k(memory))
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        return (score if allowed is None else score.masked_fill(~allowed, -torch.inf)).softmax(-1).mean(1)


class Direction(nn.Module):
    """One direction of a block: attention to its own stream, to the other if `crosses`, and a feed-forward network."""

    def __init__(self, width: int, heads: int, feed: int, crosses: bool) -> None:
        super().__init__()
        self.norm_own, self.own = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width) if crosses else None
        self.cross = Attention(width, heads) if crosses else None
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, feed), nn.GELU(), nn.Linear(feed, width))

    def alone(self, x: Tensor, real: Tensor | None, causal: bool = False) -> Tensor:
        """x (B, M, D) after attention to its own stream. real: (B, 1, 1, M) bool, None where all count."""
        y = self.norm_own(x)
        return x + self.own(y, y, real, causal)

    def remember(self, other: Tensor | None) -> Kept | None:
        """What `reads` keeps of the other stream (B, K, D); None when nothing of it is read."""
        return None if self.cross is None or other is None else self.cross.remember(other)

    def reads(self, x: Tensor, kept: Kept | None, other_real: Tensor | None) -> Tensor:
        """x (B, M, D) from `alone` -> after the other stream and the feed-forward network."""
        if self.cross is not None and self.norm_cross is not None and kept is not None:
            x = x + self.cross.attend(self.norm_cross(x), kept, other_real)
        return x + self.feed(x)

    def forward(
        self, x: Tensor, other: Tensor | None, real: Tensor | None, other_real: Tensor | None, causal: bool = False
    ) -> Tensor:
        """x: (B, M, D), other: (B, K, D). real: (B, 1, 1, M), other_real: (B, 1, 1, K), bool, None where all count."""
        return self.reads(self.alone(x, real, causal), self.remember(other), other_real)


class Begun(NamedTuple):
    """What the first block makes of the graph before any word is read, the same at each step of a sampler.

    kept: keys and values for the caption's direction, None where it doesn't read the graph. graph: (B, G, D) after its
    own attention.
    """

    kept: Kept | None
    graph: Tensor


class States(NamedTuple):
    """h_c (B, L, D) or None, h_g (B, G, D), and both streams before the last block."""

    caption: Tensor | None
    graph: Tensor
    before: tuple[Tensor | None, Tensor]

    def of_rows(self, rows: Tensor) -> States:
        """Those of some rows (R,) int64."""
        now, before = (None if words is None else words[rows] for words in (self.caption, self.before[0]))
        return States(now, self.graph[rows], (before, self.before[1][rows]))


class BimodalTransformer(nn.Module):
    """Blocks of two directions that read each other: the caption's (Eq. 8) and the graph's (Eq. 9).

    tells, outlines: which of the two results is wanted; a direction that nothing would read is not built.
    """

    def __init__(
        self, *, width: int, heads: int, feed: int, blocks: int, crosses: bool, tells: bool, outlines: bool
    ) -> None:
        super().__init__()
        crosses = crosses and tells
        graphs = blocks if outlines else blocks - 1 if crosses else 0
        self.crosses = crosses
        self.captions = nn.ModuleList(Direction(width, heads, feed, crosses) for _ in range(blocks if tells else 0))
        self.graphs = nn.ModuleList(Direction(width, heads, feed, crosses and outlines) for _ in range(graphs))
        self.norm_caption = nn.LayerNorm(width) if tells else None
        self.norm_graph = nn.LayerNorm(width) if outlines else None

    def directions(self) -> tuple[list[Direction], list[Direction]]:
        """The caption's and the graph's, block by block."""
        return cast("list[Direction]", [*self.captions]), cast("list[Direction]", [*self.graphs])

    def begin(self, g: Tensor, real: Tensor) -> Begun:
        """g: (B, G, D), real: (B, G) bool: what `forward` need not compute again for other words about them."""
        captions, graphs = self.directions()
        return Begun(
            captions[0].remember(g) if captions else None,
            graphs[0].alone(g, real[:, None, None]) if graphs else g,
        )

    def forward(
        self, c: Tensor | None, g: Tensor, real: Tensor, *, words_alone: bool = False, begun: Begun | None = None
    ) -> States:
        """c: (B, L, D) or None, g: (B, G, D), real: (B, G) bool. Block b reads what block b - 1 left.

        words_alone: h_g isn't wanted, so the graph's last block, which no word reads, is left out.
        begun: of g and real.
        """
        captions, graphs = self.directions()
        graphs = graphs[: len(captions) - 1] if words_alone else graphs
        there, begun = real[:, None, None], begun or self.begin(g, real)
        before = (c, g)
        for i in range(max(len(captions), len(graphs))):
            before = (c, g)
            if i < len(captions) and c is not None:
                kept = captions[i].remember(g) if i else begun.kept
                c = captions[i].reads(captions[i].alone(c, None), kept, there)
            if i < len(graphs):
                g = graphs[i].alone(g, there) if i else begun.graph
                g = graphs[i].reads(g, graphs[i].remember(before[0]), None)
        return self.finish(c, g, before)

    def finish(self, c: Tensor | None, g: Tensor, before: tuple[Tensor | None, Tensor]) -> States:
        """The last norms."""
        c = self.norm_caption(c) if self.norm_caption is not None else None
        return States(c, g if self.norm_graph is None else self.norm_graph(g), before)

    def glances(self, states: States, real: Tensor, causal: bool = False) -> Tensor | None:
        """(B, L, G): how much each word looks at each part of the graph at last; None without cross-attention."""
        c, g = states.before
        captions, _ = self.directions()
        if c is None or not captions or (last := captions[-1]).cross is None or last.norm_cross is None:
            return None
        return last.cross.weights(last.norm_cross(last.alone(c, None, causal)), g, real[:, None, None])


def sine_code(x: Tensor, octaves: int) -> Tensor:
    """(..., K) numbers in about [0, 1] -> (..., 2 K octaves): sines and cosines at doubling frequencies."""
    angle = x[..., None] * (math.pi * 2.0 ** torch.arange(octaves, device=x.device))
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)


class BitInput(nn.Module):
    """Noisy bits, the last guess of the clean ones, the log-SNR and the position -> the caption's stream f_c."""

    def __init__(self, bits: int, width: int, length: int) -> None:
        super().__init__()
        self.bits = nn.Linear(2 * bits, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.5)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, snr: Tensor, guess: Tensor) -> Tensor:
        """x, guess: (B, L, n). snr: (B,). Returns (B, L, D)."""
        time = self.time(sine_code(snr[:, None] / 30 + 0.5, 8))
        return self.bits(torch.cat([x, guess], -1)) + self.position[: x.shape[1]] + time[:, None]


class WordHead(nn.Module):
    """h_c -> logits over the words, and over begin / inside / outside of a phrase that names something (`phrases`)."""

    def __init__(self, width: int, size: int, phrases: bool) -> None:
        super().__init__()
        self.words = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, size))
        self.tags = nn.Linear(width, 3) if phrases else None

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, V)."""
        return self.words(h)
