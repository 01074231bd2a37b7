"""Curation and segmentation by names on photos: `segue ablate cocu_real --data DIR`.

DIR holds flickr8k (captioned, with train), camvid (label maps, val) and coco_tiny (masks). The pair that curates is
the one of `segue ablate align_flickr8k`, which comes first. One caption of each photo is used, as on the web.

curation    precision and recall of the archive by stage against what the photo's other captions name and the first
            one doesn't: a lower bound, since they too leave things out. frequent: the three concepts that captions
            name most, for every photo alike.
camvid, coco_tiny   zero-shot, at 64 pixels after a short training; the numbers measure the recipe, not the method's
            reach. classes_held: how many of the classes the concept vocabulary holds. untrained: the same model at its
            start, which is chance. The tokenizer holds the words of classes that no caption has, but nothing trains
            them. On coco_tiny what no mask covers isn't scored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api import load_labeller
from segue.api.curation import Corpus, read_corpus
from segue.data.formats import read_pictures
from segue.evaluation.concept_recovery import DRAWS, stages_of
from segue.evaluation.labels import evaluate_label_maps
from segue.files import locked
from segue.lab.engine import Row, Work
from segue.lab.tables.cocu_scenes import shares
from segue.lab.tables.data import given_data
from segue.metrics.concepts import concept_recovery
from segue.recipes.cocu import ANY, CocuSettings, cocu, curated_archive
from segue.training.state import has_state
from segue.types import InputError

SETS = ("flickr8k", "camvid", "coco_tiny")
SPLITS = {"camvid": "val", "coco_tiny": "train"}
SEEDS = (0, 1, 2)
PAIR = Path("align_flickr8k") / "val-full-0" / "best"
REAL = replace(ANY, size="small", protocol="small", steps=500, lr=1e-3, evaluations=1)
SYSTEMS: dict[str, CocuSettings] = {
    "untrained": replace(REAL, system="groupvit", steps=1, lr=0.0),
    "groupvit": replace(REAL, system="groupvit"),
    "full": replace(REAL, system="full"),
}


def photos_table() -> list[Row]:
    """See the head of this file."""
    stages = ("expansion", "ranking", "sampling", "frequent")
    curation = [Row("curation", stage, 0, partial(_curation, stage)) for stage in stages]
    return curation + [
        Row(name, system, seed, partial(_zero_shot, replace(settings, seed=seed), name, system))
        for system, settings in SYSTEMS.items()
        for seed in SEEDS
        for name in SPLITS
    ]


def _data(work: Work) -> Path:
    return given_data(work, f"a folder that holds {', '.join(SETS)}", *SETS)


def _placed(settings: CocuSettings, data: Path, shared: Path) -> CocuSettings:
    """The settings with their folders; the pair, the embeddings and the archives are shared by all rows."""
    if not (shared / PAIR / "config.json").exists():
        raise InputError(
            f"{shared / PAIR}: no pair there; run `segue ablate align_flickr8k` with the same --work first"
        )
    return replace(settings, data=data / "flickr8k", pair=str(shared / PAIR), curated=shared / "curated-flickr8k")


def _zero_shot(settings: CocuSettings, name: str, system: str, work: Work) -> dict[str, float]:
    """Scores on one set of a training that both sets share."""
    data = _data(work)
    settings = _placed(settings, data, work.shared)
    run = work.table / f"training-{system}-{settings.seed}"
    with locked(run):
        if not (run / "last" / "config.json").exists():
            classes = {name for one, split in SPLITS.items() for name in read_pictures(data / one, split).classes}
            cocu(replace(settings, out=run, names=tuple(sorted(classes)), resume=has_state(run / "state")))
    told = evaluate_label_maps(load_labeller(run / "last"), data / name, SPLITS[name], settings.protocol)
    held = told["vocabulary_overlap"]["held"]
    return {"miou": told["miou"], "pixel_accuracy": told["pixel_accuracy"], "classes_held": float(held)}


def _curation(stage: str, work: Work) -> dict[str, float]:
    settings = _placed(REAL, _data(work), work.shared)
    corpus = read_corpus(settings.data, "train", captions=1)
    archive = curated_archive(settings, corpus)
    assert archive is not None  # of the system "full"
    found = stages_of(archive) | {"frequent": [_most_named(corpus)] * len(archive)}
    named, omitted = _told_and_left(corpus)
    times = len(found[stage]) // len(named)
    return shares(concept_recovery(found[stage], named * times, omitted * times))


def _most_named(corpus: Corpus) -> list[str]:
    counts = Counter(n for told in corpus.captions for caption in told for n in corpus.vocabulary.find(caption))
    return [corpus.vocabulary.concepts[n] for n, _ in counts.most_common(DRAWS)]


def _told_and_left(corpus: Corpus) -> tuple[list[set[str]], list[set[str]]]:
    """For each photo the concepts of the captions in use, and those that only its other captions name."""

    def concepts(captions: tuple[str, ...]) -> set[str]:
        return {corpus.vocabulary.concepts[n] for caption in captions for n in corpus.vocabulary.find(caption)}

    named = [concepts(told) for told in corpus.captions]
    everything = [concepts(tuple(picture.captions)) for picture in corpus.pictures]
    return named, [whole - own for whole, own in zip(everything, named, strict=True)]
