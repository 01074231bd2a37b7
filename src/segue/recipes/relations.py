"""Relations between objects: trained on graphs that tell them, to be guessed in graphs that don't.

segue train relations --data DIR     pictures with relations: drawn scenes, Visual Genome's, any that Segue reads

`segue explain --relations RUN` and `segue serve --relations RUN` use it. The table `relations_scenes`: the share of
each picture's true (subject, predicate, object) among the 20 surest (recall20), and of the pairs that are related whose
predicate is right (accuracy); for the head, for the predicate that each pair of classes has most often (frequency), and
for the spatial edges that stand in without a head (spatial).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch import Tensor, nn

from segue.data.formats import read_pictures
from segue.methods.sgdiff.batches import pack_graph, pad
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SceneGraph, graph_of
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.relations import RelationHead, save_relations
from segue.recipes.settings import evaluation_interval, settings_as_text
from segue.training import FitOptions, fit
from segue.types import InputError, Picture, Relation

SEEDS, MOST = (0, 1, 2), 20
Guess = Callable[[SceneGraph], Sequence[Relation]]  # the surest first


@dataclass(frozen=True)
class RelationSettings:
    """One training of a relation head.

    Attributes:
        out: folder of the run: best/, last/, history and TensorBoard.
        data: folder with pictures, regions and relations in any format that Segue reads, with train and val.
        width: of the head.
        steps: optimiser steps.
        batch_size: pictures a step.
        lr: peak learning rate, reached after a warm-up of a tenth of the steps, then cosine.
        weight_decay: AdamW's.
        evaluations: how many times val is scored; the best weights are kept.
        workers: processes that make batches.
        seed: of weights and order.
        on_bad: what to do with annotations that can't be used: "stop", or "skip" and say so.
        resume: continue the run in `out`.
    """

    out: Path = Path("runs/relations")
    data: Path = Path("data")
    width: int = 128
    steps: int = 1000
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.05
    evaluations: int = 4
    workers: int = 0
    seed: int = 0
    on_bad: Literal["stop", "skip"] = "stop"
    resume: bool = False


RELATIONS = RelationSettings()


def relations(settings: RelationSettings = RELATIONS) -> Path:
    """Train on pictures in any format; returns the checkpoint's folder."""
    seen, held_out = (related(settings.data, split, settings.on_bad) for split in ("train", "val"))
    head = RelationHead(
        tuple(sorted({label for graph in seen for label in graph.labels})),
        tuple(sorted({edge.predicate for graph in seen for edge in graph.relations})),
        settings.width,
    )
    fit(
        head,
        _Batches(seen, head),
        out=settings.out,
        options=FitOptions(
            steps=settings.steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=settings.steps // 10,
            evaluate_every=evaluation_interval(settings.steps, settings.evaluations),
            seed=settings.seed,
            clip_norm=1.0,
            workers=settings.workers,
        ),
        save=partial(_save, about={"recipe": "segue train relations", **settings_as_text(settings)}),
        evaluate=lambda task: score_relations(guesser(cast(RelationHead, task)), held_out),
        monitor="recall20",
        about=settings_as_text(settings),
        resume=settings.resume,
    )
    return settings.out / "best"


def related(data: Path, split: str, on_bad: str = "stop") -> list[SceneGraph]:
    """The graphs of the pictures that tell relations. Raises InputError when there is none."""
    found = read_pictures(data, split, on_bad).pictures
    graphs = [graph_of(picture, _size(picture))[0] for picture in found if picture.relations]
    if not (told := [graph for graph in graphs if graph.relations]):
        raise InputError(
            f"{data}, {split}: none of {len(found)} pictures has relations between its regions; expected some, such as "
            "Visual Genome's"
        )
    return told


def _size(picture: Picture) -> tuple[int, int]:
    height, width = picture.load().shape[:2] if picture.size is None else picture.size[::-1]
    return width, height


def _save(task: nn.Module, folder: Path, about: dict[str, Any]) -> None:
    save_relations(cast(RelationHead, task), folder, about)


class _Batches:
    """Whole graphs, padded; a pure function of the keys."""

    def __init__(self, graphs: Sequence[SceneGraph], head: RelationHead) -> None:
        most = max(len(graph.relations) for graph in graphs)
        self.graphs, self.config = graphs, SGDiffConfig(max_edges=most)
        self.lexicon = Lexicon(("-",), head.classes, head.predicates)

    def __len__(self) -> int:
        return len(self.graphs)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that `RelationHead.training_step` takes."""
        some = [self.graphs[i] for _, i in keys]
        return pad([pack_graph(graph, range(len(graph.labels)), self.lexicon, self.config) for graph in some])


def guesser(head: RelationHead) -> Guess:
    """What the head says of a graph's nodes."""
    return lambda graph: head.relate(graph.labels, graph.boxes, graph.size)


def score_relations(guess: Guess, graphs: Sequence[SceneGraph]) -> dict[str, float]:
    """recall20 and accuracy, see above; the mean over pictures, and over all true edges."""
    recalls, right = [], list[bool]()
    for graph in graphs:
        said, true = list(guess(graph)), set(graph.relations)
        recalls.append(len(true & set(said[:MOST])) / len(true))
        by_pair = {(edge.subject, edge.object): edge for edge in reversed(said)}
        right += [by_pair.get((edge.subject, edge.object)) == edge for edge in true]
    return {"recall20": float(np.mean(recalls)), "accuracy": float(np.mean(right))}


def frequent(graphs: Sequence[SceneGraph]) -> Guess:
    """The predicate that two classes have most often, the commonest pairs first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for graph in graphs:
        for edge in graph.relations:
            pair = (graph.labels[edge.subject], graph.labels[edge.object])
            counts.setdefault(pair, Counter())[edge.predicate] += 1
    best = {pair: max(sorted(count), key=count.__getitem__) for pair, count in counts.items()}

    def guess(graph: SceneGraph) -> list[Relation]:
        nodes = range(len(graph.labels))
        found = [
            (-counts[pair].total(), Relation(s, best[pair], o))
            for s in nodes
            for o in nodes
            if s != o and (pair := (graph.labels[s], graph.labels[o])) in best
        ]
        return [edge for _, edge in sorted(found, key=lambda one: one[0])]

    return guess
