"""Retrieval in the report of a training: captions, each with the pictures that are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

from segue.data.visualize import data_url
from segue.encoders.dual_encoder import DualEncoder
from segue.evaluation.reports.cases import SIDE, spread_evenly
from segue.pages.page import Card, cards, section
from segue.types import Picture

SEARCHED, NEAREST = 200, 4  # pictures that are looked through, and those of them that are shown


def retrieval_examples(encoder: DualEncoder, pictures: Sequence[Picture]) -> str:
    """A section with the first captions of some of the pictures, and the nearest pictures to each of them."""
    pictures = spread_evenly([one for one in pictures if one.captions], SEARCHED)
    chosen = spread_evenly(range(len(pictures)))
    queries = [pictures[i].captions[0] for i in chosen]
    near = encoder.embed_texts(queries) @ encoder.embed_images([one.load() for one in pictures]).T
    drawn = []
    for query, own, scores in zip(queries, chosen, near, strict=True):
        order = scores.argsort(descending=True).tolist()
        shown = [data_url(pictures[i].load(), SIDE // 2, small=True) for i in order[:NEAREST]]
        drawn.append(Card(shown, query, f"Its own picture is number {order.index(own) + 1}."))
    lead = f"Captions of {len(queries)} of {len(pictures)} validation pictures, with the nearest of these, best first."
    return section("examples", "Examples", lead, cards(drawn))
