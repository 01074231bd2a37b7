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
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from segue.files import replacing, write_text
from segue.methods.cocu.archive import ARCHIVE, columns, needed, write_table
from segue.methods.cocu.curation.arrays import CHUNK, CurateSettings, Halves, Ids, _checked_rows
from segue.methods.cocu.curation.clustering import cluster
from segue.methods.cocu.curation.ranking import gather, rank
from segue.methods.cocu.curation.retrieval import build_index, nearest, recall
from segue.methods.cocu.vocabulary import Captions, Vocabulary, find_concepts
from segue.types import InputError

MANIFEST, INDEX, CONCEPTS, PARTS, REPORT = "manifest.json", "index.faiss", "concepts.npz", "parts", "report.json"
AT_ONCE = 512  # anchors in memory together; no result depends on it


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
