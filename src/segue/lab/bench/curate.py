"""`segue lab bench curate`: the cost of concept curation, stage by stage, on synthetic embeddings.

The embeddings are in clusters of about 50 pictures (cosine .75 inside, as similar pictures have under CLIP); captions
name about four concepts of their cluster among ten words. The stages are those of `segue curate`, on files. "seconds"
are of the clock, "cpu_seconds" of the processor, which don't depend on other work of the machine; the projection uses
these.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segue.lab.bench.loading import memory_mb
from segue.methods.cocu.archive import ARCHIVE, read_archive, require
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.cost import projected_hours, write_corpus
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.retrieval import build_index, index_recall, search_neighbours
from segue.methods.cocu.curation.run import curate
from segue.types import InputError

DATA_SET_SIZES = {"cc3m": 2_750_000, "cc12m": 12_400_000}  # pictures


def bench_curate(
    *, pictures: int = 100_000, width: int = 512, concepts: int = 1921, neighbours: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Pictures per second of every stage of curation, memory, recall, and the hours that real sets would take.

    Raises InputError for fewer than 1,000 pictures.

    Args:
        pictures: how many, 1,000 or more.
        width: of the embeddings.
        concepts: of the vocabulary.
        neighbours: L of the expansion.
        seed: of everything drawn.
    """
    if pictures < 1000:
        raise InputError(f"pictures: got {pictures}, expected 1,000 or more to measure anything")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        captions, vocabulary, texts = write_corpus(home / "embeddings.npy", pictures, width, concepts, seed)
        embeddings = np.load(home / "embeddings.npy", mmap_mode="r")
        before, start, busy = _peak_memory_mb(), time.perf_counter(), time.process_time()
        inputs = CurationInputs(embeddings, captions, vocabulary, texts)
        report = curate(inputs, home / "out", CurateSettings(neighbours=neighbours, seed=seed))
        total, busy, peak = time.perf_counter() - start, time.process_time() - busy, _peak_memory_mb()
        clock, processor = _sampling_seconds(home / "out" / ARCHIVE, pictures)
        seconds, cpu = report["seconds"] | {"sampling": clock}, report["cpu_seconds"] | {"sampling": processor}
        sizes = {
            "index_bytes_per_picture": (home / "out/index.faiss").stat().st_size / pictures,
            "archive_bytes_per_picture": (home / "out" / ARCHIVE).stat().st_size / pictures,
        }
    return {
        "pictures": pictures,
        "width": width,
        "concepts_per_caption": round(report["concepts_per_caption"], 2),
        "concepts_per_archive": round(report["concepts_per_archive"], 2),
        "recall": round(report["recall"], 4),
        "seconds": {name: round(value, 3) for name, value in seconds.items()} | {"all": round(total, 2)},
        "cpu_seconds": {name: round(value, 3) for name, value in cpu.items()} | {"all": round(busy, 2)},
        "pictures_per_s": {name: round(pictures / max(value, 1e-3)) for name, value in seconds.items()},
        "pictures_per_cpu_s": {name: round(pictures / max(value, 1e-3)) for name, value in cpu.items()},
        "ms_per_picture": round(1e3 * total / pictures, 4),
        "cpu_ms_per_picture": round(1e3 * busy / pictures, 4),
        "peak_rss_mb": round(peak, 1),
        "rss_growth_kb_per_picture": round(1024 * (peak - before) / pictures, 3),
        **{name: round(value, 1) for name, value in sizes.items()},
        "projected_core_hours": {name: projected_hours(cpu, pictures, count) for name, count in DATA_SET_SIZES.items()},
        "threads": torch.get_num_threads(),
        "faiss_threads": require("faiss").omp_get_max_threads(),
    }


def measure_index(pictures: int, *, width: int = 512, neighbours: int = 8, searched: int = 4096) -> dict[str, float]:
    """CPU microseconds a picture of drawn embeddings to make the index of curation, and to search it; its recall.

    Of the search `searched` pictures are measured. rss_mb: the most memory that the process had, with the pages of the
    embeddings' file that the system kept in memory while there was room; anonymous_mb: without them, where the system
    tells it (Linux), at the end.
    """
    settings = CurateSettings(neighbours=neighbours)
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder) / "embeddings.npy", pictures, width, 1921, 0)
        embeddings = np.load(Path(folder) / "embeddings.npy", mmap_mode="r")
        start = time.process_time()
        index = build_index(embeddings, settings)
        made = time.process_time()
        anchors = np.linspace(0, pictures - 1, min(searched, pictures)).astype(np.int64)
        search_neighbours(index, embeddings, anchors, neighbours)
        done = time.process_time()
        found = {
            "index_us": 1e6 * (made - start) / pictures,
            "search_us": 1e6 * (done - made) / len(anchors),
            "recall": index_recall(index, embeddings, neighbours),
        }
        found["rss_mb"] = _peak_memory_mb()
        if sys.platform == "linux":
            found["anonymous_mb"] = memory_mb("self", "RssAnon")
        return found


def _sampling_seconds(path: Path, pictures: int) -> tuple[float, float]:
    """Seconds of sampling three concepts for every picture, in batches of 512: of the clock, and of the processor."""
    archive = read_archive(path)
    order = np.random.default_rng(0).permutation(pictures)
    start, busy = time.perf_counter(), time.process_time()
    for first in range(0, pictures, 512):
        archive.sample(order[first : first + 512].tolist(), iteration=0)
    return time.perf_counter() - start, time.process_time() - busy


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
