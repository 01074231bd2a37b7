"""What a curation will cost: its stages measured on drawn embeddings, and what they take for more pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.methods.cocu.curation.arrays import CHUNK_ROWS
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.vocabulary import Vocabulary

SHARD_STAGES = ("retrieval", "expansion", "ranking", "clustering")
STAGES = ("concepts", "index", *SHARD_STAGES, "writing")
MEASURED_ON = 20_000  # pictures


def plan_curation(counts: dict[str, int], *, width: int = 512, concepts: int = 1921) -> dict[str, float]:
    """Hours of one core like this machine's to curate sets of so many pictures, by the sets' names.

    Measured on a curation of MEASURED_ON drawn embeddings with an index as large sets have it. width: of the
    embeddings. concepts: of the vocabulary. Images have to be embedded before, which is not counted.
    """
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        captions, vocabulary, texts = write_corpus(home / "embeddings.npy", MEASURED_ON, width, concepts, 0)
        inputs = CurationInputs(np.load(home / "embeddings.npy", mmap_mode="r"), captions, vocabulary, texts)
        report = curate(inputs, home / "out", CurateSettings(flat_below=0))
    seconds = report["cpu_seconds"]
    return {name: projected_hours(seconds, MEASURED_ON, count)["all"] for name, count in counts.items()}


def projected_hours(seconds: dict[str, float], pictures: int, count: int) -> dict[str, float]:
    """Hours of one core for `count` pictures: the index and its search grow with N sqrt(N), all else with N.

    seconds: of each stage, for `pictures` pictures.
    """
    factor = count / pictures
    hours = {
        name: seconds[name] * factor * (factor**0.5 if name in ("index", "retrieval") else 1) / 3600 for name in STAGES
    }
    part = sum(hours[name] for name in SHARD_STAGES)
    return {"retrieval_to_clustering": round(part, 3), "all": round(sum(hours.values()), 3)}


def write_corpus(
    path: Path, pictures: int, width: int, concepts: int, seed: int
) -> tuple[list[str], Vocabulary, NDArray[np.float16]]:
    """Write the embeddings; returns captions, vocabulary and the concepts' embeddings."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, pictures // 50), width), np.float32)
    shown = rng.integers(0, concepts, (len(centres), 12))  # the concepts of each cluster
    out = np.lib.format.open_memmap(path, "w+", np.float16, (pictures, width))
    captions = []
    for start in range(0, pictures, CHUNK_ROWS):
        count = min(CHUNK_ROWS, pictures - start)
        cluster = rng.integers(0, len(centres), count)
        rows = centres[cluster] + 0.58 * rng.standard_normal((count, width), np.float32)
        out[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        named = shown[cluster[:, None], rng.integers(0, 12, (count, 4))]
        captions += [f"a thing{a} and the thing{b} next to thing{c} on a thing{d}" for a, b, c, d in named.tolist()]
    out.flush()
    texts = rng.standard_normal((concepts, width), np.float32)
    for k, some in enumerate(shown):  # the text of a concept is near the pictures that show it
        texts[some] += 0.3 * centres[k]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return captions, Vocabulary(f"thing{i}" for i in range(concepts)), texts.astype(np.float16)
