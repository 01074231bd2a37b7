"""Retrieval of the nearest pictures: a FAISS index, the search in it, and its recall."""

from __future__ import annotations

from typing import Any

import numpy as np

from segue.methods.cocu.archive import require
from segue.methods.cocu.curation.arrays import CHUNK_ROWS, Embeddings, Indices, to_unit_float32
from segue.methods.cocu.curation.config import CurateSettings

PICTURES_PER_LIST = 39  # the fewest
SAMPLES_PER_LIST, ROUNDS = 20, 6  # pictures and rounds from which k-means learns a list's centre


def build_index(embeddings: Embeddings, settings: CurateSettings) -> Any:
    """A FAISS index of (N, D) rows under the inner product: flat, or IVF with 8 bits a number (SQ8).

    The IVF has about 4 sqrt(N) lists, but none of fewer than PICTURES_PER_LIST pictures: then a list would hold many
    groups of similar pictures and its centre would be near none of them, so that more is read and less is found. The
    centres are learned from SAMPLES_PER_LIST pictures a list in ROUNDS rounds: a third of the time of FAISS's own
    39 and 10, for one hundredth of recall at most.
    Raises InputError for rows that are not finite and of unit length.
    """
    faiss = require("faiss")
    count, width = embeddings.shape
    if count < settings.flat_below:
        index = faiss.IndexFlatIP(width)
    else:
        lists = max(1, min(2 ** round(np.log2(count) / 2 + 2), count // PICTURES_PER_LIST))
        index = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        sample = np.linspace(0, count - 1, min(count, SAMPLES_PER_LIST * lists)).astype(np.int64)
        index.cp.niter, index.cp.min_points_per_centroid = ROUNDS, SAMPLES_PER_LIST
        index.train(embeddings[sample].astype(np.float32))
        index.nprobe = settings.probes
    for start in range(0, count, CHUNK_ROWS):
        index.add(to_unit_float32(embeddings[start : start + CHUNK_ROWS], start))
    return index


def search_neighbours(index: Any, embeddings: Embeddings, anchors: Indices, neighbours: int) -> Indices:
    """The nearest pictures of (B,) anchors, (B, L) rows, nearest first, never the anchor itself; -1 for no more."""
    found = index.search(embeddings[anchors].astype(np.float32), neighbours + 1)[1].astype(np.int64)
    found[found == anchors[:, None]] = -1
    order = np.argsort(found < 0, axis=1, kind="stable")
    return np.take_along_axis(found, order, 1)[:, :neighbours]


def index_recall(index: Any, embeddings: Embeddings, neighbours: int, sample: int = 256, seed: int = 0) -> float:
    """The share in [0, 1] of the true nearest pictures (or equally near ones) that the index finds.

    sample: random anchors for which it is measured.
    """
    faiss = require("faiss")
    count = len(embeddings)
    anchors = np.sort(np.random.default_rng(seed).choice(count, min(sample, count), replace=False))
    query = embeddings[anchors].astype(np.float32)
    best = np.full((len(anchors), neighbours + 1), -np.inf, np.float32)
    for start in range(0, count, CHUNK_ROWS):
        block = embeddings[start : start + CHUNK_ROWS].astype(np.float32)
        near, ids = faiss.knn(query, block, min(neighbours + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        near[ids + start == anchors[:, None]] = -np.inf
        best = -np.sort(-np.concatenate([best, near], 1), axis=1)[:, : neighbours + 1]
    expected = min(neighbours, count - 1)
    if not expected:
        return 1.0
    found = search_neighbours(index, embeddings, anchors, neighbours)
    near = np.einsum("bd,bld->bl", query, embeddings[found].astype(np.float32))
    right = (found >= 0) & (near >= best[:, expected - 1 : expected] - 1e-5)
    return float(right.sum() / (len(anchors) * expected))
