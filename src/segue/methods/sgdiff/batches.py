"""From pictures and graphs to padded tensors: the network's inputs and its training targets.

A batch is a plain dict. P pictures; B rows, a caption and a prompt each, the same number for every picture, those of
one picture next to each other; N nodes, E edges, L tokens, K ranks, S the pictures' side, s the masks' side:

    image        (P, 3, S, S) float32, normalised         token_ids    (B, L) int64, the caption, END after its end
    class_ids    (B, N) int64                             tags         (B, L) int64, a phrase's tokens: 1 its first,
    boxes        (B, N, 4) float32, fractions                          2 its others, 0 outside of phrases
    features     (B, N, F) float32, a detector's          has_phrases  (B,) bool, the caption's phrases are known
    node_mask    (B, N) bool, True where there is one     relevant     (B, N) bool, the caption names the node
    prompt_node  (B,) int64, the prompt's node            ranks        (B, N) int64, its rank in the caption, K for none
    edges        (B, E, 3) int64, subject, predicate,     grounding    (B, N, L) bool, token j names node i
                 object                                   masks        (B, N, s, s) float32, the share of each cell
    edge_mask    (B, E) bool, True where there is one     mask_known   (B, N) bool, True where there is a mask
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
from segue.data.english import word_spans
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.graph import SceneGraph, build_graph, coarse_subgraph, find_prompt_node
from segue.methods.sgdiff.lexicon import Lexicon
from segue.types import InputError, Phrase, Picture

Arrays = dict[str, NDArray[Any]]


class TrainingExample(NamedTuple):
    """A picture's pixels (H, W, 3) uint8, its annotations, and a graph (a detector's) if not of its own regions."""

    image: NDArray[np.uint8]
    picture: Picture
    graph: SceneGraph | None = None


def pack_graph(graph: SceneGraph, nodes: Sequence[int], lexicon: Lexicon, config: SGDiffConfig) -> Arrays:
    """The subgraph of `nodes` (the prompt's first) as arrays, with the edges between them.

    Where there are more than max_edges, those of the prompt's node are kept first.
    Raises InputError when the nodes' features have another width than the model's.
    """
    width, height = graph.size
    index = {node: i for i, node in enumerate(nodes)}
    edges = [
        (index[e.subject], lexicon.predicate_id(e.predicate), index[e.object])
        for e in graph.relations
        if e.subject in index and e.object in index
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
        "class_ids": np.array([lexicon.class_id(graph.labels[i]) for i in nodes], np.int64),
        "boxes": (graph.boxes[list(nodes)] / np.array([width, height, width, height])).astype(np.float32),
        "features": features.astype(np.float32),
        "node_mask": np.ones(len(nodes), np.bool_),
        "edges": np.array(edges, np.int64).reshape(-1, 3),
        "edge_mask": np.ones(len(edges), np.bool_),
    }


def pad(rows: Sequence[Arrays]) -> dict[str, Tensor]:
    """B rows of arrays (n, ...) of different lengths n -> tensors (B, longest n, ...), zeros where a row is shorter."""
    tensors = {}
    for name in rows[0]:
        arrays = [row[name] for row in rows]
        shape = np.max([a.shape for a in arrays], axis=0) if arrays[0].ndim else ()
        full = np.zeros((len(rows), *(int(n) for n in shape)), arrays[0].dtype)
        for i, array in enumerate(arrays):
            inside: Any = (i, *(slice(n) for n in array.shape))
            full[inside] = array
        tensors[name] = torch.from_numpy(full)
    return tensors


def pack_prompts(
    graph: SceneGraph, subgraphs: Sequence[Sequence[int]], lexicon: Lexicon, config: SGDiffConfig
) -> dict[str, Tensor]:
    """One of B rows for each prompt's coarse subgraph, its node first; the inputs only, all but `image`.

    Those of `pack_graph`, padded to (B, longest, ...), and "prompt_node" (B,) int64, all 0.
    """
    rows = [pack_graph(graph, nodes, lexicon, config) for nodes in subgraphs]
    return pad(rows) | {"prompt_node": torch.zeros(len(rows), dtype=torch.int64)}  # the prompt's node is always first


def collate(
    examples: Sequence[TrainingExample],
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
    count = len(rngs) // len(examples)
    masks = [_RegionMasks(example.picture, config.mask_side) for example in examples]
    rows = [_row(examples[i // count], lexicon, config, rng, prompt) for i, rng in enumerate(rngs)]
    packed = [arrays | masks[i // count].pack(regions) for i, (arrays, regions) in enumerate(rows)]
    return pad(packed) | {"image": config.preprocessing.to_tensor([e.image for e in examples])}


def _row(
    example: TrainingExample, lexicon: Lexicon, config: SGDiffConfig, rng: np.random.Generator, prompt: str
) -> tuple[Arrays, list[int | None]]:
    """A row without its masks, and the region behind each node."""
    graph, region_of = _graph(example)
    caption = _choose_caption(example.picture, rng)
    phrases = sorted((p for p in example.picture.phrases if p.caption == caption), key=lambda p: p.start)
    box = _choose_box(example.picture, phrases, rng, prompt)
    start = find_prompt_node(graph, box) if box is not None else int(rng.integers(len(graph.labels)))
    nodes = coarse_subgraph(graph, start, config.max_nodes)
    regions = [region_of[node] for node in nodes]
    row = pack_graph(graph, nodes, lexicon, config) | {"prompt_node": np.array(0)}
    row |= _caption_targets(example.picture.captions[caption], phrases, regions, lexicon, config.max_words)
    return row | _node_targets(graph.boxes[nodes], phrases, regions, config.max_ranked), regions


def _graph(example: TrainingExample) -> tuple[SceneGraph, list[int | None]]:
    """The graph, and the region behind each node: its own, or the one with the best IoU if that is .5 or more."""
    if example.graph is None:
        graph, kept = build_graph(example.picture, example.image.shape[1::-1])
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


def _caption_targets(
    caption: str, phrases: Sequence[Phrase], regions: Sequence[int | None], lexicon: Lexicon, length: int
) -> Arrays:
    """token_ids, tags, has_phrases and grounding; only phrases that have regions count."""
    tags, grounding = np.zeros(length, np.int64), np.zeros((len(regions), length), np.bool_)
    for phrase in (p for p in phrases if p.regions):
        inside = [j for j, (_, a, b) in enumerate(word_spans(caption)[:length]) if a < phrase.end and b > phrase.start]
        tags[inside], tags[inside[:1]] = 2, 1
        named = [i for i, region in enumerate(regions) if region in phrase.regions]
        grounding[np.ix_(named, inside)] = True
    token_ids = np.array(lexicon.encode(caption, length), np.int64)
    return {"token_ids": token_ids, "tags": tags, "has_phrases": np.array(bool(tags.any())), "grounding": grounding}


def _node_targets(
    boxes: NDArray[np.float32], phrases: Sequence[Phrase], regions: Sequence[int | None], max_ranked: int
) -> Arrays:
    """relevant and ranks: by the first phrase that names the node, from left to right within a phrase."""
    first: dict[int, int] = {}
    for phrase in reversed(phrases):
        first |= dict.fromkeys(phrase.regions, phrase.start)
    named = [i for i, region in enumerate(regions) if region in first]
    named.sort(key=lambda i: (first[regions[i] or 0], boxes[i, 0]))
    relevant, ranks = np.zeros(len(regions), np.bool_), np.full(len(regions), max_ranked, np.int64)
    relevant[named] = True
    ranks[named[:max_ranked]] = np.arange(len(named[:max_ranked]))
    return {"relevant": relevant, "ranks": ranks}


class _RegionMasks:
    """The masks of a picture's regions at the network's size, each decoded once, whatever the number of rows."""

    def __init__(self, picture: Picture, side: int) -> None:
        self.picture, self.side = picture, side
        self.decoded: dict[int, NDArray[np.float32]] = {}

    def pack(self, regions: Sequence[int | None]) -> Arrays:
        """masks and mask_known of a row's nodes. regions: the region behind each, or None."""
        masks, known = np.zeros((len(regions), self.side, self.side), np.float32), np.zeros(len(regions), np.bool_)
        for i, region in enumerate(regions):
            if region is not None and (mask := self._mask(region)) is not None:
                masks[i], known[i] = mask, True
        return {"masks": masks, "mask_known": known}

    def _mask(self, region: int) -> NDArray[np.float32] | None:
        if region not in self.decoded and (found := self.picture.regions[region].mask) is not None:
            full = Image.fromarray(rle.decode(found).astype(np.float32))
            self.decoded[region] = np.asarray(full.resize((self.side, self.side), Image.Resampling.BOX))
        return self.decoded.get(region)
