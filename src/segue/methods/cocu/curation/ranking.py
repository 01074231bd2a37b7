"""Text-to-vision-guided ranking: the scores of each picture's candidate concepts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.methods.cocu.curation.arrays import Embeddings, Indices, pad, to_float64
from segue.methods.cocu.curation.expansion import Candidates


def score_candidates(
    embeddings: Embeddings, texts: Embeddings, anchors: Indices, neighbours: Indices, candidates: Candidates
) -> NDArray[np.float64]:
    """(P,) the score of each candidate, >= 0: t.v / max_sim + t.v / mean(t.V_c), see the head of `run`.

    embeddings: (N, D), the pictures'. texts: (V, D), one for each concept. anchors: (B,) and neighbours: (B, L), rows.
    """
    table = pad(candidates.anchor, len(anchors))
    pictures = np.concatenate([np.maximum(neighbours, 0), anchors[:, None]], 1)  # the anchor is the last one
    present = np.concatenate([neighbours >= 0, np.ones((len(anchors), 1), bool)], 1)
    text = to_float64(texts, table.scatter(candidates.concept))  # (B, M, D)
    similarity = (text @ to_float64(embeddings, pictures).transpose(1, 2)).numpy()  # (B, M, L + 1)
    valid = np.where(table.filled[:, :, None] & present[:, None], similarity, 0.0)
    highest = valid.max((1, 2), initial=0.0)[candidates.anchor]
    of_candidate = similarity[table.row, table.column]  # (P, L + 1)
    naming = np.concatenate([candidates.in_neighbour, np.ones((len(of_candidate), 1), bool)], 1)
    mean = np.where(naming, of_candidate, 0.0).sum(1) / naming.sum(1)
    return np.maximum(_ratio(of_candidate[:, -1], highest) + _ratio(of_candidate[:, -1], mean), 0.0)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a / b, and 0 where b is not positive."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
