"""Embeddings and ragged rows as arrays, and the settings of a curation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.types import InputError

Ids = NDArray[np.int64]
Halves = NDArray[np.float16]
CHUNK = 65_536  # embeddings turned to float32 at a time


@dataclass(frozen=True)
class CurateSettings:
    """How to curate; all of it is part of the archive's identity.

    neighbours: L. flat_below: with fewer pictures the search is exact. probes: lists of the index that a search reads.
    shard: pictures between two points from which a killed run goes on. seed: of the k-means.
    """

    neighbours: int = 8
    flat_below: int = 100_000
    probes: int = 8
    shard: int = 8192
    seed: int = 0
    expansion: bool = True
    ranking: bool = True
    clustering: bool = True

    def __post_init__(self) -> None:
        for name in ("neighbours", "probes", "shard"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 1 or more")


def _rows_of(offsets: Ids, numbers: NDArray[np.int32], rows: Ids) -> tuple[Ids, Ids]:
    """(position in `rows`, number) of everything that the rows hold, in order."""
    lengths = offsets[rows + 1] - offsets[rows]
    which = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(len(which)) - np.repeat(lengths.cumsum() - lengths, lengths)
    return which, numbers[offsets[rows][which] + within].astype(np.int64)


class Padded(NamedTuple):
    """Where a pair lies in a (B, M) table: its row and its place in the row; and which cells are taken."""

    row: Ids
    place: Ids
    real: NDArray[np.bool_]


def pad(anchor: Ids, count: int) -> Padded:
    """anchor: (P,) sorted positions below `count` = B."""
    sizes = np.bincount(anchor, minlength=count)
    place = np.arange(len(anchor)) - np.repeat(sizes.cumsum() - sizes, sizes)
    return Padded(anchor, place, np.arange(sizes.max(initial=0)) < sizes[:, None])


def _exact(embeddings: Halves, rows: Ids) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(embeddings[rows])).double()


def _checked_rows(rows: Halves, first: int, what: str = "embeddings") -> NDArray[np.float32]:
    floats = rows.astype(np.float32)
    bad = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", floats, floats) - 1) < 0.02))
    if len(bad):
        length = float(np.linalg.norm(floats[bad[0]]))
        raise InputError(
            f"{what}: row {first + int(bad[0])} has length {length:.4g}, expected 1; "
            "divide each row by its length before it is converted to float16"
        )
    return floats
