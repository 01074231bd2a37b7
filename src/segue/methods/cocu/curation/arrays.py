"""Embeddings and rows of different lengths as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.types import InputError

Indices = NDArray[np.int64]
Embeddings = NDArray[np.float16]  # (N, D), rows of unit length
CHUNK_ROWS = 65_536  # embeddings that are converted to float32 at a time


class PaddedTable(NamedTuple):
    """Where P candidates are in a (B, M) table with a row for each anchor.

    row, column: (P,). filled: (B, M), the cells that hold a candidate.
    """

    row: Indices
    column: Indices
    filled: NDArray[np.bool_]

    def scatter(self, values: Indices) -> Indices:
        """(P,) values -> (B, M), 0 in the empty cells."""
        out = np.zeros(self.filled.shape, values.dtype)
        out[self.row, self.column] = values
        return out


def pad(anchor: Indices, count: int) -> PaddedTable:
    """The table of candidates whose anchors are `anchor`: (P,) sorted positions below `count` = B."""
    sizes = np.bincount(anchor, minlength=count)
    column = np.arange(len(anchor)) - np.repeat(sizes.cumsum() - sizes, sizes)
    return PaddedTable(anchor, column, np.arange(sizes.max(initial=0)) < sizes[:, None])


def to_float64(embeddings: Embeddings, rows: Indices) -> Tensor:
    """Some rows as a float64 tensor, (*rows.shape, D)."""
    return torch.from_numpy(np.ascontiguousarray(embeddings[rows])).double()


def to_unit_float32(rows: Embeddings, first: int, what: str = "embeddings") -> NDArray[np.float32]:
    """(N, D) rows as float32. first: number of the first row, for the message; what: name of the array, for the same.

    Raises InputError for a row that is not of unit length (within .01) or not finite.
    """
    floats = rows.astype(np.float32)
    wrong = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", floats, floats) - 1) < 0.02))
    if len(wrong):
        length = float(np.linalg.norm(floats[wrong[0]]))
        raise InputError(
            f"{what}: row {first + int(wrong[0])} has length {length:.4g}, expected 1; "
            "divide each row by its length before it is converted to float16"
        )
    return floats
