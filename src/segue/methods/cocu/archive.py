"""The concept archive: a parquet file of (picture, concept) rows, and the drawing of concepts from it.

| column | type | what |
|---|---|---|
| row | int64 | the picture's position in the embeddings; rows are sorted by it |
| picture | string | its name |
| concept | string, dictionary | best score first within a picture |
| score | float32, >= 0 | of the text-to-vision-guided ranking |
| cluster | uint16 | among the clusters of this picture; numbers may be missing |
| support | uint16 | how many of the nearest pictures name it |
| source | string, dictionary | named by "caption" (its own), "neighbours" or "both" |

A picture without concepts has no row. The file's metadata hold, under "segue", the run's facts as JSON: settings,
fingerprints, the number of pictures and all concepts of the vocabulary.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.files import replacing
from segue.types import InputError, to_install

ARCHIVE = "archive.parquet"
KEY = b"segue"


def needed(module: str) -> Any:
    """A module of the `cluster` extra, or Ray."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        extra = "ray" if name == "ray" else "cluster"
        raise InputError(f"curation needs {name}, which is missing: {to_install(extra)}") from error


def columns() -> Any:
    """The columns of the file."""
    arrow = needed("pyarrow")
    words = arrow.dictionary(arrow.int32(), arrow.string())
    kinds = {"row": arrow.int64(), "picture": arrow.string(), "concept": words, "score": arrow.float32()}
    return arrow.schema(kinds | {"cluster": arrow.uint16(), "support": arrow.uint16(), "source": words})


def write_table(path: Path, tables: Iterable[Any], about: dict[str, Any] | None = None) -> None:
    """Write the tables one after another as one file, whole or not at all. about: json-able, into the metadata."""
    parquet = needed("pyarrow.parquet")
    schema = columns().with_metadata({KEY: json.dumps(about).encode()} if about else None)
    with replacing(path) as fresh, parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


# ------------------------------------------------------------------------------------------------ drawing


def uniform(*keys: int | NDArray | np.uint64) -> NDArray[np.float64]:
    """Numbers in (0, 1) that the keys alone decide, whatever else is in the batch (the mixer of SplitMix64)."""
    mixed = np.zeros(np.broadcast_shapes(*(np.shape(key) for key in keys)) or (1,), np.uint64)
    for key in keys:
        mixed = mixed + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return ((mixed >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def _gumbel(*keys: int | NDArray) -> NDArray[np.float64]:
    return -np.log(-np.log(uniform(*keys)))


def draw_clusters(
    score: NDArray[np.float64],
    cluster: NDArray[np.int64],
    real: NDArray[np.bool_],
    rows: NDArray[np.int64],
    *,
    draws: int,
    temperature: float,
    seed: int,
    iteration: int,
) -> NDArray[np.int64]:
    """Cluster-guided sampling: (B, draws) places in the archives, none twice, -1 where an archive has no more.

    score, cluster, real: (B, M), the archives side by side, real where there is a concept. rows: (B,) the pictures.
    A softmax over the clusters' mean scores / temperature draws a cluster, a softmax over its scores / temperature a
    concept of it; a cluster is drawn again only when all have been. Depends on (seed, iteration, row) and the archive.
    """
    batch, most = score.shape
    out = np.full((batch, draws), -1, np.int64)
    if not most:
        return out
    mean, size = _means(score, cluster, real)
    line, left, fresh = np.arange(batch), real.copy(), size > 0
    for turn in range(draws):
        stocked = _count(cluster, left, size.shape[1]) > 0
        open_ = np.where((fresh & stocked).any(1, keepdims=True), fresh & stocked, stocked)
        noise = _gumbel(seed, iteration, rows[:, None], 2 * turn, np.arange(size.shape[1]))
        group = np.where(open_, mean / temperature + noise, -np.inf).argmax(1)
        noise = _gumbel(seed, iteration, rows[:, None], 2 * turn + 1, np.arange(most))
        inside = left & (cluster == group[:, None])
        place = np.where(inside, score / temperature + noise, -np.inf).argmax(1)
        some = left.any(1)
        out[some, turn] = place[some]
        left[line[some], place[some]] = False
        fresh[line, group] = False
    return out


def _means(
    score: NDArray[np.float64], cluster: NDArray[np.int64], real: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean score and size of each cluster, (B, K)."""
    count = int(cluster.max(initial=0)) + 1
    size = _count(cluster, real, count)
    flat = (np.arange(len(score))[:, None] * count + cluster)[real]
    total = np.bincount(flat, score[real], len(score) * count).reshape(-1, count)  # adds in order: no rounding by batch
    return total / np.maximum(size, 1), size


def _count(cluster: NDArray[np.int64], real: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    flat = (np.arange(len(cluster))[:, None] * count + cluster)[real]
    return np.bincount(flat, minlength=len(cluster) * count).reshape(-1, count)


@dataclass(frozen=True)
class Archive:
    """The archive in memory: picture i has the concepts numbers[offsets[i]:offsets[i + 1]], best first.

    concepts: the vocabulary. numbers, scores, clusters: one entry for each row of the file.
    """

    concepts: tuple[str, ...]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]
    scores: NDArray[np.float32]
    clusters: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, row: int) -> list[tuple[str, float]]:
        """A picture's concepts with their scores, best first."""
        span = slice(self.offsets[row], self.offsets[row + 1])
        return [(self.concepts[n], float(s)) for n, s in zip(self.numbers[span], self.scores[span], strict=True)]

    def draw(
        self,
        rows: Sequence[int],
        iteration: int,
        *,
        draws: int = 3,
        temperature: float = 0.1,
        seed: int = 0,
        mode: Literal["clusters", "top"] = "clusters",
    ) -> list[list[str]]:
        """`draws` different concepts for each of the pictures, fewer where its archive has fewer.

        mode: cluster-guided sampling (see `draw_clusters`), or always the top scores (the ablation). temperature:
        scores lie near 2, so that 1 draws almost evenly.
        """
        if temperature <= 0 or draws < 1:
            raise InputError(f"got temperature {temperature} and {draws} draws, expected above 0 and at least 1")
        picked = np.asarray(rows, np.int64).reshape(-1)
        if len(picked) and not 0 <= picked.min() <= picked.max() < len(self):
            raise InputError(f"rows: got {picked.min()}..{picked.max()}, expected 0..{len(self) - 1}")
        start, size = self.offsets[picked], np.diff(self.offsets)[picked]
        real = np.arange(size.max(initial=0)) < size[:, None]
        where = np.where(real, start[:, None] + np.arange(real.shape[1]), 0)
        if mode == "top":
            places = np.where(np.arange(draws) < size[:, None], np.arange(draws), -1)
        else:
            score, group = self.scores[where].astype(np.float64), self.clusters[where].astype(np.int64)
            group = np.where(real, group, 0)
            places = draw_clusters(
                score, group, real, picked, draws=draws, temperature=temperature, seed=seed, iteration=iteration
            )
        return [
            [self.concepts[self.numbers[first + place]] for place in row if place >= 0]
            for first, row in zip(start, places, strict=True)
        ]


def read_archive(path: Path) -> Archive:
    """Read an archive file. Raises InputError when it is missing, broken or not one of ours."""
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    if not path.is_file():
        raise InputError(f"{path}: no such file; an archive comes from `segue curate`")
    try:
        table = parquet.read_table(path, columns=["row", "concept", "score", "cluster"])
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as an archive ({error}); curate again") from error
    metadata = table.schema.metadata or {}
    if KEY not in metadata:
        raise InputError(f"{path}: a parquet file of something else; an archive comes from `segue curate`")
    about = json.loads(metadata[KEY])
    numbers = {concept: i for i, concept in enumerate(about["concepts"])}
    concept = table["concept"].unify_dictionaries().combine_chunks()
    known = np.array([numbers[name] for name in concept.dictionary.to_pylist()], np.int32)
    counts = np.bincount(table["row"].to_numpy(), minlength=about["pictures"])
    return Archive(
        concepts=tuple(about["concepts"]),
        offsets=np.concatenate([[0], counts.cumsum()]).astype(np.int64),
        numbers=known[concept.indices.to_numpy()],
        scores=table["score"].to_numpy(),
        clusters=table["cluster"].to_numpy(),
    )
