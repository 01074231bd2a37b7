"""The scene-graph-guided bimodal transformer (SGBTrans), Eq. 8 and 9, and the input and output of captions around it.

Where we differ: norms come before attention and every sublayer has its residual (the paper adds one around the block);
the two directions have separate weights; without cross-attention the caption's input has the graph's mean added, since
it could know nothing of the picture otherwise.

Shapes: B captions, L tokens, G nodes and edges, D = width, V vocabulary size, n bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]  # keys and values, (B, heads, M, D / heads) each


class Attention(nn.Module):
    """Multi-head attention. A memory of one row serves queries of many rows, so that a picture's is projected once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)  # a bias here would cancel in the softmax
        self.v = nn.Linear(width, width)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, heads, M, D / heads)."""
        result: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return result

    def project_kv(self, memory: Tensor) -> KeyValue:
        """The keys and values of a memory (B, M, D), for `attend`."""
        return self.split_heads(self.k(memory)), self.split_heads(self.v(memory))

    def attend(self, x: Tensor, kv: KeyValue, mask: Tensor | None, causal: bool = False) -> Tensor:
        """x: (B, Q, D) -> (B, Q, D). mask: bool, True where a query may attend, broadcast to (B, heads, Q, M)."""
        k, v = (part.expand(len(x), -1, -1, -1) for part in kv)
        mixed = F.scaled_dot_product_attention(self.split_heads(self.q(x)), k, v, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attention of x (B, Q, D) to a memory (B, M, D), see `attend`."""
        return self.attend(x, self.project_kv(memory), mask, causal)

    def attention_weights(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """(B, Q, M): the attention weights, the mean over heads."""
        q, k = self.split_heads(self.q(x)), self.split_heads(self.k(memory))
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        result: Tensor = (score if mask is None else score.masked_fill(~mask, -torch.inf)).softmax(-1).mean(1)
        return result


class BimodalLayer(nn.Module):
    """One direction of a block: self-attention, cross-attention to the other stream if asked for, feed-forward."""

    def __init__(self, width: int, heads: int, feed_forward: int, cross_attention: bool) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width) if cross_attention else None
        self.cross_attention = Attention(width, heads) if cross_attention else None
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def self_attend(self, x: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        """x (B, M, D) after self-attention. mask: (B, 1, 1, M) bool, None where all count."""
        y = self.self_norm(x)
        result: Tensor = x + self.self_attention(y, y, mask, causal)
        return result

    def project_kv(self, other: Tensor | None) -> KeyValue | None:
        """Keys and values of the other stream (B, K, D) for `cross_attend`; None when it is not attended to."""
        return None if self.cross_attention is None or other is None else self.cross_attention.project_kv(other)

    def cross_attend(self, x: Tensor, kv: KeyValue | None, other_mask: Tensor | None) -> Tensor:
        """x (B, M, D) from `self_attend` -> after cross-attention and the feed-forward network."""
        if self.cross_attention is not None and self.cross_norm is not None and kv is not None:
            x = x + self.cross_attention.attend(self.cross_norm(x), kv, other_mask)
        result: Tensor = x + self.feed_forward(x)
        return result

    def forward(
        self, x: Tensor, other: Tensor | None, mask: Tensor | None, other_mask: Tensor | None, causal: bool = False
    ) -> Tensor:
        """x: (B, M, D), other: (B, K, D). mask: (B, 1, 1, M), other_mask: (B, 1, 1, K), bool, None where all count."""
        return self.cross_attend(self.self_attend(x, mask, causal), self.project_kv(other), other_mask)


class CachedFirstBlock(NamedTuple):
    """The part of the first block that depends on the graph alone, the same at each step of a sampler.

    kv: keys and values for the caption's direction, None without cross-attention. graph: (B, G, D) after its
    self-attention.
    """

    kv: KeyValue | None
    graph: Tensor


class HiddenStates(NamedTuple):
    """h_c (B, L, D) or None, h_g (B, G, D), and both streams before the last block."""

    caption: Tensor | None
    graph: Tensor
    last_input: tuple[Tensor | None, Tensor]

    def select(self, rows: Tensor) -> HiddenStates:
        """The states of some rows (R,) int64."""
        caption, caption_input = (None if x is None else x[rows] for x in (self.caption, self.last_input[0]))
        return HiddenStates(caption, self.graph[rows], (caption_input, self.last_input[1][rows]))


class BimodalTransformer(nn.Module):
    """Blocks of two directions that attend to each other: the caption's (Eq. 8) and the graph's (Eq. 9).

    captions, masks: which of the two outputs are needed; a layer whose output nothing would read is not built.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        feed_forward: int,
        blocks: int,
        cross_attention: bool,
        captions: bool,
        masks: bool,
    ) -> None:
        super().__init__()
        cross_attention = cross_attention and captions
        graph_blocks = blocks if masks else blocks - 1 if cross_attention else 0
        self.cross_attention = cross_attention
        self.caption_layers = nn.ModuleList(
            BimodalLayer(width, heads, feed_forward, cross_attention) for _ in range(blocks if captions else 0)
        )
        self.graph_layers = nn.ModuleList(
            BimodalLayer(width, heads, feed_forward, cross_attention and masks) for _ in range(graph_blocks)
        )
        self.caption_norm = nn.LayerNorm(width) if captions else None
        self.graph_norm = nn.LayerNorm(width) if masks else None

    def layers(self) -> tuple[list[BimodalLayer], list[BimodalLayer]]:
        """The caption's and the graph's layers, block by block."""
        return cast("list[BimodalLayer]", [*self.caption_layers]), cast("list[BimodalLayer]", [*self.graph_layers])

    def precompute_first_block(self, g: Tensor, mask: Tensor) -> CachedFirstBlock:
        """g: (B, G, D), mask: (B, G) bool: what `forward` need not compute again for other captions of the graph."""
        captions, graphs = self.layers()
        return CachedFirstBlock(
            captions[0].project_kv(g) if captions else None,
            graphs[0].self_attend(g, mask[:, None, None]) if graphs else g,
        )

    def forward(
        self,
        c: Tensor | None,
        g: Tensor,
        mask: Tensor,
        *,
        caption_only: bool = False,
        cached: CachedFirstBlock | None = None,
    ) -> HiddenStates:
        """c: (B, L, D) or None, g: (B, G, D), mask: (B, G) bool. Both layers of a block read the same input.

        caption_only: h_g isn't needed, so the graph's last layer, which no caption layer reads, is left out.
        cached: of g and mask, by `precompute_first_block`.
        """
        captions, graphs = self.layers()
        graphs = graphs[: len(captions) - 1] if caption_only else graphs
        graph_mask, cached = mask[:, None, None], cached or self.precompute_first_block(g, mask)
        last_input = (c, g)
        for i in range(max(len(captions), len(graphs))):
            last_input = (c, g)
            if i < len(captions) and c is not None:
                kv = captions[i].project_kv(g) if i else cached.kv
                c = captions[i].cross_attend(captions[i].self_attend(c, None), kv, graph_mask)
            if i < len(graphs):
                g = graphs[i].self_attend(g, graph_mask) if i else cached.graph
                g = graphs[i].cross_attend(g, graphs[i].project_kv(last_input[0]), None)
        return self.final_norms(c, g, last_input)

    def final_norms(self, c: Tensor | None, g: Tensor, last_input: tuple[Tensor | None, Tensor]) -> HiddenStates:
        """The outputs of the last block, normalised."""
        c = self.caption_norm(c) if self.caption_norm is not None else None
        return HiddenStates(c, g if self.graph_norm is None else self.graph_norm(g), last_input)

    def cross_attention_weights(self, states: HiddenStates, mask: Tensor, causal: bool = False) -> Tensor | None:
        """(B, L, G): weights of the last block from words to the graph, the mean over heads; None without any.

        mask: (B, G) bool.
        """
        c, g = states.last_input
        captions, _ = self.layers()
        if c is None or not captions:
            return None
        last = captions[-1]
        if last.cross_attention is None or last.cross_norm is None:
            return None
        query = last.cross_norm(last.self_attend(c, None, causal))
        return last.cross_attention.attention_weights(query, g, mask[:, None, None])


def sinusoidal_encoding(x: Tensor, octaves: int) -> Tensor:
    """(..., K) numbers in about [0, 1] -> (..., 2 K octaves): sines and cosines at doubling frequencies."""
    angle = x[..., None] * (math.pi * 2.0 ** torch.arange(octaves, device=x.device))
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)


class BitEmbedding(nn.Module):
    """Noisy bits, the last estimate of the clean ones, the log-SNR and the position -> the caption's stream f_c."""

    def __init__(self, bits: int, width: int, length: int) -> None:
        super().__init__()
        self.bits = nn.Linear(2 * bits, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.5)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, snr: Tensor, estimate: Tensor) -> Tensor:
        """x, estimate: (B, L, n). snr: (B,). Returns (B, L, D)."""
        time = self.time(sinusoidal_encoding(snr[:, None] / 30 + 0.5, 8))
        embedded: Tensor = self.bits(torch.cat([x, estimate], -1)) + self.position[: x.shape[1]] + time[:, None]
        return embedded


class CaptionHead(nn.Module):
    """h_c -> logits over tokens, and, with `tags`, over the tags outside, beginning or inside of a phrase."""

    def __init__(self, width: int, size: int, tags: bool) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, size))
        self.tags = nn.Linear(width, 3) if tags else None

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, V)."""
        logits: Tensor = self.tokens(h)
        return logits
