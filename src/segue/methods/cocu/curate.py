"""Concept curation: find for every picture the concepts that it shows and its caption leaves out.

Paper: Y. Xing et al., "Rewrite Caption Semantics" (CoCu). For an anchor picture with embedding v:

1. concepts: what captions name, whole words only (`vocabulary.find_concepts`).
2. vision-driven expansion: its archive is the union of the concepts of its L nearest pictures (`nearest`, `gather`).
3. text-to-vision-guided ranking (`rank`): score(c) = t.v / max_sim + t.v / mean(t.V_c), with t the text "a photo of a
   {c}", V_c the anchor and those neighbours whose captions name c, and max_sim the highest t'.v' over all concepts and
   pictures of the archive.
4. clusters (`cluster`): k-means over the archive's concept embeddings, k = ceil(n / 2).
5. cluster-guided sampling (`archive.Archive.draw`), when training asks for concepts.

Every stage is a plain function of a batch of anchors; `curate` runs them over shards and can be killed at any time.

Embeddings are float16 of unit length and are multiplied in float64. Products of float16 numbers in [-1, 1] are whole
multiples of 2^-48, and their sums stay below 2, so float64 adds them without rounding: the results depend neither on
the batch nor on the number of threads, and a resumed run writes the same file byte for byte.

Where the paper says nothing: a similarity ratio whose denominator is not positive counts 0, and so does a negative
score. Ablations: `expansion=False` keeps to the caption's own concepts, `ranking=False` scores all 1,
`clustering=False` puts all into one cluster; top-3 is a way of drawing from the archive.
B anchors, L neighbours, D channels, P pairs (anchor, concept), n concepts of an archive, M the largest n of a batch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.files import replacing, write_text
from segue.methods.cocu.archive import ARCHIVE, columns, needed, uniform, write_table
from segue.methods.cocu.vocabulary import Captions, Vocabulary, find_concepts
from segue.types import InputError

Ids = NDArray[np.int64]
Halves = NDArray[np.float16]
MANIFEST, INDEX, CONCEPTS, PARTS, REPORT = "manifest.json", "index.faiss", "concepts.npz", "parts", "report.json"
AT_ONCE = 512  # anchors in memory together; no result depends on it
SAMPLE = 39  # the fewest that FAISS trains a list with unwarned
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


# ------------------------------------------------------------------------------------------------ retrieval


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


# ------------------------------------------------------------------------------------------------ expansion


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


# ------------------------------------------------------------------------------------------------ ranking


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


def _exact(embeddings: Halves, rows: Ids) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(embeddings[rows])).double()


def _spread(values: Ids, table: Padded) -> Ids:
    """(P,) -> (B, M), 0 where there is nothing."""
    out = np.zeros(table.real.shape, values.dtype)
    out[table.row, table.place] = values
    return out


# ------------------------------------------------------------------------------------------------ clusters


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


# ------------------------------------------------------------------------------------------------ the run


def archives(
    index: Any,
    embeddings: Halves,
    texts: Halves,
    concepts: tuple[Ids, NDArray[np.int32]],
    anchors: Ids,
    settings: CurateSettings,
    seconds: dict[str, float] | None = None,
) -> dict[str, NDArray]:
    """The archive rows of a batch of anchors: what stages 2 to 4 make of them, best concept first.

    Columns row, concept (numbers), score, cluster, support (neighbours that name it), own. A pure function of its
    arguments. seconds: adds up the time of each stage.
    """
    clock = _Clock(seconds)
    neighbours = nearest(index, embeddings, anchors, settings.neighbours)
    clock("retrieval")
    parts = []
    for start in range(0, len(anchors), AT_ONCE):
        some, near = anchors[start : start + AT_ONCE], neighbours[start : start + AT_ONCE]
        near = near if settings.expansion else np.full_like(near, -1)
        pairs = gather(some, near, *concepts, settings.expansion)
        clock("expansion")
        score = rank(embeddings, texts, some, near, pairs) if settings.ranking else np.ones(len(pairs.anchor))
        clock("ranking")
        if settings.clustering and len(pairs.anchor):
            group = cluster(texts, some, pairs, settings.seed)
        else:
            group = np.zeros(len(pairs.anchor), np.uint16)
        clock("clustering")
        order = np.lexsort((pairs.concept, -score, pairs.anchor))
        columns = (some[pairs.anchor], pairs.concept, score, group, pairs.holds.sum(1), pairs.own)
        parts.append([column[order] for column in columns])
    names = ("row", "concept", "score", "cluster", "support", "own")
    return {name: np.concatenate(columns) for name, columns in zip(names, zip(*parts, strict=True), strict=True)}


def curate(
    embeddings: Halves,
    captions: Captions,
    vocabulary: Vocabulary,
    texts: Halves,
    out: Path,
    settings: CurateSettings = CurateSettings(),
    *,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    spread: Spread | None = None,
) -> dict[str, Any]:
    """Curate N pictures into `out`/archive.parquet (see archive.py) and return the report, also in `out`/report.json.

    embeddings: (N, D) float16 of unit length, a memory map will do. captions: N of them; None, "" or () where a picture
    has none. texts: (V, D) float16 of unit length, of "a photo of a {concept}". names: the pictures', their rows unless
    given. progress: told (pictures done, N). spread: who works on the shards, this process unless given; see
    `on_ray.on_ray`. A killed run goes on from its last shard when it is called again.
    Raises InputError for parts that don't fit each other, and when `out` is of another run.
    """
    _check(embeddings, captions, vocabulary, texts, names)
    facts = _facts(embeddings, captions, vocabulary, texts, settings, names)
    _claim(out, facts)
    if (out / ARCHIVE).exists() and (out / REPORT).exists():
        shutil.rmtree(out / PARTS, ignore_errors=True)
        try:
            return json.loads((out / REPORT).read_text())
        except ValueError as error:
            raise InputError(f"{out / REPORT}: broken ({error}); delete this file and run again") from error
    seconds: dict[str, float] = defaultdict(float)
    concepts = _saved_concepts(out, captions, vocabulary, seconds)
    index = _saved_index(out, embeddings, settings, seconds)
    (out / PARTS).mkdir(exist_ok=True)
    job = Job(out.resolve(), np.asarray(embeddings), texts, concepts, vocabulary, settings, names)
    done = _work(job, progress, spread, seconds)
    parquet = needed("pyarrow.parquet")
    clock, about = _Clock(seconds), facts | {"concepts": list(vocabulary.concepts), "pictures": len(embeddings)}
    write_table(out / ARCHIVE, (parquet.read_table(job.part(number)) for number in range(job.shards)), about)
    clock("writing")
    report = _report(out, concepts, seconds, done, recall(index, embeddings, settings.neighbours))
    _write(out / REPORT, report)
    shutil.rmtree(out / PARTS)
    return report


@dataclass(frozen=True)
class Job:
    """The shards of a run: job(number) curates one of them into its part file, whole or not at all.

    It can be pickled, and doing a shard twice does no harm, so any process that sees `out` may do it. Fields as in
    `curate`; concepts: of `find_concepts`.
    """

    out: Path
    embeddings: Halves
    texts: Halves
    concepts: tuple[Ids, NDArray[np.int32]]
    vocabulary: Vocabulary
    settings: CurateSettings
    names: Sequence[str] | None

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.embeddings) // self.settings.shard)

    def part(self, number: int) -> Path:
        """The file of a shard."""
        return self.out / PARTS / f"part-{number:06d}.parquet"

    def anchors(self, number: int) -> Ids:
        """The rows of a shard."""
        start = number * self.settings.shard
        return np.arange(start, min(start + self.settings.shard, len(self.embeddings)))

    def __call__(self, number: int) -> tuple[int, dict[str, float]]:
        """Returns the shard's number and the seconds of each stage."""
        seconds: dict[str, float] = {}
        index = _read_index(self.out / INDEX)
        rows = archives(index, self.embeddings, self.texts, self.concepts, self.anchors(number), self.settings, seconds)
        write_table(self.part(number), [to_table(rows, self.vocabulary, self.names)])
        return number, seconds


Work = Callable[[int], tuple[int, dict[str, float]]]
Spread = Callable[[Work, Sequence[int]], Iterable[tuple[int, dict[str, float]]]]


def _work(
    job: Job, progress: Callable[[int, int], None] | None, spread: Spread | None, seconds: dict[str, float]
) -> int:
    """Do what is missing of a job and add up its seconds; how many pictures that were."""
    count = len(job.embeddings)
    missing = [number for number in range(job.shards) if not job.part(number).exists()]
    done = before = count - sum(len(job.anchors(number)) for number in missing)
    for number, told in spread(job, missing) if spread else map(job, missing):
        for stage, value in told.items():
            seconds[stage] += value
        done += len(job.anchors(number))
        if progress is not None:
            progress(done, count)
    return done - before


def to_table(rows: dict[str, NDArray], vocabulary: Vocabulary, names: Sequence[str] | None) -> Any:
    """The columns of `archives` as the table that is written."""
    arrow = needed("pyarrow")
    used, number = np.unique(rows["concept"], return_inverse=True)
    source = np.where(rows["own"], np.where(rows["support"] > 0, 2, 0), 1)
    named = [
        rows["row"],
        [str(row) if names is None else names[row] for row in rows["row"].tolist()],
        _words(number, [vocabulary.concepts[i] for i in used]),
        rows["score"].astype(np.float32),
        rows["cluster"],
        rows["support"].astype(np.uint16),
        _words(source, ["caption", "neighbours", "both"]),
    ]
    return arrow.Table.from_arrays([arrow.array(c) if isinstance(c, list) else c for c in named], schema=columns())


def _words(numbers: NDArray, words: list[str]) -> Any:
    arrow = needed("pyarrow")
    return arrow.DictionaryArray.from_arrays(arrow.array(numbers.astype(np.int32)), arrow.array(words, arrow.string()))


def _report(
    out: Path, concepts: tuple[Ids, NDArray[np.int32]], seconds: dict[str, float], done: int, found: float
) -> dict[str, Any]:
    parquet = needed("pyarrow.parquet")
    offsets, numbers = concepts
    pictures = len(offsets) - 1
    rows = parquet.read_metadata(out / ARCHIVE).num_rows
    listed = np.bincount(parquet.read_table(out / ARCHIVE, columns=["row"])["row"].to_numpy(), minlength=pictures)
    return {
        "pictures": pictures,
        "pictures_without_named_concept": int((np.diff(offsets) == 0).sum()),
        "pictures_without_archive": int((listed == 0).sum()),
        "concepts_named": len(np.unique(numbers)),
        "concepts_per_caption": len(numbers) / max(pictures, 1),
        "concepts_per_archive": rows / max(pictures, 1),
        "recall": found,
        "seconds": {name: round(s, 3) for name, s in seconds.items() if not name.endswith("_cpu")},
        "cpu_seconds": {name[:-4]: round(s, 3) for name, s in seconds.items() if name.endswith("_cpu")},
        "pictures_this_run": done,  # the seconds are of these, on the clock and of the processor
    }


# ------------------------------------------------------------------------------------------------ what is on disk


def _check(
    embeddings: Halves, captions: Captions, vocabulary: Vocabulary, texts: Halves, names: Sequence[str] | None
) -> None:
    for name, array in (("embeddings", embeddings), ("texts", texts)):
        if array.dtype != np.float16 or array.ndim != 2 or 0 in array.shape:
            raise InputError(
                f"{name}: got shape {array.shape} and type {array.dtype}, expected (N, D) float16 with N, D >= 1; "
                "normalise them and convert with .astype(np.float16)"
            )
    if len(captions) != len(embeddings):
        raise InputError(f"captions: got {len(captions)} for {len(embeddings)} pictures, expected one entry for each")
    if texts.shape != (len(vocabulary), embeddings.shape[1]):
        raise InputError(
            f"texts: got shape {texts.shape}, expected ({len(vocabulary)}, {embeddings.shape[1]}): one for each "
            "concept, by the same model as the pictures"
        )
    for start in range(0, len(texts), CHUNK):
        _checked_rows(texts[start : start + CHUNK], start, "texts")
    if names is not None and len(names) != len(embeddings):
        raise InputError(f"names: got {len(names)} for {len(embeddings)} pictures, expected one for each")


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


def _facts(
    embeddings: Halves,
    captions: Captions,
    vocabulary: Vocabulary,
    texts: Halves,
    settings: CurateSettings,
    names: Sequence[str] | None,
) -> dict[str, Any]:
    """What a run is known by."""
    rows = hashlib.sha256()
    for first in range(0, len(embeddings), CHUNK):
        rows.update(np.ascontiguousarray(embeddings[first : first + CHUNK]).tobytes())
    told = hashlib.sha256()
    for caption in captions:
        told.update(json.dumps(caption).encode())
    called = hashlib.sha256("\n".join(names or ()).encode())
    return {
        "settings": asdict(settings),
        "embeddings": [*embeddings.shape, rows.hexdigest()],
        "captions": told.hexdigest(),
        "names": called.hexdigest(),
        "vocabulary": hashlib.sha256("\n".join(vocabulary.concepts).encode()).hexdigest(),
        "texts": hashlib.sha256(np.ascontiguousarray(texts).tobytes()).hexdigest(),
    }


def _claim(out: Path, facts: dict[str, Any]) -> None:
    """Make `out` this run's folder, or see that it is."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / MANIFEST
    if not path.exists():
        if any(not one.name.startswith(".") for one in out.iterdir()):  # a kill may leave hidden remains
            raise InputError(f"{out}: holds other files and no {MANIFEST}; name a new folder")
        _write(path, facts)
        return
    try:
        saved = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); delete the folder {out} and curate again") from error
    flat, then = (f["settings"] | {k: v for k, v in f.items() if k != "settings"} for f in (facts, saved))
    other = [name for name, value in flat.items() if value != then.get(name)]
    if other:
        raise InputError(f"{out}: holds a run with other {', '.join(other)}; name another folder or delete this one")


def _saved_concepts(
    out: Path, captions: Captions, vocabulary: Vocabulary, seconds: dict[str, float]
) -> tuple[Ids, NDArray[np.int32]]:
    path = out / CONCEPTS
    if not path.exists():
        clock = _Clock(seconds)
        offsets, numbers = find_concepts(captions, vocabulary)
        clock("concepts")
        with replacing(path) as fresh, fresh.open("wb") as file:
            np.savez(file, offsets=offsets, numbers=numbers)
    try:
        with np.load(path) as saved:
            return saved["offsets"], saved["numbers"]
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: broken ({error}); delete this file and run again") from error


def _saved_index(out: Path, embeddings: Halves, settings: CurateSettings, seconds: dict[str, float]) -> Any:
    faiss, path = needed("faiss"), out / INDEX
    if not path.exists():
        clock = _Clock(seconds)
        index = build_index(embeddings, settings)
        clock("index")
        with replacing(path) as fresh:
            faiss.write_index(index, str(fresh))
    index = _read_index(path)
    if index.ntotal != len(embeddings):
        raise InputError(f"{path}: holds {index.ntotal} pictures of {len(embeddings)}; delete this file and run again")
    return index


def _read_index(path: Path) -> Any:
    """The index of a file, kept for the next shard."""
    about = path.stat()
    return _opened(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)
def _opened(path: Path, _changed: int, _size: int) -> Any:
    try:
        return needed("faiss").read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: a broken index; delete this file and run again") from error


def _write(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


class _Clock:
    """Adds the time since the last call to the stage that is named, the processor's under the name + "_cpu"."""

    def __init__(self, seconds: dict[str, float] | None) -> None:
        self.seconds: dict[str, float] = {} if seconds is None else seconds
        self.last = time.perf_counter(), time.process_time()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter(), time.process_time()
        for name, before, after in zip((stage, f"{stage}_cpu"), self.last, now, strict=True):
            self.seconds[name] = self.seconds.get(name, 0.0) + after - before
        self.last = now
