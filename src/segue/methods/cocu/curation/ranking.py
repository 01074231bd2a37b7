"""Vision-driven expansion (the candidates of each archive) and text-to-vision-guided ranking (their scores)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.methods.cocu.curation.arrays import Halves, Ids, _exact, _rows_of, pad
from segue.methods.cocu.curation.retrieval import _spread


class Pairs(NamedTuple):
    """The archives of B anchors as P pairs, sorted by anchor, then by concept.

    anchor: (P,) position in the batch. concept: (P,). holds: (P, L) bool, whether the neighbour's caption names the
    concept. own: (P,) bool, whether the anchor's caption does.
    """

    anchor: Ids
    concept: Ids
    holds: NDArray[np.bool_]
    own: NDArray[np.bool_]


def gather(anchors: Ids, neighbours: Ids, offsets: Ids, numbers: NDArray[np.int32], expansion: bool = True) -> Pairs:
    """The union of the neighbours' concepts for each anchor; without expansion, the anchor's own concepts.

    anchors: (B,) and neighbours: (B, L), rows. offsets, numbers: of `find_concepts`.
    """
    slots = neighbours.shape[1]
    place, own_numbers = _rows_of(offsets, numbers, anchors)
    stride = int(numbers.max(initial=0)) + 1
    own = place * stride + own_numbers
    there = neighbours.ravel() >= 0
    which, concept = _rows_of(offsets, numbers, neighbours.ravel()[there])
    slot = np.flatnonzero(there)[which]
    keys = (slot // slots) * stride + concept
    unique, where = np.unique(keys if expansion else own, return_inverse=True)
    holds = np.zeros((len(unique), slots), bool)
    if expansion:
        holds[where, slot % slots] = True
    return Pairs(unique // stride, unique % stride, holds, np.isin(unique, own))


def rank(embeddings: Halves, texts: Halves, anchors: Ids, neighbours: Ids, pairs: Pairs) -> NDArray[np.float64]:
    """(P,) the score of each pair, >= 0; see the head of this file. texts: (V, D), one for each concept."""
    table = pad(pairs.anchor, len(anchors))
    pictures = np.concatenate([np.maximum(neighbours, 0), anchors[:, None]], 1)  # the anchor comes last
    there = np.concatenate([neighbours >= 0, np.ones((len(anchors), 1), bool)], 1)
    t = _exact(texts, _spread(pairs.concept, table))  # (B, M, D)
    similarity = (t @ _exact(embeddings, pictures).transpose(1, 2)).numpy()  # (B, M, L + 1)
    every = np.where(table.real[:, :, None] & there[:, None], similarity, 0.0)
    highest = every.max((1, 2), initial=0.0)[pairs.anchor]
    mine = similarity[table.row, table.place]  # (P, L + 1)
    group = np.concatenate([pairs.holds, np.ones((len(mine), 1), bool)], 1)
    mean = np.where(group, mine, 0.0).sum(1) / group.sum(1)
    return np.maximum(_ratio(mine[:, -1], highest) + _ratio(mine[:, -1], mean), 0.0)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
