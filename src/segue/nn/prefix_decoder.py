"""A prefix decoder (SynTIC, Eq. 6): a small pre-norm transformer that continues a prefix of feature vectors.

Shapes: B captions, P prefix vectors, L tokens, W width, V vocabulary. There is no start token: the first word follows
the prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu_tanh"]  # the second is GPT-2's, which approximates it by tanh


@dataclass
class KVCache:
    """Keys and values of every layer, each (R, heads, capacity, W / heads); the first `length` positions are filled."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0

    @torch.no_grad()
    def select(self, rows: Tensor) -> KVCache:
        """The cache of the rows (R',) int64; no gradient passes."""
        keys, values = ([self._selected(x, rows) for x in kind] for kind in (self.keys, self.values))
        return KVCache(keys, values, self.length)

    def _selected(self, x: Tensor, rows: Tensor) -> Tensor:
        selected = x.new_empty(len(rows), *x.shape[1:])
        torch.index_select(x[:, :, : self.length], 0, rows, out=selected[:, :, : self.length])
        return selected


class Block(nn.Module):
    """Causal self-attention and a feed-forward network, both pre-norm with residuals."""

    def __init__(self, width: int, heads: int, dropout: float, activation: Activation = "gelu") -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        gelu = nn.GELU(approximate="tanh" if activation == "gelu_tanh" else "none")
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), gelu, nn.Linear(4 * width, width))

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """(B, L, W) -> (B, L, W). With a cache the L positions follow those it holds, and are written into it.

        With a cache that is not empty, L must be 1.
        """
        q, k, v = self.queries_keys_values(x)
        if cache is not None:
            start, stop = cache.length, cache.length + x.shape[1]
            cache.keys[layer][:, :, start:stop], cache.values[layer][:, :, start:stop] = k, v
            k, v = cache.keys[layer][:, :, :stop], cache.values[layer][:, :, :stop]
        return self.attend(x, q, k, v)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, W) -> queries, keys and values, (B, heads, L, W / heads) each."""
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The rest of the block: x (B, L, W) and its queries q, with L keys and values, or any number when L is 1."""
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1, dropout_p=dropout)
        x = x + self._drop_out(self.out(y.transpose(1, 2).flatten(2)))
        return x + self._drop_out(self.feed_forward(self.norm_feed_forward(x)))

    def _drop_out(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class PrefixDecoder(nn.Module):
    """P(w_l | w_<l, prefix). The output layer shares the embedding's weights.

    vocabulary: V. positions: the most prefix vectors and tokens together.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        positions: int,
        dropout: float = 0.0,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.position = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, activation) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """GPT-2's initialisation: small weights, smaller still in the layers whose output is added to the residual."""
        for name, p in self.named_parameters():
            if p.ndim > 1:
                scale = (2 * layers) ** -0.5 if name.endswith(("out.weight", "feed_forward.2.weight")) else 1.0
                nn.init.normal_(p, std=0.02 * scale)

    def forward(self, prefix: Tensor, tokens: Tensor) -> Tensor:
        """prefix: (B, P, W). tokens: (B, L). Returns logits (B, L + 1, V): entry l is of token l, the last of the next.

        Padding to the right needs no mask: attention is causal.
        """
        return self.logits(self._hidden(torch.cat([prefix, self.embed(tokens)], 1))[:, prefix.shape[1] - 1 :])

    def loss(self, prefix: Tensor, tokens: Tensor, real: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Eq. 6 for each caption, as the mean over all real tokens of the batch.

        tokens: (B, L) int64, each caption with its end token. real: (B, L) bool, False on padding.
        label_smoothing: the share of the target that is spread over all tokens, in [0, 1).
        """
        logits = self._hidden(torch.cat([prefix, self.embed(tokens[:, :-1])], 1))[:, prefix.shape[1] - 1 :]
        return F.cross_entropy(self.logits(logits[real]).float(), tokens[real], label_smoothing=label_smoothing)

    def start(self, prefix: Tensor) -> tuple[Tensor, KVCache]:
        """Read the prefix (B, P, W). Returns logits (B, V) of the first token, and the cache for `step`."""
        shape = (len(prefix), self.heads, self.position.num_embeddings, prefix.shape[-1] // self.heads)
        keys, values = ([prefix.new_empty(shape) for _ in self.blocks] for _ in range(2))
        cache = KVCache(keys, values)
        return self.logits(self._hidden(prefix, cache)[:, -1]), cache

    def step(self, tokens: Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """One token (R,) for each row of the cache: logits (R, V) of the next, and the cache, extended in place."""
        return self.logits(self._hidden(self.embed(tokens)[:, None], cache)[:, -1]), cache

    def _hidden(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        past = cache.length if cache is not None else 0
        x = x + self.position.weight[past : past + x.shape[1]]
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        return x

    def logits(self, x: Tensor) -> Tensor:
        """States (..., W) -> (..., V)."""
        return F.linear(self.norm(x), self.embed.weight)
