"""Curation and open-vocabulary segmentation on photographs: `segue lab run cocu_real --data DIR`.

DIR holds flickr8k (captioned, with train), camvid (label maps, val) and coco_tiny (masks). The dual encoder that
curates is the one of `segue lab run dual_encoder_flickr8k`, which must be run before. One caption of each photo is
used, as pictures of the web have one.

curation    precision and recall of the archive by stage against what the photo's other captions name and the first
            one doesn't: a lower bound, since they too leave things out. frequent: the three concepts that captions
            name most often, the same for every photo.
camvid, coco_tiny   zero-shot, at 64 pixels after a short training; the numbers measure the recipe, not what the method
            can reach. classes_held: how many of the classes the concept vocabulary holds. untrained: the same model
            with its initial weights, which is chance. The tokenizer holds the words of classes that no caption has, but
            they are not trained. On coco_tiny what no mask covers isn't scored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from segue.api.curation import CurationCorpus
from segue.api.open_vocabulary import load_open_vocabulary
from segue.data.formats import read_pictures
from segue.evaluation.concept_recovery import CONCEPTS_PER_SAMPLE, concepts_by_stage
from segue.evaluation.labels import evaluate_label_maps
from segue.lab.engine import RequiredData, Row, Work
from segue.lab.tables.cocu_scenes import precision_and_recall
from segue.lab.trained import train_once
from segue.metrics.concepts import concept_recovery
from segue.options import LabelOptions
from segue.recipes.cocu import COCU, CocuSettings, prepare_training, train_cocu
from segue.types import InputError

SETS = ("flickr8k", "camvid", "coco_tiny")
DATA = RequiredData(f"a folder that holds {', '.join(SETS)}", SETS)
SPLITS = {"camvid": "val", "coco_tiny": "train"}
SEEDS = (0, 1, 2)
ENCODER = Path("dual_encoder_flickr8k") / "val-full-0" / "best"
PHOTOS = replace(COCU, size="small", protocol="small", steps=500, lr=1e-3, evaluations=1)
SYSTEMS: dict[str, CocuSettings] = {
    "untrained": replace(PHOTOS, system="groupvit", steps=1, lr=0.0),
    "groupvit": replace(PHOTOS, system="groupvit"),
    "full": replace(PHOTOS, system="full"),
}


def photos_table() -> list[Row]:
    """The rows described above."""
    stages = ("expansion", "ranking", "sampling", "frequent")
    curation = [Row("curation", stage, 0, partial(_curation_row, stage), DATA) for stage in stages]
    return curation + [
        Row(name, system, seed, partial(_zero_shot_row, replace(settings, seed=seed), name, system), DATA)
        for system, settings in SYSTEMS.items()
        for seed in SEEDS
        for name in SPLITS
    ]


def _with_folders(settings: CocuSettings, data: Path, shared: Path) -> CocuSettings:
    """The settings with their folders; dual encoder, embeddings and archives are shared by all rows."""
    if not (shared / ENCODER / "config.json").exists():
        raise InputError(
            f"{shared / ENCODER}: no dual encoder there; run `segue lab run dual_encoder_flickr8k` with the same "
            "--work first"
        )
    return replace(settings, data=data / "flickr8k", encoder=str(shared / ENCODER), curated=shared / "curated-flickr8k")


def _zero_shot_row(settings: CocuSettings, name: str, system: str, work: Work) -> dict[str, float]:
    """The scores on one set after a training that both sets share."""
    data = DATA.folder(work.data)
    settings = _with_folders(settings, data, work.shared)

    def train(run: CocuSettings) -> None:
        classes = {name for one, split in SPLITS.items() for name in read_pictures(data / one, split).classes}
        train_cocu(replace(run, tokenizer_words=tuple(sorted(classes))))

    last = train_once(replace(settings, out=work.table / f"training-{system}-{settings.seed}"), train)
    options = LabelOptions(protocol=settings.protocol)
    scores = evaluate_label_maps(load_open_vocabulary(last), data / name, SPLITS[name], options=options)
    held = scores["vocabulary_overlap"]["held"]
    return {"miou": scores["miou"], "pixel_accuracy": scores["pixel_accuracy"], "classes_held": float(held)}


def _curation_row(stage: str, work: Work) -> dict[str, float]:
    corpus, archive = prepare_training(_with_folders(PHOTOS, DATA.folder(work.data), work.shared))
    assert archive is not None  # of the system "full"
    found = concepts_by_stage(archive) | {"frequent": [_most_frequent(corpus)] * len(archive)}
    named, omitted = _named_and_omitted(corpus)
    rounds = len(found[stage]) // len(named)
    return precision_and_recall(concept_recovery(found[stage], named * rounds, omitted * rounds))


def _most_frequent(corpus: CurationCorpus) -> list[str]:
    vocabulary = corpus.vocabulary
    counts = Counter(n for captions in corpus.captions for caption in captions for n in vocabulary.find(caption))
    return [vocabulary.concepts[n] for n, _ in counts.most_common(CONCEPTS_PER_SAMPLE)]


def _named_and_omitted(corpus: CurationCorpus) -> tuple[list[set[str]], list[set[str]]]:
    """For each photo the concepts of the captions in use, and those that only its other captions name."""

    def concepts(captions: tuple[str, ...]) -> set[str]:
        return {corpus.vocabulary.concepts[n] for caption in captions for n in corpus.vocabulary.find(caption)}

    named = [concepts(captions) for captions in corpus.captions]
    by_all = [concepts(tuple(picture.captions)) for picture in corpus.pictures]
    return named, [every - used for every, used in zip(by_all, named, strict=True)]
