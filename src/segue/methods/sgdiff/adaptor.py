"""The prompt-centric scene graph adaptor (PSGA), Eq. 1-5: which nodes a caption names, in which order; and the edges.

Where we differ: an "unranked" column in the ranking, for nodes that the caption doesn't name; the order reaches the
transformer as a learned embedding of each node's rank, which is the paper's rearranging for a network that has no other
order of nodes; subgraphs are drawn from P(G_i) and near-duplicates suppressed.

Shapes: B graphs, N nodes, E edges, K ranks, D = width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from segue.methods.sgdiff.transformer import BimodalLayer


class AdaptorOutput(NamedTuple):
    """f_o (B, N, D), logits of P(G_i) (B, N) or None, logits of R (B, N, K + 1) or None; column K is "unranked"."""

    nodes: Tensor
    relevance: Tensor | None
    ranking: Tensor | None

    def select(self, rows: Tensor) -> AdaptorOutput:
        """The output of some rows (R,) int64."""
        relevance, ranking = (None if x is None else x[rows] for x in (self.relevance, self.ranking))
        return AdaptorOutput(self.nodes[rows], relevance, ranking)


class Adaptor(nn.Module):
    """Self-attention over the coarse subgraph's nodes, and the heads of the filter (Eq. 2) and the ranking (Eq. 3)."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        feed_forward: int,
        blocks: int,
        max_ranked: int,
        filters_nodes: bool,
        ranks_nodes: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            BimodalLayer(width, heads, feed_forward, cross_attention=False) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.relevance = nn.Linear(width, 1) if filters_nodes else None
        self.ranking = (
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, max_ranked + 1)) if ranks_nodes else None
        )

    def forward(self, nodes: Tensor, node_mask: Tensor) -> AdaptorOutput:
        """nodes: (B, N, D), e_o. node_mask: (B, N) bool."""
        for block in self.blocks:
            nodes = block(nodes, None, node_mask[:, None, None], None)
        nodes = self.norm(nodes)
        return AdaptorOutput(
            nodes,
            None if self.relevance is None else self.relevance(nodes).squeeze(-1),
            None if self.ranking is None else self.ranking(nodes),
        )


def relevance_gate(relevance: Tensor | None, keep: Tensor, prompt_node: Tensor) -> Tensor:
    """delta(P) of Eq. 5 with a node set in the threshold's place: P on the nodes of `keep`, 1 on the prompt's, else 0.

    relevance: (B, N) logits, or None without a filter. keep: (B, N) bool. prompt_node: (B,) int64. Returns (B, N).
    """
    if relevance is None:
        return keep.float()
    gate = relevance.sigmoid() * keep
    return gate.scatter(1, prompt_node[:, None], 1.0)


def hungarian_ranks(logits: Tensor, keep: Tensor) -> Tensor:
    """The likeliest assignment of ranks to nodes: (B, N, K + 1) logits -> (B, N) int64 ranks.

    Each rank below K has at most one node; any number of nodes may stay unranked, K. So are those off `keep`, (B, N).
    """
    ranks = torch.full(keep.shape, logits.shape[-1] - 1, dtype=torch.long, device=logits.device)
    log_p = logits.log_softmax(-1).double().cpu().numpy()
    for row, kept in enumerate(keep.cpu().numpy()):
        nodes = np.flatnonzero(kept)
        gain = log_p[row, nodes]
        unranked = np.repeat(gain[:, -1:], len(nodes), 1)  # a column for each node
        which, column = linear_sum_assignment(np.concatenate([gain[:, :-1], unranked], 1), maximize=True)
        found = np.minimum(column, gain.shape[1] - 1)
        ranks[row, torch.from_numpy(nodes[which])] = torch.from_numpy(found).to(ranks.device)
    return ranks


def sample_node_sets(
    p: NDArray[np.float64],
    prompt_node: int,
    count: int,
    rng: np.random.Generator,
    *,
    draws: int = 128,
    iou: float = 0.75,
) -> list[NDArray[np.bool_]]:
    """At most `count` node sets, (N,) bool each, the most probable first: Eq. 1 for several answers.

    p: (N,) in [0, 1], P(G_i). Every set has the prompt's node. The most probable set, P >= .5, is always a candidate.
    A set whose IoU with a more probable one is above `iou` is dropped, so there may be fewer than `count`.
    """
    p = p.clip(1e-6, 1 - 1e-6)
    sets = np.concatenate([p[None] >= 0.5, rng.random((draws, len(p))) < p])
    sets[:, prompt_node] = True
    sets = np.unique(sets, axis=0)
    log_p = set_log_probability(sets, p, prompt_node)
    return suppress_similar_sets(sets[np.argsort(-log_p, kind="stable")], count, iou)


def set_log_probability(sets: NDArray[np.bool_], p: NDArray[np.float64], prompt_node: int) -> NDArray[np.float64]:
    """(S, N) node sets -> (S,) log P of each, nodes independent, the prompt's node certain."""
    each = np.where(sets, np.log(p), np.log1p(-p))
    each[:, prompt_node] = 0
    log_p: NDArray[np.float64] = each.sum(1)
    return log_p


def suppress_similar_sets(sets: NDArray[np.bool_], count: int, iou: float) -> list[NDArray[np.bool_]]:
    """Non-maximum suppression of (S, N) node sets, best first: the first `count` with no IoU above `iou` among them."""
    kept: list[NDArray[np.bool_]] = []
    for nodes in sets:
        if all((nodes & other).sum() <= iou * (nodes | other).sum() for other in kept):
            kept.append(nodes)
        if len(kept) == count:
            break
    return kept


class EdgeFusion(nn.Module):
    """Relation features as in VSUA: r' = ReLU(W [s; r; o]) + r, with s and o the nodes that the edge joins."""

    def __init__(self, width: int, predicates: int) -> None:
        super().__init__()
        self.predicate = nn.Embedding(predicates + 1, width)
        self.projection = nn.Linear(3 * width, width)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """nodes: (B, N, D). edges: (B, E, 3) subject, predicate, object. Returns (B, E, D)."""
        subject, predicate, object_ = edges.unbind(-1)
        s, o = (nodes.gather(1, index[..., None].expand(-1, -1, nodes.shape[-1])) for index in (subject, object_))
        r: Tensor = self.predicate(predicate)
        result: Tensor = self.projection(torch.cat([s, r, o], -1)).relu() + r
        return result
