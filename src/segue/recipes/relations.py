"""Training of the relation head: on pictures with relations, to predict those of pictures without.

segue train relations --data DIR     pictures with relations: synthetic scenes, Visual Genome, any that Segue reads

`segue describe --relations RUN` and `segue serve --relations RUN` use it. The table `relations_scenes` has recall20,
the share of each picture's true (subject, predicate, object) among the 20 most probable, and accuracy, the share of the
related pairs whose predicate is right: of the head, of the most frequent predicate of each pair of classes
("frequency"), and of the spatial edges that are used without a head ("spatial").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from segue.data.formats import read_pictures
from segue.evaluation.reports.relations import relation_examples
from segue.methods.sgdiff.batches import pack_graph, pad
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SceneGraph, build_graph
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.relations import RelationHead, load_relations, save_relations
from segue.recipes.datasets import begin_run
from segue.recipes.settings import OutFolder, TrainSettings, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.types import InputError, Picture, Relation

SEEDS, RECALL_AT = (0, 1, 2), 20
Predict = Callable[[SceneGraph], Sequence[Relation]]  # relations of a graph's nodes, the most probable first


@dataclass(frozen=True, kw_only=True)
class RelationSettings(TrainSettings):
    """One training of a relation head.

    Attributes:
        data: folder with pictures, regions and relations in any format that Segue reads, with train and val.
        batch_size: pictures in a step, over all processes.
        width: of the head.
    """

    decoded: ClassVar[int] = 0

    out: OutFolder = Path("runs/relations")
    data: Path = Path("data")
    steps: int = 1000
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.0
    evaluations: int = 4
    width: int = 128


RELATIONS = RelationSettings()


def train_relations(settings: RelationSettings = RELATIONS) -> Path:
    """Train on pictures in any format; returns the checkpoint's folder.

    Raises InputError when the data has no relations, or the settings can't be used.
    """
    begin_run(settings)
    train, held_out = (read_graphs(settings.data, split, settings.on_bad) for split in ("train", "val"))
    torch.manual_seed(settings.seed)
    head = RelationHead(
        tuple(sorted({label for graph in train for label in graph.labels})),
        tuple(sorted({edge.predicate for graph in train for edge in graph.relations})),
        settings.width,
    )
    about = {"recipe": "segue train relations", **settings_as_text(settings)}
    fit(
        head,
        _Batches(train, head),
        out=settings.out,
        options=fit_options(settings),
        save=partial(_save, about=about, half=settings.half),
        evaluate=lambda task: score_relations(predictor(cast(RelationHead, task)), held_out),
        monitor="recall20",
        about=settings_as_text(settings),
        illustrate=partial(_illustrate, settings=settings),
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )
    return settings.out / "best"


def read_graphs(data: Path, split: str, on_bad: str = "stop") -> list[SceneGraph]:
    """The graphs of the pictures that have relations. Raises InputError when there is none."""
    found = read_pictures(data, split, on_bad).pictures
    graphs = [build_graph(picture, _size(picture))[0] for picture in found if picture.relations]
    if not (related := [graph for graph in graphs if graph.relations]):
        raise InputError(
            f"{data}, {split}: none of {len(found)} pictures has relations between its regions; expected some, such as "
            "Visual Genome's"
        )
    return related


def _illustrate(folder: Path, settings: RelationSettings) -> str:
    found = read_pictures(settings.data, "val", settings.on_bad).pictures
    graphs = ((one, build_graph(one, _size(one))[0]) for one in found if one.relations)
    related = [(picture, graph) for picture, graph in graphs if graph.relations]
    return relation_examples(predictor(load_relations(folder)), related, RECALL_AT)


def _size(picture: Picture) -> tuple[int, int]:
    height, width = picture.load().shape[:2] if picture.size is None else picture.size[::-1]
    return width, height


def _save(task: nn.Module, folder: Path, about: dict[str, str], half: bool) -> None:
    save_relations(cast(RelationHead, task), folder, about, half=half)


class _Batches:
    """Whole graphs, padded; a pure function of the keys."""

    def __init__(self, graphs: Sequence[SceneGraph], head: RelationHead) -> None:
        max_edges = max(len(graph.relations) for graph in graphs)
        self.graphs, self.config = graphs, SGDiffConfig(max_edges=max_edges)
        self.lexicon = Lexicon(("-",), head.classes, head.predicates)

    def __len__(self) -> int:
        return len(self.graphs)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch that `RelationHead.training_step` takes."""
        graphs = [self.graphs[i] for _, i in keys]
        return pad([pack_graph(graph, range(len(graph.labels)), self.lexicon, self.config) for graph in graphs])


def predictor(head: RelationHead) -> Predict:
    """The head's predictions for a graph's nodes."""
    return lambda graph: head.predict(graph.labels, graph.boxes, graph.size)


def score_relations(predict: Predict, graphs: Sequence[SceneGraph]) -> dict[str, float]:
    """recall20, the mean over pictures, and accuracy, the mean over all true edges; see the head of this file."""
    recalls, right = [], list[bool]()
    for graph in graphs:
        predicted, true = list(predict(graph)), set(graph.relations)
        recalls.append(len(true & set(predicted[:RECALL_AT])) / len(true))
        by_pair = {(edge.subject, edge.object): edge for edge in reversed(predicted)}
        right += [by_pair.get((edge.subject, edge.object)) == edge for edge in true]
    return {"recall20": float(np.mean(recalls)), "accuracy": float(np.mean(right))}


def most_frequent(graphs: Sequence[SceneGraph]) -> Predict:
    """A baseline: the predicate that two classes have most often in `graphs`, the most frequent pairs first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for graph in graphs:
        for edge in graph.relations:
            pair = (graph.labels[edge.subject], graph.labels[edge.object])
            counts.setdefault(pair, Counter())[edge.predicate] += 1
    best = {pair: max(sorted(count), key=count.__getitem__) for pair, count in counts.items()}

    def predict(graph: SceneGraph) -> list[Relation]:
        nodes = range(len(graph.labels))
        found = [
            (-counts[pair].total(), Relation(s, best[pair], o))
            for s in nodes
            for o in nodes
            if s != o and (pair := (graph.labels[s], graph.labels[o])) in best
        ]
        return [edge for _, edge in sorted(found, key=lambda one: one[0])]

    return predict
