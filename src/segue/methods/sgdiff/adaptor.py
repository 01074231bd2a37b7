"""The prompt-centric scene graph adaptor (PSGA), Eq. 1-5: which nodes a story tells of, in which order; and its edges.

Where we differ: an "unplaced" column in the ranking, for nodes that the caption doesn't name; the order reaches the
transformer as a learned place added to each node, which is the paper's rearranging for a network that has no other
order of nodes; subgraphs are drawn from P(G_i) and near-duplicates suppressed.

Shapes: B graphs, N nodes, E edges, K places, D = width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from segue.methods.sgdiff.transformer import Direction


class Adapted(NamedTuple):
    """f_o (B, N, D), logits of P(G_i) (B, N) or None, logits of R (B, N, K + 1) or None; column K is "unplaced"."""

    nodes: Tensor
    relevance: Tensor | None
    order: Tensor | None


class Adaptor(nn.Module):
    """Self-attention over the coarse subgraph's nodes, and the heads of the filter and the ranking."""

    def __init__(
        self, *, width: int, heads: int, feed: int, blocks: int, places: int, filters: bool, ranks: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Direction(width, heads, feed, crosses=False) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.relevance = nn.Linear(width, 1) if filters else None
        self.order = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, places + 1)) if ranks else None

    def forward(self, nodes: Tensor, real: Tensor) -> Adapted:
        """nodes: (B, N, D), e_o. real: (B, N) bool."""
        for block in self.blocks:
            nodes = block(nodes, None, real[:, None, None], None)
        nodes = self.norm(nodes)
        return Adapted(
            nodes,
            None if self.relevance is None else self.relevance(nodes).squeeze(-1),
            None if self.order is None else self.order(nodes),
        )


def adaptor_losses(found: Adapted, relevant: Tensor, order: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Eq. 2 and 3, of the heads that there are: means over the nodes of `real`, whose truth is known; 0 without any.

    relevant, real: (B, N) bool; order: (B, N) places, K for unplaced.
    """
    terms, count = {}, real.sum().clamp_min(1)
    if found.relevance is not None:
        cross = F.binary_cross_entropy_with_logits(found.relevance[real], relevant[real].float(), reduction="sum")
        terms["adaptor"] = cross / count
    if found.order is not None:
        terms["ranking"] = F.cross_entropy(found.order[real], order[real], reduction="sum") / count
    return terms


def relevance_gate(relevance: Tensor | None, keep: Tensor, prompt: Tensor) -> Tensor:
    """delta(P) of Eq. 5 with a set in the threshold's place: P on the nodes of `keep`, 1 on the prompt's, else 0.

    relevance: (B, N) logits, or None without a filter. keep: (B, N) bool. prompt: (B,) the prompt's node.
    """
    if relevance is None:
        return keep.float()
    gate = relevance.sigmoid() * keep
    return gate.scatter(1, prompt[:, None], 1.0)


def hungarian_order(logits: Tensor, keep: Tensor) -> Tensor:
    """(B, N, K + 1) logits -> (B, N) places: one node a place, "unplaced" for as many as want it; K off `keep`."""
    places = torch.full(keep.shape, logits.shape[-1] - 1, dtype=torch.long, device=logits.device)
    log_p = logits.log_softmax(-1).double().cpu().numpy()
    for row, kept in enumerate(keep.cpu().numpy()):
        nodes = np.flatnonzero(kept)
        gain = log_p[row, nodes]
        unplaced = np.repeat(gain[:, -1:], len(nodes), 1)  # a column of its own for each node
        which, column = linear_sum_assignment(np.concatenate([gain[:, :-1], unplaced], 1), maximize=True)
        found = np.minimum(column, gain.shape[1] - 1)
        places[row, torch.from_numpy(nodes[which])] = torch.from_numpy(found).to(places.device)
    return places


def sample_subgraphs(
    p: NDArray[np.float64], prompt: int, count: int, rng: np.random.Generator, *, draws: int = 128, iou: float = 0.75
) -> list[NDArray[np.bool_]]:
    """At most `count` node sets, (N,) bool each, the most probable first: Eq. 1 for several answers.

    p: (N,) in [0, 1], P(G_i). Every set has the prompt's node. Among them is always the most probable one, P >= .5.
    A set whose IoU with a more probable one is above `iou` is dropped, so there may be fewer than `count`.
    """
    p = p.clip(1e-6, 1 - 1e-6)
    sets = np.concatenate([p[None] >= 0.5, rng.random((draws, len(p))) < p])
    sets[:, prompt] = True
    sets = np.unique(sets, axis=0)
    likely = set_log_probability(sets, p, prompt)
    return suppress(sets[np.argsort(-likely, kind="stable")], count, iou)


def set_log_probability(sets: NDArray[np.bool_], p: NDArray[np.float64], prompt: int) -> NDArray[np.float64]:
    """(S, N) node sets -> (S,) log P of each, nodes independent, the prompt's node certain."""
    each = np.where(sets, np.log(p), np.log1p(-p))
    each[:, prompt] = 0
    return each.sum(1)


def suppress(sets: NDArray[np.bool_], count: int, iou: float) -> list[NDArray[np.bool_]]:
    """Non-maximum suppression of (S, N) node sets, best first: the first `count` with no IoU above `iou` among them."""
    kept: list[NDArray[np.bool_]] = []
    for nodes in sets:
        if all((nodes & other).sum() <= iou * (nodes | other).sum() for other in kept):
            kept.append(nodes)
        if len(kept) == count:
            break
    return kept


class EdgeFusion(nn.Module):
    """Relations as VSUA has them: r' = ReLU(W [s; r; o]) + r, with s and o the nodes that the edge joins."""

    def __init__(self, width: int, predicates: int) -> None:
        super().__init__()
        self.predicate = nn.Embedding(predicates + 1, width)
        self.mix = nn.Linear(3 * width, width)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """nodes: (B, N, D). edges: (B, E, 3) subject, predicate, object. Returns (B, E, D)."""
        subject, predicate, object_ = edges.unbind(-1)
        s, o = (nodes.gather(1, index[..., None].expand(-1, -1, nodes.shape[-1])) for index in (subject, object_))
        r = self.predicate(predicate)
        return self.mix(torch.cat([s, r, o], -1)).relu() + r
