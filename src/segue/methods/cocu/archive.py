"""The concept archive: a parquet file with one row for each (picture, concept), and the sampling of concepts from it.

| column | type | content |
|---|---|---|
| row | int64 | position of the picture in the embeddings; the table is sorted by it |
| picture | string | name of the picture |
| concept | string, dictionary | best score first within a picture |
| score | float32, >= 0 | of the text-to-vision-guided ranking |
| cluster | uint16 | cluster among the concepts of this picture; not every number need occur |
| support | uint16 | how many of the nearest pictures name the concept |
| source | string, dictionary | named by the picture's own "caption", by its "neighbours", or by "both" |

A picture without concepts has no row. The metadata of the file hold, under the key "segue", the facts of the run as
JSON: settings, fingerprints of the inputs, the number of pictures and all concepts of the vocabulary.
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
METADATA_KEY = b"segue"


def require(module: str) -> Any:
    """Import a module of the extra `cluster`, or Ray. Raises InputError that names the extra when it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        extra = "ray" if name == "ray" else "cluster"
        raise InputError(f"curation needs {name}, which is missing: {to_install(extra)}") from error


# ------------------------------------------------------------------------------------------------ writing


def archive_schema() -> Any:
    """The columns of the file, a `pyarrow.Schema`."""
    arrow = require("pyarrow")
    text = arrow.dictionary(arrow.int32(), arrow.string())
    types = {"row": arrow.int64(), "picture": arrow.string(), "concept": text, "score": arrow.float32()}
    return arrow.schema(types | {"cluster": arrow.uint16(), "support": arrow.uint16(), "source": text})


def archive_table(rows: dict[str, NDArray[Any]], concepts: Sequence[str], names: Sequence[str] | None) -> Any:
    """The columns of `run.build_archives` as a `pyarrow.Table`.

    concepts: the vocabulary. names: the pictures', their row numbers unless given.
    """
    arrow = require("pyarrow")
    used, index = np.unique(rows["concept"], return_inverse=True)
    source = np.where(rows["in_caption"], np.where(rows["support"] > 0, 2, 0), 1)
    columns = [
        rows["row"],
        [str(row) if names is None else names[row] for row in rows["row"].tolist()],
        _dictionary_column(index, [concepts[i] for i in used]),
        rows["score"].astype(np.float32),
        rows["cluster"],
        rows["support"].astype(np.uint16),
        _dictionary_column(source, ["caption", "neighbours", "both"]),
    ]
    arrays = [arrow.array(column) if isinstance(column, list) else column for column in columns]
    return arrow.Table.from_arrays(arrays, schema=archive_schema())


def _dictionary_column(index: NDArray[np.integer], values: list[str]) -> Any:
    arrow = require("pyarrow")
    return arrow.DictionaryArray.from_arrays(arrow.array(index.astype(np.int32)), arrow.array(values, arrow.string()))


def write_table(path: Path, tables: Iterable[Any], about: dict[str, Any] | None = None) -> None:
    """Write the tables one after another as one file, whole or not at all. about: JSON-able, for the metadata."""
    parquet = require("pyarrow.parquet")
    schema = archive_schema().with_metadata({METADATA_KEY: json.dumps(about).encode()} if about else None)
    with replacing(path) as fresh, parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


# ------------------------------------------------------------------------------------------------ sampling


def hashed_uniform(*keys: int | NDArray[np.integer] | np.uint64) -> NDArray[np.float64]:
    """Pseudo-random numbers in (0, 1), each a function of its keys alone (the mixer of SplitMix64).

    keys: integers or arrays, which are broadcast together. The numbers of a picture are the same in any batch.
    """
    mixed = np.zeros(np.broadcast_shapes(*(np.shape(key) for key in keys)) or (1,), np.uint64)
    for key in keys:
        mixed = mixed + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return ((mixed >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def _hashed_gumbel(*keys: int | NDArray[np.integer]) -> NDArray[np.float64]:
    return -np.log(-np.log(hashed_uniform(*keys)))


def sample_by_cluster(
    score: NDArray[np.float64],
    cluster: NDArray[np.int64],
    filled: NDArray[np.bool_],
    rows: NDArray[np.int64],
    *,
    num: int,
    temperature: float,
    seed: int,
    iteration: int,
) -> NDArray[np.int64]:
    """Cluster-guided sampling: (B, num) columns of the archives, none twice, -1 where an archive has no more.

    score, cluster, filled: (B, M), the archives as a table, filled where there is a concept. rows: (B,) the pictures.
    A softmax over the clusters' mean scores / temperature draws a cluster, a softmax over its scores / temperature a
    concept of it; no cluster is drawn again before all have been. A function of (seed, iteration, row) and the archive.
    """
    batch, width = score.shape
    out = np.full((batch, num), -1, np.int64)
    if not width:
        return out
    mean, size = _cluster_means(score, cluster, filled)
    line, remaining, unused = np.arange(batch), filled.copy(), size > 0
    for turn in range(num):
        nonempty = _cluster_sizes(cluster, remaining, size.shape[1]) > 0
        allowed = np.where((unused & nonempty).any(1, keepdims=True), unused & nonempty, nonempty)
        noise = _hashed_gumbel(seed, iteration, rows[:, None], 2 * turn, np.arange(size.shape[1]))
        chosen = np.where(allowed, mean / temperature + noise, -np.inf).argmax(1)
        noise = _hashed_gumbel(seed, iteration, rows[:, None], 2 * turn + 1, np.arange(width))
        candidates = remaining & (cluster == chosen[:, None])
        column = np.where(candidates, score / temperature + noise, -np.inf).argmax(1)
        some = remaining.any(1)
        out[some, turn] = column[some]
        remaining[line[some], column[some]] = False
        unused[line, chosen] = False
    return out


def _cluster_means(
    score: NDArray[np.float64], cluster: NDArray[np.int64], filled: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean score and size of each of the K clusters, both (B, K)."""
    count = int(cluster.max(initial=0)) + 1
    size = _cluster_sizes(cluster, filled, count)
    flat = (np.arange(len(score))[:, None] * count + cluster)[filled]
    # bincount adds in order, so no sum depends on the batch
    total = np.bincount(flat, score[filled], len(score) * count).reshape(-1, count)
    return total / np.maximum(size, 1), size


def _cluster_sizes(cluster: NDArray[np.int64], filled: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    flat = (np.arange(len(cluster))[:, None] * count + cluster)[filled]
    return np.bincount(flat, minlength=len(cluster) * count).reshape(-1, count)


# ------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Archive:
    """An archive in memory: picture i has the concepts concept_ids[offsets[i]:offsets[i + 1]], best first.

    concepts: the vocabulary. offsets: (N + 1,). concept_ids (positions in the vocabulary), scores, clusters: one entry
    for each row of the file, and so is named, whether the picture's own caption names the concept.
    """

    concepts: tuple[str, ...]
    offsets: NDArray[np.int64]
    concept_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    clusters: NDArray[np.uint16]
    named: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def concepts_of(self, row: int) -> list[tuple[str, float]]:
        """A picture's concepts with their scores, best first."""
        span = slice(self.offsets[row], self.offsets[row + 1])
        return [(self.concepts[n], float(s)) for n, s in zip(self.concept_ids[span], self.scores[span], strict=True)]

    def sample(
        self,
        rows: Sequence[int],
        iteration: int,
        *,
        num: int = 3,
        temperature: float = 0.1,
        seed: int = 0,
        mode: Literal["clusters", "top"] = "clusters",
        fresh: bool = False,
    ) -> list[list[str]]:
        """`num` different concepts for each of the pictures, fewer where its archive has fewer.

        mode: cluster-guided sampling (see `sample_by_cluster`), or always the top scores (the ablation). temperature:
        scores are near 2, so that 1 samples almost evenly. fresh: leave out what the picture's own caption names.
        Raises InputError for a temperature of 0 or less, num below 1, and rows that the archive does not have.
        """
        if temperature <= 0 or num < 1:
            raise InputError(f"got temperature {temperature} and num {num}, expected above 0 and at least 1")
        picked = np.asarray(rows, np.int64).reshape(-1)
        if len(picked) and not 0 <= picked.min() <= picked.max() < len(self):
            raise InputError(f"rows: got {picked.min()}..{picked.max()}, expected 0..{len(self) - 1}")
        start, size = self.offsets[picked], np.diff(self.offsets)[picked]
        filled = np.arange(size.max(initial=0)) < size[:, None]
        where = np.where(filled, start[:, None] + np.arange(filled.shape[1]), 0)
        if fresh:
            filled &= ~self.named[where]
        if mode == "top":
            best = np.argsort(~filled, axis=1, kind="stable")[:, :num]  # the filled ones first, in their order
            columns = np.where(np.take_along_axis(filled, best, 1), best, -1)
        else:
            score, cluster = self.scores[where].astype(np.float64), self.clusters[where].astype(np.int64)
            cluster = np.where(filled, cluster, 0)
            columns = sample_by_cluster(
                score, cluster, filled, picked, num=num, temperature=temperature, seed=seed, iteration=iteration
            )
        return [
            [self.concepts[self.concept_ids[first + column]] for column in row if column >= 0]
            for first, row in zip(start, columns, strict=True)
        ]


def read_archive(path: Path) -> Archive:
    """Read an archive file.

    Raises InputError when it is missing, broken, a parquet file of something else, or its columns don't fit each other.
    """
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    if not path.is_file():
        raise InputError(f"{path}: no such file; an archive comes from `segue curate`")
    try:
        table = parquet.read_table(path, columns=["row", "concept", "score", "cluster", "source"])
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as an archive ({error}); curate again") from error
    metadata = table.schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: a parquet file of something else; an archive comes from `segue curate`")
    try:
        return _archive_of(table, json.loads(metadata[METADATA_KEY]))
    except (KeyError, IndexError, TypeError, ValueError, arrow.ArrowException) as error:
        raise InputError(f"{path}: the parts of this archive don't fit each other ({error!r}); curate again") from error


def _archive_of(table: Any, about: dict[str, Any]) -> Archive:
    rows, pictures = table["row"].to_numpy(), about["pictures"]
    if len(rows) and not (rows[0] >= 0 and rows[-1] < pictures and (np.diff(rows.astype(np.int64)) >= 0).all()):
        raise ValueError(f"rows of other pictures than the {pictures}, or out of order")
    ids = {concept: i for i, concept in enumerate(about["concepts"])}
    column = table["concept"].dictionary_encode().unify_dictionaries().combine_chunks()
    dictionary_ids = np.array([ids[name] for name in column.dictionary.to_pylist()], np.int32)
    source = table["source"].dictionary_encode().unify_dictionaries().combine_chunks()
    by_caption = np.array([name != "neighbours" for name in source.dictionary.to_pylist()], bool)
    counts = np.bincount(rows, minlength=pictures)
    return Archive(
        concepts=tuple(about["concepts"]),
        offsets=np.concatenate([[0], counts.cumsum()]).astype(np.int64),
        concept_ids=dictionary_ids[column.indices.to_numpy()],
        scores=table["score"].to_numpy(),
        clusters=table["cluster"].to_numpy(),
        named=by_caption[source.indices.to_numpy()],
    )
