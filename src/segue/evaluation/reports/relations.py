"""Relations in the report of a training: a picture's objects by number, and which of its relations were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from segue.data.visualize import data_url, number_boxes
from segue.evaluation.reports.cases import SIDE, examples_section_of, spread_evenly
from segue.methods.sgdiff.graph import SceneGraph
from segue.pages.page import Card
from segue.types import Picture, Relation

MOST = 6  # relations of a kind that are listed


def relation_examples(
    predict: Callable[[SceneGraph], Sequence[Relation]], pictures: Sequence[tuple[Picture, SceneGraph]], first: int
) -> str:
    """A section with some of the pictures, spread evenly: their numbered objects and their relations.

    predict: relations of a graph's nodes, the most probable first. first: how many of them count.
    """
    drawn = [_card(picture, graph, list(predict(graph))[:first]) for picture, graph in spread_evenly(pictures)]
    legend = f"<p>Found and missed: of the true ones. Further: others among the {first} most probable.</p>"
    return examples_section_of(drawn, len(pictures), legend)


def _card(picture: Picture, graph: SceneGraph, predicted: Sequence[Relation]) -> Card:
    true = list(dict.fromkeys(graph.relations))
    found = [edge for edge in true if edge in predicted]
    lists = {
        "found": found,
        "missed": [edge for edge in true if edge not in predicted],
        "further": [edge for edge in predicted if edge not in true],
    }
    lines = "".join(f"<br>{name}: {_listed(edges, graph.labels)}" for name, edges in lists.items() if edges)
    image = number_boxes(picture.load(), graph.boxes, SIDE)
    return Card([data_url(image, SIDE)], picture.name, f"{len(found)} of {len(true)} relations found", lines)


def _listed(edges: Sequence[Relation], labels: Sequence[str]) -> str:
    said: Iterable[str] = (
        f"{edge.subject + 1} {escape(labels[edge.subject])} <b>{escape(edge.predicate)}</b> "
        f"{edge.object + 1} {escape(labels[edge.object])}"
        for edge in edges[:MOST]
    )
    return "; ".join(said) + (f"; {len(edges) - MOST} more" if len(edges) > MOST else "")
