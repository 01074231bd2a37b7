"""Concept curation: find for every picture the concepts that it shows and its caption leaves out.

Paper: Y. Xing et al., "Rewrite Caption Semantics" (CoCu). For an anchor picture with embedding v:

1. concepts: what captions name, whole words only (`vocabulary.find_concepts`).
2. vision-driven expansion: its archive is the union of the concepts of its L nearest pictures
   (`retrieval.search_neighbours`, `expansion.collect_candidates`).
3. text-to-vision-guided ranking (`ranking.score_candidates`): score(c) = t.v / max_sim + t.v / mean(t.V_c), with t the
   text "a photo of a {c}", V_c the anchor and those neighbours whose captions name c, and max_sim the highest t'.v'
   over all concepts and pictures of the archive.
4. clusters (`clustering.cluster_candidates`): k-means over the archive's concept embeddings, k = ceil(n / 2).
5. cluster-guided sampling (`archive.Archive.sample`), when training asks for concepts.

Every stage is a pure function of a batch of anchors; `curate` runs them over shards and can be killed at any time.

Embeddings are float16 of unit length and are multiplied in float64. Products of float16 numbers in [-1, 1] are whole
multiples of 2^-48, and their sums stay below 2, so float64 adds them without rounding: the results depend neither on
the batch nor on the number of threads, and a resumed run writes the same file byte for byte.

Where the paper says nothing: a similarity ratio whose denominator is not positive counts 0, and so does a negative
score. Ours: `probability` takes the place of that score. Ablations: `expansion=False` keeps to the caption's own
concepts, `ranking=False` gives all the score 1, `clustering=False` puts all into one cluster; top-3 is a mode of
`Archive.sample`.
B anchors, L neighbours, D channels, P candidates (pairs of anchor and concept), n concepts of an archive, M the largest
n of a batch, V concepts of the vocabulary.
"""

from __future__ import annotations

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
from segue.methods.cocu.archive import ARCHIVE, archive_table, require, write_table
from segue.methods.cocu.curation.arrays import Embeddings, Indices
from segue.methods.cocu.curation.clustering import cluster_candidates
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.expansion import collect_candidates
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.probability import candidate_closeness, closeness_statistics, probabilities
from segue.methods.cocu.curation.ranking import score_candidates
from segue.methods.cocu.curation.retrieval import build_index, index_recall, search_neighbours
from segue.methods.cocu.vocabulary import CaptionConcepts, find_concepts
from segue.types import InputError

MANIFEST, INDEX, CONCEPTS, PARTS, REPORT = "manifest.json", "index.faiss", "concepts.npz", "parts", "report.json"
STATISTICS = "statistics.npy"
ANCHOR_BATCH = 512  # anchors that are curated together; no result depends on it

RunShard = Callable[[int], tuple[int, dict[str, float]]]  # number of a shard -> it, and the seconds of each stage
Executor = Callable[[RunShard, Sequence[int]], Iterable[tuple[int, dict[str, float]]]]  # runs shards, in any order


def build_archives(
    index: Any,
    embeddings: Embeddings,
    texts: Embeddings,
    concepts: CaptionConcepts,
    anchors: Indices,
    settings: CurateSettings,
    timer: StageTimer | None = None,
    statistics: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[Any]]:
    """The archive rows of a batch of anchors: what stages 2 to 4 make of them, best concept first.

    Columns row, concept (ids), score, cluster, support (how many neighbours name it), in_caption (whether the picture's
    own caption does). A pure function of its arguments, but for the timer, which adds up the time of each stage.
    statistics: of `probability.closeness_statistics`, where the settings have a probability.
    """
    timer = timer or StageTimer({})
    neighbours = search_neighbours(index, embeddings, anchors, settings.neighbours)
    timer.add("retrieval")
    parts = []
    for start in range(0, len(anchors), ANCHOR_BATCH):
        some, near = anchors[start : start + ANCHOR_BATCH], neighbours[start : start + ANCHOR_BATCH]
        near = near if settings.expansion else np.full_like(near, -1)
        found = collect_candidates(some, near, concepts, expansion=settings.expansion)
        timer.add("expansion")
        count = len(found.anchor)
        if not settings.ranking:
            score = np.ones(count)
        elif settings.probability is None or statistics is None:
            score = score_candidates(embeddings, texts, some, near, found)
        else:
            rows = some[found.anchor]
            closeness = candidate_closeness(embeddings, texts, statistics, rows, found.concept)
            score = probabilities(settings.probability, closeness, found.in_neighbour.sum(1))
        timer.add("ranking")
        cluster = np.zeros(count, np.uint16)
        if settings.clustering and count:
            cluster = cluster_candidates(texts, some, found, settings.seed)
        timer.add("clustering")
        order = np.lexsort((found.concept, -score, found.anchor))
        columns = (some[found.anchor], found.concept, score, cluster, found.in_neighbour.sum(1), found.in_caption)
        parts.append([column[order] for column in columns])
    names = ("row", "concept", "score", "cluster", "support", "in_caption")
    return {name: np.concatenate(columns) for name, columns in zip(names, zip(*parts, strict=True), strict=True)}


def curate(
    inputs: CurationInputs,
    out: Path,
    settings: CurateSettings = CurateSettings(),
    *,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Curate N pictures into `out`/archive.parquet (see `archive`) and return the report, also in `out`/report.json.

    progress: called with (pictures done, N) after each shard. executor: who runs the shards, this process unless given;
    see `ray_executor`. A killed run continues after its last whole shard when it is called again.
    Raises InputError when `out` holds other files, a run of other inputs or settings, or broken files, and for
    embeddings that are not of unit length.
    """
    facts = {"settings": asdict(settings), **inputs.fingerprint()}
    _check_folder(out, facts)
    if (out / ARCHIVE).exists() and (out / REPORT).exists():
        shutil.rmtree(out / PARTS, ignore_errors=True)
        return _read_report(out / REPORT)
    seconds: dict[str, float] = defaultdict(float)
    concepts = _find_or_read_concepts(out / CONCEPTS, inputs, StageTimer(seconds))
    index = _build_or_read_index(out / INDEX, inputs.embeddings, settings, StageTimer(seconds))
    (out / PARTS).mkdir(exist_ok=True)
    job = CurationJob(
        out=out.resolve(), embeddings=np.asarray(inputs.embeddings), texts=inputs.texts, concepts=concepts,
        vocabulary=inputs.vocabulary.concepts, names=inputs.names, settings=settings,
        statistics=None if settings.probability is None else _find_or_read_statistics(out / STATISTICS, inputs),
    )  # fmt: skip
    done = _run_missing_shards(job, progress, executor, seconds)
    parquet = require("pyarrow.parquet")
    timer = StageTimer(seconds)
    about = facts | {"concepts": list(inputs.vocabulary.concepts), "pictures": len(inputs)}
    write_table(out / ARCHIVE, (parquet.read_table(job.part(number)) for number in range(job.shards)), about)
    timer.add("writing")
    report = _report(out, concepts, seconds, done, index_recall(index, inputs.embeddings, settings.neighbours))
    _write_json(out / REPORT, report)
    shutil.rmtree(out / PARTS)
    return report


@dataclass(frozen=True, eq=False)
class CurationJob:
    """The shards of a run: job(number) curates one of them into its part file, whole or not at all.

    It can be pickled, and a shard may be run twice, so any process that sees the folder `out` may run it.
    Other fields as in `CurationInputs`; vocabulary: its concepts.
    """

    out: Path
    embeddings: Embeddings
    texts: Embeddings
    concepts: CaptionConcepts
    vocabulary: tuple[str, ...]
    names: Sequence[str] | None
    settings: CurateSettings
    statistics: NDArray[np.float64] | None = None

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.embeddings) // self.settings.shard)

    def part(self, number: int) -> Path:
        """The file of a shard."""
        return self.out / PARTS / f"part-{number:06d}.parquet"

    def anchors(self, number: int) -> Indices:
        """The rows of a shard."""
        start = number * self.settings.shard
        return np.arange(start, min(start + self.settings.shard, len(self.embeddings)))

    def __call__(self, number: int) -> tuple[int, dict[str, float]]:
        """Run a shard; returns its number and the seconds of each stage."""
        seconds: dict[str, float] = {}
        rows = build_archives(
            _read_index(self.out / INDEX), self.embeddings, self.texts, self.concepts, self.anchors(number),
            self.settings, StageTimer(seconds), self.statistics,
        )  # fmt: skip
        write_table(self.part(number), [archive_table(rows, self.vocabulary, self.names)])
        return number, seconds


class StageTimer:
    """Adds up seconds by stage in a dictionary: of the clock, and under the stage's name + "_cpu" of the processor."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter(), time.process_time()

    def add(self, stage: str) -> None:
        """Add the time since the last call, or since the start, to a stage."""
        now = time.perf_counter(), time.process_time()
        for name, before, after in zip((stage, f"{stage}_cpu"), self.last, now, strict=True):
            self.seconds[name] = self.seconds.get(name, 0.0) + after - before
        self.last = now


def _run_missing_shards(
    job: CurationJob,
    progress: Callable[[int, int], None] | None,
    executor: Executor | None,
    seconds: dict[str, float],
) -> int:
    """Run the shards that have no part file and add up their seconds; returns how many pictures those were."""
    count = len(job.embeddings)
    missing = [number for number in range(job.shards) if not job.part(number).exists()]
    done = before = count - sum(len(job.anchors(number)) for number in missing)
    for number, stages in executor(job, missing) if executor else map(job, missing):
        for stage, value in stages.items():
            seconds[stage] += value
        done += len(job.anchors(number))
        if progress is not None:
            progress(done, count)
    return done - before


def _report(
    out: Path, concepts: CaptionConcepts, seconds: dict[str, float], done: int, recall: float
) -> dict[str, Any]:
    parquet = require("pyarrow.parquet")
    pictures = len(concepts.offsets) - 1
    rows = parquet.read_metadata(out / ARCHIVE).num_rows
    listed = np.bincount(parquet.read_table(out / ARCHIVE, columns=["row"])["row"].to_numpy(), minlength=pictures)
    return {
        "pictures": pictures,
        "pictures_without_named_concept": int((np.diff(concepts.offsets) == 0).sum()),
        "pictures_without_archive": int((listed == 0).sum()),
        "concepts_named": len(np.unique(concepts.concept_ids)),
        "concepts_per_caption": len(concepts.concept_ids) / max(pictures, 1),
        "concepts_per_archive": rows / max(pictures, 1),
        "recall": recall,
        "seconds": {name: round(s, 3) for name, s in seconds.items() if not name.endswith("_cpu")},
        "cpu_seconds": {name[:-4]: round(s, 3) for name, s in seconds.items() if name.endswith("_cpu")},
        "pictures_this_run": done,  # those that the seconds were spent on
    }


# ------------------------------------------------------------------------------------------------ the run's folder


def _check_folder(out: Path, facts: dict[str, Any]) -> None:
    """Make `out` the folder of the run with these facts, or check that it is."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / MANIFEST
    if not path.exists():
        if any(not one.name.startswith(".") for one in out.iterdir()):  # a kill may leave hidden files
            raise InputError(f"{out}: holds other files and no {MANIFEST}; name a new folder")
        _write_json(path, facts)
        return
    try:
        saved = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); delete the folder {out} and curate again") from error
    now, then = (f["settings"] | {k: v for k, v in f.items() if k != "settings"} for f in (facts, saved))
    different = [name for name, value in now.items() if value != then.get(name)]
    if different:
        raise InputError(
            f"{out}: holds a run with other {', '.join(different)}; name another folder or delete this one"
        )


def _find_or_read_concepts(path: Path, inputs: CurationInputs, timer: StageTimer) -> CaptionConcepts:
    if not path.exists():
        found = find_concepts(inputs.captions, inputs.vocabulary)
        timer.add("concepts")
        with replacing(path) as fresh, fresh.open("wb") as file:
            np.savez(file, offsets=found.offsets, concept_ids=found.concept_ids)
    try:
        with np.load(path) as saved:
            return CaptionConcepts(saved["offsets"], saved["concept_ids"])
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: broken ({error}); delete this file and run again") from error


def _find_or_read_statistics(path: Path, inputs: CurationInputs) -> NDArray[np.float64]:
    """Those of `closeness_statistics`; kept, so that a run that goes on has the same to the last bit."""
    if not path.exists():
        found = closeness_statistics(inputs.embeddings, inputs.texts)
        with replacing(path) as fresh, fresh.open("wb") as file:
            np.save(file, found)
    try:
        saved: NDArray[np.float64] = np.load(path)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: broken ({error}); delete this file and run again") from error
    return saved


def _build_or_read_index(path: Path, embeddings: Embeddings, settings: CurateSettings, timer: StageTimer) -> Any:
    faiss = require("faiss")
    if not path.exists():
        index = build_index(embeddings, settings)
        timer.add("index")
        with replacing(path) as fresh:
            faiss.write_index(index, str(fresh))
    index = _read_index(path)
    if index.ntotal != len(embeddings):
        raise InputError(f"{path}: holds {index.ntotal} pictures of {len(embeddings)}; delete this file and run again")
    return index


def _read_index(path: Path) -> Any:
    """The index of a file; the last one read is kept in memory for the next shard."""
    about = path.stat()
    return _read_index_of(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)
def _read_index_of(path: Path, _modified: int, _size: int) -> Any:
    try:
        return require("faiss").read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: a broken index; delete this file and run again") from error


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: broken ({error}); delete this file and run again") from error
    return report


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")
