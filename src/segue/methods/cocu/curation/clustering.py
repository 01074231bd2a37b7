"""K-means over the concept embeddings of each archive, exact and independent of batch and threads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.methods.cocu.archive import hashed_uniform
from segue.methods.cocu.curation.arrays import Embeddings, Indices, pad, to_float64
from segue.methods.cocu.curation.expansion import Candidates


def cluster_candidates(
    texts: Embeddings, anchors: Indices, candidates: Candidates, seed: int = 0, iterations: int = 10
) -> NDArray[np.uint16]:
    """(P,) the cluster of each candidate in its anchor's archive: k-means, k = ceil(n / 2), one k-means++ start.

    All archives of the batch are clustered at once, and in the space of their Gram matrices G, so that the embeddings
    are multiplied once: a centre is a mean of members, and for memberships A

        |x_m - centre_k|^2 = G_mm - 2 (G A)_mk / n_k + (A' G A)_kk / n_k^2.

    texts: (V, D), one for each concept. anchors: (B,) rows, which with `seed` decide the start.
    """
    table = pad(candidates.anchor, len(anchors))
    text = to_float64(texts, table.scatter(candidates.concept))
    gram = (text @ text.transpose(1, 2) * 2.0**24).round()  # whole numbers: sums of them are exact in any order
    filled = torch.from_numpy(table.filled)
    centres = (filled.sum(1) + 1) // 2
    distance = _initial_distances(gram, filled, centres, anchors, seed)
    member = torch.zeros_like(distance)
    for _ in range(iterations):
        before, member = member, _nearest_centre(distance, filled)
        if torch.equal(before, member):
            break
        size = member.sum(1)  # (B, K)
        to_members = gram @ member
        within = (to_members * member).sum(1)
        distance = (within / size.square())[:, None] - 2 * to_members / size[:, None]
        distance = distance.masked_fill((size == 0)[:, None], torch.inf)
    clusters: NDArray[np.int64] = member.argmax(2).numpy()
    return clusters[table.row, table.column].astype(np.uint16)


def _nearest_centre(distance: Tensor, filled: Tensor) -> Tensor:
    """(B, M, K) distances -> 1 at each concept's nearest centre, 0 elsewhere."""
    member = torch.zeros_like(distance).scatter_(2, distance.argmin(2, keepdim=True), 1.0)
    return member * filled[:, :, None]


def _initial_distances(gram: Tensor, filled: Tensor, centres: Tensor, anchors: Indices, seed: int) -> Tensor:
    """k-means++: squared distances (B, M, K) to centres drawn far from each other; inf beyond an archive's k."""
    squares = gram.diagonal(dim1=1, dim2=2)
    rows = torch.arange(len(gram))
    weight = filled.double()  # the first centre: any of them
    nearest = torch.full_like(squares, torch.inf)
    columns = []
    for k in range(int(centres.max()) if len(centres) else 0):
        random = torch.from_numpy(hashed_uniform(seed, anchors, np.uint64(k)))
        cumulative = weight.cumsum(1)
        chosen = (cumulative <= random[:, None] * cumulative[:, -1:]).sum(1).clamp(max=gram.shape[1] - 1)
        column = (squares + squares[rows, chosen, None] - 2 * gram[rows, chosen]).clamp(min=0)
        nearest = torch.minimum(nearest, column)
        weight = nearest * filled
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, filled.double())  # all equal: any of them
        columns.append(column.masked_fill((k >= centres)[:, None], torch.inf))
    return torch.stack(columns, 2)
