"""From pictures and graphs to padded tensors: what the network reads, and what it is trained towards.

A batch is a plain dict. P pictures; B rows, a caption and a prompt each, as many of every picture and one picture after
the other; N nodes, E edges, L words, K places, S the pictures' side, s the masks' side:

    image     (P, 3, S, S) float32, normalised        ids       (B, L) int64, the caption, END after its end
    classes   (B, N) int64                            tags      (B, L) int64, 0 outside, 1 begins, 2 goes on a phrase
    boxes     (B, N, 4) float32, fractions            tagged    (B,) bool, the caption's phrases are known
    features  (B, N, F) float32, a detector's         relevant  (B, N) bool, the caption names the node
    nodes     (B, N) bool, True where there is one    order     (B, N) int64, its place in the caption, K for none
    prompt    (B,) int64, the prompt's node           pairs     (B, N, L) bool, word j names node i
    edges     (B, E, 3) int64, subject, predicate, object
    linked    (B, E) bool, True where there is one    masks     (B, N, s, s) float32, the share of each cell;
                                                      known     (B, N) bool, the masks there are
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segue.data import rle
from segue.data.boxes import box_iou
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SceneGraph, coarse_subgraph, graph_of, prompt_node
from segue.methods.sgdiff.lexicon import Lexicon, word_spans
from segue.types import InputError, Phrase, Picture

Arrays = dict[str, NDArray[Any]]


class Example(NamedTuple):
    """A picture's pixels (H, W, 3) uint8, what is known of it, and a graph (a detector's) if not its own regions."""

    image: NDArray[np.uint8]
    picture: Picture
    graph: SceneGraph | None = None


def pack_graph(graph: SceneGraph, nodes: Sequence[int], lexicon: Lexicon, config: SGDiffConfig) -> Arrays:
    """The subgraph of `nodes` (the prompt's first) as arrays, with the edges between them.

    Of more than max_edges the prompt's own stay first.
    """
    width, height = graph.size
    place = {node: i for i, node in enumerate(nodes)}
    edges = [
        (place[e.subject], lexicon.predicate_number(e.predicate), place[e.object])
        for e in graph.relations
        if e.subject in place and e.object in place
    ]
    if len(edges) > config.max_edges:
        edges = sorted(edges, key=lambda edge: 0 not in (edge[0], edge[2]))[: config.max_edges]
    features = np.zeros((len(nodes), 0), np.float32) if graph.features is None else graph.features[list(nodes)]
    if features.shape[1] != config.feature_width:
        raise InputError(
            f"scene graph: its nodes' features are {features.shape[1]} numbers, the model was built for "
            f"{config.feature_width}; use the detector it was trained with"
        )
    return {
        "classes": np.array([lexicon.class_number(graph.labels[i]) for i in nodes], np.int64),
        "boxes": (graph.boxes[list(nodes)] / np.array([width, height, width, height])).astype(np.float32),
        "features": features.astype(np.float32),
        "nodes": np.ones(len(nodes), np.bool_),
        "edges": np.array(edges, np.int64).reshape(-1, 3),
        "linked": np.ones(len(edges), np.bool_),
    }


def pad(rows: Sequence[Arrays]) -> dict[str, Tensor]:
    """Arrays of different lengths -> tensors, zeros where a row is shorter."""
    made = {}
    for name in rows[0]:
        arrays = [row[name] for row in rows]
        shape = np.max([a.shape for a in arrays], axis=0) if arrays[0].ndim else ()
        full = np.zeros((len(rows), *(int(n) for n in shape)), arrays[0].dtype)
        for i, array in enumerate(arrays):
            inside: Any = (i, *(slice(n) for n in array.shape))
            full[inside] = array
        made[name] = torch.from_numpy(full)
    return made


def pack_prompts(
    graph: SceneGraph, subgraphs: Sequence[Sequence[int]], lexicon: Lexicon, config: SGDiffConfig
) -> dict[str, Tensor]:
    """One row for each prompt's coarse subgraph, its node first; the inputs only (all but `image`)."""
    rows = [pack_graph(graph, nodes, lexicon, config) for nodes in subgraphs]
    return pad(rows) | {"prompt": torch.zeros(len(rows), dtype=torch.int64)}  # the prompt's node is always first


def collate(
    examples: Sequence[Example],
    lexicon: Lexicon,
    config: SGDiffConfig,
    rngs: Sequence[np.random.Generator],
    prompt: str = "any",
) -> dict[str, Tensor]:
    """A training batch. rngs: one for each row, as many for every example; each chooses a caption and a prompt.

    prompt: the object whose box is the prompt: that of the caption's "first" noun (the paper), or of "any" of them.
    Raises InputError for a picture without captions or objects, and for another `prompt`.
    """
    if prompt not in ("first", "any"):
        raise InputError(f"prompt: got {prompt!r}, expected 'first' (the caption's first noun) or 'any'")
    each = len(rngs) // len(examples)
    masks = [_Masks(example.picture, config.mask_side) for example in examples]
    rows = [_row(examples[i // each], masks[i // each], lexicon, config, rng, prompt) for i, rng in enumerate(rngs)]
    return pad(rows) | {"image": config.preprocessing.to_tensor([e.image for e in examples])}


def _row(
    example: Example, masks: _Masks, lexicon: Lexicon, config: SGDiffConfig, rng: np.random.Generator, prompt: str
) -> Arrays:
    graph, regions = _graph(example)
    caption = _choose_caption(example.picture, rng)
    phrases = sorted((p for p in example.picture.phrases if p.caption == caption), key=lambda p: p.start)
    box = _choose_box(example.picture, phrases, rng, prompt)
    start = prompt_node(graph, box) if box is not None else int(rng.integers(len(graph.labels)))
    nodes = coarse_subgraph(graph, start, config.max_nodes)
    told = [regions[node] for node in nodes]
    row = pack_graph(graph, nodes, lexicon, config) | {"prompt": np.array(0)}
    row |= _words(example.picture.captions[caption], phrases, told, lexicon, config.length)
    return row | _order(graph, nodes, phrases, told, config.places) | masks.of(told)


def _graph(example: Example) -> tuple[SceneGraph, list[int | None]]:
    """The graph, and the region behind each node: its own, or the one with the best IoU if that is .5 or more."""
    if example.graph is None:
        graph, kept = graph_of(example.picture, example.image.shape[1::-1])
        return graph, list(kept)
    boxes = np.array([r.box for r in example.picture.regions], np.float32).reshape(-1, 4)
    if not len(boxes):
        return example.graph, [None] * len(example.graph.labels)
    overlap = box_iou(example.graph.boxes, boxes)
    return example.graph, [int(row.argmax()) if row.max() >= 0.5 else None for row in overlap]


def _choose_caption(picture: Picture, rng: np.random.Generator) -> int:
    if not picture.captions:
        raise InputError(f"{picture.name}: no caption to learn from; leave the picture out")
    with_phrases = sorted({p.caption for p in picture.phrases if p.regions}) or range(len(picture.captions))
    return int(rng.choice(np.asarray(with_phrases)))


def _choose_box(
    picture: Picture, phrases: Sequence[Phrase], rng: np.random.Generator, prompt: str
) -> tuple[float, float, float, float] | None:
    named = [p.regions for p in phrases if p.regions]
    if not named:
        return None
    regions = named[0] if prompt == "first" else named[int(rng.integers(len(named)))]
    return picture.regions[regions[0] if prompt == "first" else int(rng.choice(regions))].box


def _words(
    caption: str, phrases: Sequence[Phrase], told: Sequence[int | None], lexicon: Lexicon, length: int
) -> Arrays:
    """ids, tags, tagged and pairs; only phrases that have regions count."""
    tags, pairs = np.zeros(length, np.int64), np.zeros((len(told), length), np.bool_)
    for phrase in (p for p in phrases if p.regions):
        inside = [j for j, (_, a, b) in enumerate(word_spans(caption)[:length]) if a < phrase.end and b > phrase.start]
        tags[inside], tags[inside[:1]] = 2, 1
        named = [i for i, region in enumerate(told) if region in phrase.regions]
        pairs[np.ix_(named, inside)] = True
    ids = np.array(lexicon.numbers(caption, length), np.int64)
    return {"ids": ids, "tags": tags, "tagged": np.array(bool(tags.any())), "pairs": pairs}


def _order(
    graph: SceneGraph, nodes: Sequence[int], phrases: Sequence[Phrase], told: Sequence[int | None], places: int
) -> Arrays:
    """relevant and order: by the first phrase that names the node, from left to right within a phrase."""
    first: dict[int, int] = {}
    for phrase in reversed(phrases):
        first |= dict.fromkeys(phrase.regions, phrase.start)
    named = [i for i, region in enumerate(told) if region in first]
    named.sort(key=lambda i: (first[told[i] or 0], graph.boxes[nodes[i], 0]))
    relevant, order = np.zeros(len(nodes), np.bool_), np.full(len(nodes), places, np.int64)
    relevant[named] = True
    order[named[:places]] = np.arange(len(named[:places]))
    return {"relevant": relevant, "order": order}


class _Masks:
    """The masks of a picture's regions at the network's size, each decoded once, whatever the number of rows."""

    def __init__(self, picture: Picture, side: int) -> None:
        self.picture, self.side = picture, side
        self.made: dict[int, NDArray[np.float32]] = {}

    def of(self, told: Sequence[int | None]) -> Arrays:
        """masks and known of a row's nodes. told: the region behind each, or None."""
        masks, known = np.zeros((len(told), self.side, self.side), np.float32), np.zeros(len(told), np.bool_)
        for i, region in enumerate(told):
            if region is not None and (found := self._mask(region)) is not None:
                masks[i], known[i] = found, True
        return {"masks": masks, "known": known}

    def _mask(self, region: int) -> NDArray[np.float32] | None:
        if region not in self.made and (found := self.picture.regions[region].mask) is not None:
            full = Image.fromarray(rle.decode(found).astype(np.float32))
            self.made[region] = np.asarray(full.resize((self.side, self.side), Image.Resampling.BOX))
        return self.made.get(region)
