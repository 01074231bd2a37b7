"""How to rank the concepts of an archive: `segue lab run archive_scores --data DIR`.

DIR/flickr8k/     photographs with five captions each, split `train`; every third is used, with its first caption

The three best concepts of each picture, against what its caption leaves out. Of a photograph that is what only its
other captions name: a lower bound, since these leave things out too. Of a synthetic scene (experiments `scenes, ...`,
which need no --data) it is known, and concepts count by the kind of thing or stuff that they stand for, others not at
all. Concepts of the own caption are neither right nor wrong, and so take places where they are not left out ("fresh").
The weights of the probability are fitted on one half of the pictures, all rows are scored on the other. macro_recall:
the mean over concepts. calibration_error: the mean gap between a probability and the share that is right, in ten
groups of equal size. frequent: the concepts that captions name most often, no picture looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api.curation import CurationCorpus, curate_corpus, read_curation_corpus
from segue.data.embedding_store import EmbeddingStore
from segue.evaluation.concept_recovery import CONCEPTS_PER_SAMPLE, scene_id
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
from segue.recipes.cocu import create_close_scenes_once, train_encoder_once
from segue.synthetic.scenes.language.omissions import NamedKinds, kind_of, read_omissions

ENCODER = "photos-encoder"
EVERY = 3
DATA = RequiredData("a folder with flickr8k/", ("flickr8k",))
NEIGHBOURS = (8, 32)


@dataclass(frozen=True)
class Candidates:
    """The archive's P candidates: picture, concept (its id), support, the paper's score, z, and whether it is there.

    named: by the picture's caption. right: it is in the picture, and the caption leaves it out.
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


class Truth(NamedTuple):
    """What the pictures show, by ids of concepts.

    named, shown: for each picture what its caption names, and that with what it leaves out. counted: (V,) the name
    under which each concept counts, None for one that doesn't.
    """

    named: list[set[int]]
    shown: list[set[int]]
    counted: list[str | None]


def archive_scores_table() -> list[Row]:
    """Every score with 8 and 32 neighbours, with and without the own caption's concepts, and the frequent concepts."""
    rows = []
    for prefix, source, data in (("", _photographs, DATA), ("scenes, ", _scenes, None)):
        for fresh in (False, True):
            rows += [
                Row(f"{prefix}{n} neighbours{', fresh' * fresh}", name, 0, partial(_row, source, n, name, fresh), data)
                for n in NEIGHBOURS
                for name in SCORES
            ]
        rows.append(Row(f"{prefix}fresh", "frequent", 0, partial(_frequent_row, source), data))
    return rows


class Source(NamedTuple):
    """Pictures to curate. encoder: the dual encoder's name or folder. folder: of their embeddings and archives."""

    corpus: CurationCorpus
    truth: Truth
    encoder: str
    folder: Path


def _row(source: Callable[[Work], Source], neighbours: int, name: str, fresh: bool, work: Work) -> dict[str, float]:
    pictures = source(work)
    found = _candidates(pictures, _curated(pictures, neighbours))
    score = SCORES[name](found)
    scores = _recovery(pictures.truth, found.row, found.concept, np.where(found.named & fresh, -np.inf, score))
    if name == "probability":
        scores["calibration_error"] = _calibration_error(
            *(x[(found.row % 2 == 1) & ~found.named] for x in (score, found.right))
        )
    return scores


def _frequent_row(source: Callable[[Work], Source], work: Work) -> dict[str, float]:
    truth = source(work).truth
    count = np.bincount([n for one in truth.named for n in one], minlength=len(truth.counted))
    row, concept = (x.ravel() for x in np.indices((len(truth.named), len(count))))
    own = np.zeros((len(truth.named), len(count)), bool)
    for i, one in enumerate(truth.named):
        own[i, list(one)] = True
    return _recovery(truth, row, concept, np.where(own.ravel(), -np.inf, count[concept]))


def _photographs(work: Work) -> Source:
    """Every third photograph with its first caption."""
    whole = read_curation_corpus(DATA.folder(work.data) / "flickr8k", "train", captions=1)
    corpus = replace(whole, pictures=whole.pictures[::EVERY], captions=whole.captions[::EVERY])
    return Source(corpus, _truth_of_captions(corpus), ENCODER, work.shared / "archive-scores")


def _truth_of_captions(corpus: CurationCorpus) -> Truth:
    """What the first caption of each picture names, and what all of them do."""
    find = corpus.vocabulary.find
    named, shown = (
        [{n for caption in some for n in find(caption)} for some in captions]
        for captions in ([p.captions[:1] for p in corpus.pictures], [p.captions for p in corpus.pictures])
    )
    return Truth(named, shown, list(corpus.vocabulary.concepts))


def _scenes(work: Work) -> Source:
    """Scenes from near with their first caption, and the dual encoder of other scenes that curates them."""
    data = create_close_scenes_once(work.shared / "data-scenes-close")
    encoder = train_encoder_once(work.shared / "scenes-encoder-close")
    corpus = read_curation_corpus(data, "train", captions=1)
    omitted = read_omissions(data, "train")
    return Source(corpus, _truth_of_scenes(corpus, omitted), encoder, work.shared / "archive-scores-scenes")


def _truth_of_scenes(corpus: CurationCorpus, omissions: Mapping[int, Sequence[NamedKinds]]) -> Truth:
    """What the first caption of each scene names and leaves out: of each kind the concepts that stand for it."""
    counted = [kind_of(concept) for concept in corpus.vocabulary.concepts]
    of_kind: dict[str | None, set[int]] = {}
    for i, kind in enumerate(counted):
        of_kind.setdefault(kind, set()).add(i)
    first = [omissions[scene_id(picture)][0] for picture in corpus.pictures]
    named = [set[int]().union(*(of_kind.get(kind, set()) for kind in one.named)) for one in first]
    left_out = [set[int]().union(*(of_kind.get(kind, set()) for kind in one.omitted)) for one in first]
    return Truth(named, [a | b for a, b in zip(named, left_out, strict=True)], counted)


def _curated(source: Source, neighbours: int) -> Path:
    """The folder of the pictures' archive by the paper's score."""
    name = f"archive-{neighbours}"
    with locked(source.folder):
        encoder = load_dual_encoder(source.encoder)
        settings = CurateSettings(neighbours=neighbours)
        curate_corpus(source.corpus, source.folder, encoder, source.encoder, settings, folder=name)
    return source.folder / name


def _candidates(source: Source, archive: Path) -> Candidates:
    table = require("pyarrow.parquet").read_table(archive / ARCHIVE)
    ids = {concept: i for i, concept in enumerate(source.corpus.vocabulary.concepts)}
    row = table["row"].to_numpy()
    concept = np.array([ids[name] for name in table["concept"].to_pylist()])
    images, texts = (EmbeddingStore(source.folder / name).rows() for name in ("pictures", "concepts"))
    closeness = candidate_closeness(images, texts, closeness_statistics(images, texts), row, concept)
    pairs = list(zip(row.tolist(), concept.tolist(), strict=True))
    named, shown = (np.array([n in some[i] for i, n in pairs]) for some in source.truth[:2])
    paper, support = table["score"].to_numpy().astype(np.float64), table["support"].to_numpy().astype(np.int64)
    found = Candidates(row, concept, support, paper, closeness, named, shown & ~named)
    counts = np.array([source.truth.counted[n] is not None for n in concept.tolist()])
    return Candidates(*(getattr(found, field.name)[counts] for field in fields(found)))


def _recovery(truth: Truth, row: NDArray[Any], concept: NDArray[Any], score: NDArray[np.float64]) -> dict[str, float]:
    """Precision and recall of each picture's three best, over those of odd rows."""
    found: list[list[str]] = [[] for _ in truth.named]
    for i in np.lexsort((-score, row)):
        name = truth.counted[concept[i]]
        best = found[row[i]]
        if name is not None and name not in best and score[i] > -np.inf and len(best) < CONCEPTS_PER_SAMPLE:
            best.append(name)
    named, shown = ([{truth.counted[n] or "" for n in one} for one in some] for some in (truth.named, truth.shown))
    omitted = [whole - one for whole, one in zip(shown, named, strict=True)]
    scores = concept_recovery(found[1::2], named[1::2], omitted[1::2])
    return {key: float(scores[key] or 0.0) for key in ("precision", "recall", "macro_recall")}


def _calibration_error(p: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    groups = np.array_split(np.argsort(p), 10)
    return float(np.mean([abs(p[group].mean() - right[group].mean()) for group in groups]))
