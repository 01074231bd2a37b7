"""Nearest pictures: a FAISS index, the search in it, and how many true neighbours it finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from segue.methods.cocu.archive import needed
from segue.methods.cocu.curation.arrays import CHUNK, CurateSettings, Halves, Ids, Padded, _checked_rows

SAMPLE = 39  # the fewest that FAISS trains a list with unwarned


def build_index(embeddings: Halves, settings: CurateSettings) -> Any:
    """A FAISS index of (N, D) float16 rows under the inner product: flat, or IVF with 8 bits a number (SQ8).

    The IVF has about 4 sqrt(N) lists, but none of less than SAMPLE pictures: with fewer, a list holds many groups of
    alike pictures and its centre is near none of them, so that more is read and less is found. Its centres are learned
    from SAMPLE pictures a list. Raises InputError for rows that aren't finite and of unit length.
    """
    faiss = needed("faiss")
    count, width = embeddings.shape
    if count < settings.flat_below:
        index = faiss.IndexFlatIP(width)
    else:
        lists = max(1, min(2 ** round(np.log2(count) / 2 + 2), count // SAMPLE))
        index = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        sample = np.linspace(0, count - 1, min(count, SAMPLE * lists)).astype(np.int64)
        index.train(embeddings[sample].astype(np.float32))
        index.nprobe = settings.probes
    for start in range(0, count, CHUNK):
        index.add(_checked_rows(embeddings[start : start + CHUNK], start))
    return index


def nearest(index: Any, embeddings: Halves, anchors: Ids, neighbours: int) -> Ids:
    """The anchors' nearest pictures, (B, L) rows, nearest first, never the anchor itself; -1 where there is none."""
    found = index.search(embeddings[anchors].astype(np.float32), neighbours + 1)[1].astype(np.int64)
    found[found == anchors[:, None]] = -1
    order = np.argsort(found < 0, axis=1, kind="stable")
    return np.take_along_axis(found, order, 1)[:, :neighbours]


def recall(index: Any, embeddings: Halves, neighbours: int, sample: int = 256, seed: int = 0) -> float:
    """The share of the true nearest pictures (or ones as near) that the index finds, for `sample` random anchors."""
    faiss = needed("faiss")
    count = len(embeddings)
    anchors = np.sort(np.random.default_rng(seed).choice(count, min(sample, count), replace=False))
    query = embeddings[anchors].astype(np.float32)
    best = np.full((len(anchors), neighbours + 1), -np.inf, np.float32)
    for start in range(0, count, CHUNK):
        block = embeddings[start : start + CHUNK].astype(np.float32)
        near, ids = faiss.knn(query, block, min(neighbours + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        near[ids + start == anchors[:, None]] = -np.inf
        best = -np.sort(-np.concatenate([best, near], 1), axis=1)[:, : neighbours + 1]
    wanted = min(neighbours, count - 1)
    if not wanted:
        return 1.0
    found = nearest(index, embeddings, anchors, neighbours)
    near = np.einsum("bd,bld->bl", query, embeddings[found].astype(np.float32))
    right = (found >= 0) & (near >= best[:, wanted - 1 : wanted] - 1e-5)
    return float(right.sum() / (len(anchors) * wanted))


def _spread(values: Ids, table: Padded) -> Ids:
    """(P,) -> (B, M), 0 where there is nothing."""
    out = np.zeros(table.real.shape, values.dtype)
    out[table.row, table.place] = values
    return out
