"""What the network reads of a photograph, from frozen feature maps, nearest captions and its scene graph.

Shapes: as in `network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.data.tokenizer import CaptionTokenizer
from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.photographs.network import PhotoDescriberConfig, appearance, pool_grid


@dataclass(frozen=True)
class ReadPhotograph:
    """One photograph's features, computed once for any number of prompts.

    levels: the frozen maps, finest first, (1, C, h, w) each; for captions alone the two coarsest are enough. picture:
    (1, 2 + M, D), see `PhotoDescriber`. pixels: (1, 3, H, W) RGB from 0 to 1, or None for captions alone. size: (width,
    height) in pixels.
    """

    levels: list[Tensor]
    picture: Tensor
    pixels: Tensor | None
    size: tuple[int, int]


def node_order(graph: SceneGraph, prompt: int, most: int) -> list[int]:
    """The prompt's node, then those that it has an edge with, then the others; the largest first, at most so many."""
    near = {e.object for e in graph.relations if e.subject == prompt}
    near |= {e.subject for e in graph.relations if e.object == prompt}
    area = graph.boxes[:, 2:].prod(1)
    others = [i for i in range(len(graph.labels)) if i != prompt]
    return [prompt, *sorted(others, key=lambda i: (i not in near, -area[i], i))][:most]


def relations_of_prompt(graph: SceneGraph, nodes: Sequence[int]) -> list[str]:
    """How the prompt's node, the first of `nodes`, is related to each of them: a predicate, or "" where it isn't.

    An edge in the other direction is told in the words of its subject, with "by" before them: "by riding".
    """
    prompt, found = nodes[0], dict.fromkeys(nodes, "")
    for edge in graph.relations:
        if edge.object == prompt and edge.subject in found:
            found[edge.subject] = f"by {edge.predicate}"
    for edge in graph.relations:
        if edge.subject == prompt and edge.object in found:
            found[edge.object] = edge.predicate
    return [found[node] for node in nodes]


def encode_names(names: Sequence[Sequence[str]], tokenizer: CaptionTokenizer, most: int = 6) -> Tensor:
    """B lists of N names -> (B, N, T) int64, -1 for none: at most `most` tokens of each."""
    ids = [[tokenizer.tokenizer.encode(name, add_special_tokens=False).ids[:most] for name in row] for row in names]
    longest = max((len(one) for row in ids for one in row), default=0)
    found = torch.full((len(ids), max(map(len, ids), default=0), max(longest, 1)), -1)
    for b, row in enumerate(ids):
        for n, one in enumerate(row):
            found[b, n, : len(one)] = torch.tensor(one, dtype=torch.int64)
    return found


def pack_prompts(
    photographs: Sequence[ReadPhotograph],
    graphs: Sequence[SceneGraph],
    prompts: Sequence[int],
    tokenizer: CaptionTokenizer,
    config: PhotoDescriberConfig,
) -> dict[str, Tensor]:
    """A batch of `PhotoDescriber`: for each row a photograph, its graph and the position of the prompt's node."""
    nodes = [node_order(graph, prompt, config.max_nodes) for graph, prompt in zip(graphs, prompts, strict=True)]
    most = max(map(len, nodes))
    boxes, seen, mask = [], [], torch.zeros(len(nodes), most, dtype=torch.bool)
    for i, (photograph, graph, kept) in enumerate(zip(photographs, graphs, nodes, strict=True)):
        size = np.array([*photograph.size, *photograph.size])
        inside = torch.from_numpy((graph.boxes[kept] / size).astype(np.float32)).to(photograph.picture.device)
        boxes.append(F.pad(inside, (0, 0, 0, most - len(kept))))
        seen.append(F.pad(appearance(photograph.levels, inside[None])[0], (0, 0, 0, most - len(kept))))
        mask[i, : len(kept)] = True
    filler = [[""] * (most - len(kept)) for kept in nodes]
    device = photographs[0].picture.device
    named = [[*(graph.labels[n] for n in kept), *rest] for graph, kept, rest in zip(graphs, nodes, filler, strict=True)]
    related = [
        [*relations_of_prompt(graph, kept), *rest] for graph, kept, rest in zip(graphs, nodes, filler, strict=True)
    ]
    return {
        "picture": torch.cat([one.picture for one in photographs]),
        "grid": torch.cat([pool_grid(one.levels[-1].float(), config.grid) for one in photographs]),
        "names": encode_names(named, tokenizer).to(device),
        "relations": encode_names(related, tokenizer).to(device),
        "boxes": torch.stack(boxes),
        "appearance": torch.stack(seen),
        "node_mask": mask.to(device),
    }


def pixels_of_rgb(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 RGB -> (1, 3, H, W) float32 from 0 to 1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
