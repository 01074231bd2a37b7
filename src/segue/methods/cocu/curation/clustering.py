"""K-means over the concept embeddings of each archive, exact and independent of batch and threads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.methods.cocu.archive import uniform
from segue.methods.cocu.curation.arrays import Halves, Ids, _exact, pad
from segue.methods.cocu.curation.ranking import Pairs
from segue.methods.cocu.curation.retrieval import _spread


def cluster(texts: Halves, anchors: Ids, pairs: Pairs, seed: int = 0, rounds: int = 10) -> NDArray[np.uint16]:
    """(P,) the cluster of each pair among those of its anchor: k-means with k = ceil(n / 2) and one start (k-means++).

    All archives of the batch at once, and in the space of their Gram matrices G, so that D counts once: a centre is a
    mean of members, and |x_m - centre_k|^2 = G_mm - 2 (G A)_mk / n_k + (A' G A)_kk / n_k^2 for memberships A.
    """
    table = pad(pairs.anchor, len(anchors))
    t = _exact(texts, _spread(pairs.concept, table))
    gram = (t @ t.transpose(1, 2) * 2.0**24).round()  # whole numbers: sums of them are exact in any order
    real = torch.from_numpy(table.real)
    centres = (real.sum(1) + 1) // 2
    distance = _first_distances(gram, real, centres, anchors, seed)
    member = torch.zeros_like(distance)
    for _ in range(rounds):
        before, member = member, _members(distance, real)
        if torch.equal(before, member):
            break
        size = member.sum(1)  # (B, K)
        reach = gram @ member
        inner = (reach * member).sum(1)
        distance = (inner / size.square())[:, None] - 2 * reach / size[:, None]
        distance = distance.masked_fill((size == 0)[:, None], torch.inf)
    return member.argmax(2).numpy()[table.row, table.place].astype(np.uint16)


def _members(distance: Tensor, real: Tensor) -> Tensor:
    """(B, M, K) distances -> 1 at each concept's nearest centre."""
    member = torch.zeros_like(distance).scatter_(2, distance.argmin(2, keepdim=True), 1.0)
    return member * real[:, :, None]


def _first_distances(gram: Tensor, real: Tensor, centres: Tensor, anchors: Ids, seed: int) -> Tensor:
    """k-means++: squared distances (B, M, K) to centres drawn far from each other; inf beyond an archive's k."""
    squares = gram.diagonal(dim1=1, dim2=2)
    rows = torch.arange(len(gram))
    weight = real.double()  # the first centre: any of them
    nearest_yet = torch.full_like(squares, torch.inf)
    columns = []
    for k in range(int(centres.max()) if len(centres) else 0):
        dice = torch.from_numpy(uniform(seed, anchors, np.uint64(k)))
        running = weight.cumsum(1)
        chosen = (running <= dice[:, None] * running[:, -1:]).sum(1).clamp(max=gram.shape[1] - 1)
        column = (squares + squares[rows, chosen, None] - 2 * gram[rows, chosen]).clamp(min=0)
        nearest_yet = torch.minimum(nearest_yet, column)
        weight = nearest_yet * real
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, real.double())  # all alike: any of them
        columns.append(column.masked_fill((k >= centres)[:, None], torch.inf))
    return torch.stack(columns, 2)
