"""How to rank the concepts of an archive: `segue lab run archive_scores --data DIR`.

DIR/flickr8k/     photographs with five captions each, split `train`; every third is used, with its first caption

The three best concepts of each photograph, against those that only its other captions name: a lower bound, since these
leave things out too. Concepts of the own caption are neither right nor wrong, and so take places where they are not
left out ("fresh"). The weights of the probability are fitted on one half of the photographs, all rows are scored on the
other. macro_recall: the mean over concepts. calibration_error: the mean gap between a probability and the share that is
right, in ten groups of equal size. frequent: the concepts that captions name most often, no photograph looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.api.curation import CurationCorpus, curate_corpus, read_curation_corpus
from segue.data.embedding_store import EmbeddingStore
from segue.evaluation.concept_recovery import CONCEPTS_PER_SAMPLE
from segue.files import locked
from segue.lab.engine import RequiredData, Row, Work
from segue.methods.cocu.archive import ARCHIVE, require
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.probability import (
    candidate_closeness,
    closeness_statistics,
    fit_probability,
    probabilities,
)
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.metrics.concepts import concept_recovery

ENCODER = "photos-encoder"
EVERY = 3
DATA = RequiredData("a folder with flickr8k/", ("flickr8k",))
NEIGHBOURS = (8, 32)


@dataclass(frozen=True)
class Candidates:
    """The archive's P candidates: picture, concept (its id), support, the paper's score, z, and whose caption names it.

    named: by the picture's first caption. right: by another of its captions and not by the first.
    """

    row: NDArray[np.int64]
    concept: NDArray[np.int64]
    support: NDArray[np.int64]
    paper: NDArray[np.float64]
    closeness: NDArray[np.float64]
    named: NDArray[np.bool_]
    right: NDArray[np.bool_]


def _votes(found: Candidates) -> NDArray[np.float64]:
    return found.support + 1e-3 * found.closeness


def _closeness_and_votes(found: Candidates, weight: float) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = found.closeness + weight * np.log(np.maximum(found.support, 1))
    return scores


def _probability(found: Candidates) -> NDArray[np.float64]:
    """Fitted on the pictures of even rows."""
    fitted = (found.row % 2 == 0) & ~found.named
    weights = fit_probability(found.closeness[fitted], found.support[fitted], found.right[fitted])
    print(weights, flush=True)
    return probabilities(weights, found.closeness, found.support)


SCORES: dict[str, Callable[[Candidates], NDArray[np.float64]]] = {
    "the paper's": lambda found: found.paper,
    "votes": _votes,
    "z + log votes": partial(_closeness_and_votes, weight=1.0),
    "z + 2 log votes": partial(_closeness_and_votes, weight=2.0),
    "probability": _probability,
}


def archive_scores_table() -> list[Row]:
    """Every score with 8 and 32 neighbours, with and without the own caption's concepts, and the frequent concepts."""
    rows = [Row(f"{n} neighbours", name, 0, partial(_row, n, name), DATA) for n in NEIGHBOURS for name in SCORES]
    fresh = [
        Row(f"{n} neighbours, fresh", name, 0, partial(_row, n, name, fresh=True), DATA)
        for n in NEIGHBOURS
        for name in SCORES
    ]
    return rows + fresh + [Row("fresh", "frequent", 0, _frequent_row, DATA)]


def _row(neighbours: int, name: str, work: Work, *, fresh: bool = False) -> dict[str, float]:
    corpus, folder = _curated(neighbours, work)
    found = _candidates(corpus, folder, work.shared / "archive-scores")
    score = SCORES[name](found)
    scores = _recovery(corpus, found.row, found.concept, np.where(found.named & fresh, -np.inf, score))
    if name == "probability":
        scores["calibration_error"] = _calibration_error(
            *(x[(found.row % 2 == 1) & ~found.named] for x in (score, found.right))
        )
    return scores


def _frequent_row(work: Work) -> dict[str, float]:
    corpus, _ = _curated(NEIGHBOURS[0], work)
    named = _concepts(corpus, first=True)
    count = np.bincount([n for one in named for n in one], minlength=len(corpus.vocabulary))
    row, concept = (x.ravel() for x in np.indices((len(named), len(count))))
    own = np.zeros((len(named), len(count)), bool)
    for i, one in enumerate(named):
        own[i, list(one)] = True
    return _recovery(corpus, row, concept, np.where(own.ravel(), -np.inf, count[concept]))


def _curated(neighbours: int, work: Work) -> tuple[CurationCorpus, Path]:
    """Every third photograph with its first caption, and the folder of its archive by the paper's score."""
    shared = work.shared / "archive-scores"
    whole = read_curation_corpus(DATA.folder(work.data) / "flickr8k", "train", captions=1)
    corpus = replace(whole, pictures=whole.pictures[::EVERY], captions=whole.captions[::EVERY])
    with locked(shared):
        encoder, name = load_dual_encoder(ENCODER), f"archive-{neighbours}"
        curate_corpus(corpus, shared, encoder, ENCODER, CurateSettings(neighbours=neighbours), folder=name)
    return corpus, shared / name


def _concepts(corpus: CurationCorpus, *, first: bool) -> list[set[int]]:
    """The concepts that each photograph's first caption names, or all of its captions."""
    captions = (p.captions[:1] if first else p.captions for p in corpus.pictures)
    return [{n for caption in some for n in corpus.vocabulary.find(caption)} for some in captions]


def _candidates(corpus: CurationCorpus, archive: Path, stores: Path) -> Candidates:
    table = require("pyarrow.parquet").read_table(archive / ARCHIVE)
    ids = {concept: i for i, concept in enumerate(corpus.vocabulary.concepts)}
    row = table["row"].to_numpy()
    concept = np.array([ids[name] for name in table["concept"].to_pylist()])
    images, texts = (EmbeddingStore(stores / name).rows() for name in ("pictures", "concepts"))
    closeness = candidate_closeness(images, texts, closeness_statistics(images, texts), row, concept)
    source = np.array(table["source"].to_pylist())
    every = _concepts(corpus, first=False)
    named = source != "neighbours"
    right = np.array([n in every[i] for i, n in zip(row.tolist(), concept.tolist(), strict=True)]) & ~named
    paper, support = table["score"].to_numpy().astype(np.float64), table["support"].to_numpy().astype(np.int64)
    return Candidates(row, concept, support, paper, closeness, named, right)


def _recovery(
    corpus: CurationCorpus, row: NDArray[Any], concept: NDArray[Any], score: NDArray[np.float64]
) -> dict[str, float]:
    """Precision and recall of each photograph's three best, over those of odd rows."""
    first, every = _concepts(corpus, first=True), _concepts(corpus, first=False)
    found: list[list[str]] = [[] for _ in first]
    for i in np.lexsort((-score, row)):
        if score[i] > -np.inf and len(found[row[i]]) < CONCEPTS_PER_SAMPLE:
            found[row[i]].append(str(concept[i]))
    named = [set(map(str, one)) for one in first]
    omitted = [set(map(str, whole - one)) for whole, one in zip(every, first, strict=True)]
    scores = concept_recovery(found[1::2], named[1::2], omitted[1::2])
    return {key: float(scores[key] or 0.0) for key in ("precision", "recall", "macro_recall")}


def _calibration_error(p: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    groups = np.array_split(np.argsort(p), 10)
    return float(np.mean([abs(p[group].mean() - right[group].mean()) for group in groups]))
