"""The table `relations_scenes`: the head beside the most frequent predicate and the spatial edges."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from segue.lab.engine import Row, Work
from segue.lab.tables.data import given_or_default_scenes
from segue.lab.trained import train_once
from segue.methods.sgdiff.graph import spatial_relations
from segue.methods.sgdiff.relations import load_relations
from segue.recipes.relations import (
    RELATIONS,
    SEEDS,
    RelationSettings,
    most_frequent,
    predictor,
    read_graphs,
    score_relations,
    train_relations,
)


def relations_table(base: RelationSettings = RELATIONS) -> list[Row]:
    """The head by 3 seeds, and the baselines without training. --data: scenes; drawn once unless given."""
    rows = [Row("test", "head", seed, partial(_head_row, replace(base, seed=seed))) for seed in SEEDS]
    return rows + [Row("test", name, 0, partial(_plain_row, base, name)) for name in ("frequency", "spatial")]


def _head_row(settings: RelationSettings, work: Work) -> dict[str, float]:
    settings = replace(_with_data(settings, work), out=work.row)
    train_once(settings, train_relations)
    return score_relations(predictor(load_relations(work.row / "best")), read_graphs(settings.data, "test"))


def _plain_row(settings: RelationSettings, name: str, work: Work) -> dict[str, float]:
    settings = _with_data(settings, work)
    if name == "spatial":
        return score_relations(lambda graph: spatial_relations(graph.boxes), read_graphs(settings.data, "test"))
    return score_relations(most_frequent(read_graphs(settings.data, "train")), read_graphs(settings.data, "test"))


def _with_data(settings: RelationSettings, work: Work) -> RelationSettings:
    return replace(settings, data=given_or_default_scenes(work))
