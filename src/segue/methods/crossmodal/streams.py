"""The two streams, one of words and one of cells, and the attention between them.

T tokens of a stream, S tokens of the other, C channels. A stream that is given runs by itself; a stream that is made
attends, layer by layer, to the states of the one that is given. Nothing flows back, so that the given stream is run
once, whatever the number of steps, and a caption under way can't be read by the layout that it tells.
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

    def keys(self, memory: Tensor) -> KeysValues:
        """(B, S, C) -> keys and values, (B, heads, S, C / heads) each."""
        return self._heads(self.k(memory)), self._heads(self.v(memory))

    def forward(self, x: Tensor, keys: KeysValues, real: Tensor | None = None, causal: bool = False) -> Tensor:
        """x: (B, T, C). keys: of `keys`. real: (B, S) bool, True on what may be attended to; not with causal."""
        allowed = None if real is None else real[:, None, None]
        told = F.scaled_dot_product_attention(self._heads(self.q(x)), *keys, attn_mask=allowed, is_causal=causal)
        return self.out(told.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, keys: KeysValues, real: Tensor) -> Tensor:
        """(B, T, S), the mean over the heads of what `forward` weighs the values with; to look at."""
        score = self._heads(self.q(x)) @ keys[0].transpose(-1, -2) * (x.shape[-1] // self.heads) ** -0.5
        return score.masked_fill(~real[:, None, None], -torch.inf).softmax(-1).mean(1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Given(NamedTuple):
    """A stream run by itself: its normed states after every layer, (B, S, C) each, and which are real, (B, S) bool."""

    states: list[Tensor]
    real: Tensor

    @property
    def pooled(self) -> Tensor:
        """(B, C), the mean of the last states."""
        return (self.states[-1] * self.real[..., None]).sum(1) / self.real.sum(1, keepdim=True)

    def rows(self, index: Tensor) -> Given:
        """The examples `index`, which may repeat."""
        return Given([s[index] for s in self.states], self.real[index])


class Layer(nn.Module):
    """Self-attention, attention to the other stream, feed-forward. Norms before each, or after each as in BERT."""

    def __init__(self, width: int, heads: int, post_norm: bool, epsilon: float) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.attend = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_cross = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.ones(width))

    def own(self, x: Tensor, real: Tensor | None, causal: bool, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """The half-layer of self-attention. past: keys and values before a single x; they come back lengthened."""
        inner = x if self.post_norm else self.norm1(x)
        keys = self.attend.keys(inner)
        if past is not None:
            keys = (torch.cat([past[0], keys[0]], 2), torch.cat([past[1], keys[1]], 2))
        x = x + self.attend(inner, keys, real, causal and past is None)
        return (self.norm1(x) if self.post_norm else x), keys

    def other(self, x: Tensor, cross: Attention, keys: KeysValues, real: Tensor) -> Tensor:
        """What the other stream tells, by attention weights that the layer does not own."""
        return x + self.gate * cross(self.norm_cross(x), keys, real)

    def think(self, x: Tensor) -> Tensor:
        """The half-layer of the feed-forward network."""
        return self.norm2(x + self.feed(x)) if self.post_norm else x + self.feed(self.norm2(x))


class Stream(nn.Module):
    """`depth` layers over (B, T, C). post_norm: BERT's order of norms, with the norm of its embeddings before them."""

    def __init__(self, width: int, heads: int, depth: int, *, post_norm: bool = False, epsilon: float = 1e-5) -> None:
        super().__init__()
        layers = nn.ModuleList(Layer(width, heads, post_norm, epsilon) for _ in range(depth))
        self.layers = cast(list[Layer], layers)
        self.norm = nn.LayerNorm(width, epsilon)  # of what goes in (post-norm), or of what comes out
        self.post_norm = post_norm

    def give(self, x: Tensor, real: Tensor) -> Given:
        """Run by itself. x: (B, T, C); real: (B, T) bool."""
        states = []
        x = self.norm(x) if self.post_norm else x
        for layer in self.layers:
            x = layer.think(layer.own(x, real, False, None)[0])
            states.append(x if self.post_norm else self.norm(x))
        return Given(states, real)

    def make(
        self,
        x: Tensor,
        crosses: Sequence[Attention],
        keys: list[KeysValues],
        real: Tensor,
        *,
        causal: bool = False,
        past: list[KeysValues] | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """Run with attention to the other stream. x: (B, T, C).

        crosses: the attention of each layer. keys: of `cross_keys`. real: (B, S) bool, of the other stream.
        past: each layer's keys and values of the tokens before x, which is then a single token.
        Returns (B, T, C) and the lengthened past.
        """
        x, now = self.norm(x) if self.post_norm else x, []
        for i, layer in enumerate(self.layers):
            x, kept = layer.own(x, None, causal, past[i] if past else None)
            x = layer.think(layer.other(x, crosses[i], keys[i], real))
            now.append(kept)
        return (x if self.post_norm else self.norm(x)), now


def cross_keys(crosses: Sequence[Attention], given: Given) -> list[KeysValues]:
    """Each layer's keys and values of the given stream, made once for all steps."""
    return [cross.keys(state) for cross, state in zip(crosses, given.states, strict=True)]
