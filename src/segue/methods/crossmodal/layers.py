"""The two streams of the model, one of words and one of layout cells, and the attention between them.

T tokens of a stream, S tokens of the other, C channels. The conditioning stream is encoded by itself; the generated
stream attends, layer by layer, to the states of the conditioning one. Nothing flows back, so the conditioning stream
is run once, whatever the number of steps, and the states of a layout don't depend on the caption that is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]  # (B, heads, S, C / heads) each


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), from (B, T, C) to (B, T, C), without residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def keys_values(self, memory: Tensor) -> KeysValues:
        """(B, S, C) -> keys and values, (B, heads, S, C / heads) each."""
        return self._split_heads(self.k(memory)), self._split_heads(self.v(memory))

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x: (B, T, C). memory: of `keys_values`. mask: (B, S) bool, True where it may attend; not with causal."""
        allowed = None if mask is None else mask[:, None, None]
        queries = self._split_heads(self.q(x))
        attended = F.scaled_dot_product_attention(queries, *memory, attn_mask=allowed, is_causal=causal)
        y: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return y

    def weights(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """(B, T, S): the attention weights of `forward`, mean over the heads, for visualisation."""
        score: Tensor = self._split_heads(self.q(x)) @ memory[0].transpose(-1, -2) * (x.shape[-1] // self.heads) ** -0.5
        return score.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1).mean(1)

    def _split_heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class EncodedStream(NamedTuple):
    """A stream encoded by itself: its normed states after every layer, (B, S, C) each; mask: (B, S), not padding."""

    states: list[Tensor]
    mask: Tensor

    @property
    def pooled(self) -> Tensor:
        """(B, C), the mean of the last states."""
        return (self.states[-1] * self.mask[..., None]).sum(1) / self.mask.sum(1, keepdim=True)


class Layer(nn.Module):
    """Self-attention, cross-attention to the other stream, feed-forward. Pre-norm, or post-norm as in BERT."""

    def __init__(self, width: int, heads: int, post_norm: bool, epsilon: float) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm_self = nn.LayerNorm(width, epsilon)
        self.norm_mlp = nn.LayerNorm(width, epsilon)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_cross = nn.LayerNorm(width)
        self.cross_gate = nn.Parameter(torch.ones(width))

    def self_attention(
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        past: KeysValues | None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Self-attention with norm and residual. x: (B, T, C). mask: (B, T) bool, True on what may be attended to.

        past: keys and values of the tokens before x, which then is a single token. wanted: (B, Q) int64, the tokens of
        x that are computed; all of them unless given.
        Returns (B, T or Q, C), and the keys and values of all tokens so far.
        """
        inner = x if self.post_norm else self.norm_self(x)
        memory = self.attention.keys_values(inner)
        if past is not None:
            memory = (torch.cat([past[0], memory[0]], 2), torch.cat([past[1], memory[1]], 2))
        if wanted is not None:
            x, inner = (part.take_along_dim(wanted[..., None], 1) for part in (x, inner))
        x = x + self.attention(inner, memory, mask, causal and past is None)
        return (self.norm_self(x) if self.post_norm else x), memory

    def cross_attention(self, x: Tensor, cross: Attention, memory: KeysValues, mask: Tensor) -> Tensor:
        """Gated cross-attention with norm and residual. `cross` is passed, as both directions may share its weights."""
        y: Tensor = self.cross_gate * cross(self.norm_cross(x), memory, mask)
        return x + y

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward network with norm and residual, (B, T, C) -> (B, T, C)."""
        y: Tensor = self.norm_mlp(x + self.mlp(x)) if self.post_norm else x + self.mlp(self.norm_mlp(x))
        return y


class Stream(nn.Module):
    """`depth` layers over (B, T, C). post_norm: as in BERT, with the norm of its embeddings before the layers."""

    def __init__(self, width: int, heads: int, depth: int, *, post_norm: bool = False, epsilon: float = 1e-5) -> None:
        super().__init__()
        layers = nn.ModuleList(Layer(width, heads, post_norm, epsilon) for _ in range(depth))
        self.layers = cast(list[Layer], layers)
        self.norm = nn.LayerNorm(width, epsilon)  # of the input (post-norm) or of the output (pre-norm)
        self.post_norm = post_norm

    def encode(self, x: Tensor, mask: Tensor) -> EncodedStream:
        """Run without the other stream. x: (B, T, C); mask: (B, T) bool, False on padding."""
        states = []
        x = self.norm(x) if self.post_norm else x
        for layer in self.layers:
            x = layer.feed_forward(layer.self_attention(x, mask, False, None)[0])
            states.append(x if self.post_norm else self.norm(x))
        return EncodedStream(states, mask)

    def decode(
        self,
        x: Tensor,
        crosses: Sequence[Attention],
        memory: list[KeysValues],
        mask: Tensor,
        *,
        causal: bool = False,
        past: list[KeysValues] | None = None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """Run with cross-attention to the other stream. x: (B, T, C).

        crosses: the cross-attention of each layer. memory: of `project_memory`. mask: (B, S) bool, of the other stream.
        It may have n B rows in the place of B: then x goes with each part of B of them, and the answer has n B rows.
        past: each layer's keys and values of the tokens before x, which then is a single token. wanted: (B, Q) int64,
        the tokens that the last layer computes; all of them unless given.
        Returns (B, T or Q, C), and each layer's keys and values of all tokens so far.
        """
        x, present = self.norm(x) if self.post_norm else x, []
        parts, last = len(mask) // len(x), len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            chosen = None if wanted is None or i < last else wanted.repeat(len(x) // len(wanted), 1)
            x, keys_values = layer.self_attention(x, None, causal, past[i] if past else None, chosen)
            if i == 0 and parts > 1:  # until here no row knows of the other stream
                x = x.repeat(parts, 1, 1)
            x = layer.feed_forward(layer.cross_attention(x, crosses[i], memory[i], mask))
            present.append(keys_values)
        return (x if self.post_norm else self.norm(x)), present


def project_memory(crosses: Sequence[Attention], encoded: EncodedStream) -> list[KeysValues]:
    """Each layer's keys and values of the encoded stream, computed once for all steps."""
    return [cross.keys_values(state) for cross, state in zip(crosses, encoded.states, strict=True)]
