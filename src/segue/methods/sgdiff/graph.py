"""Scene graphs: how they are built and checked, and the coarse subgraph around a prompt. numpy only.

Boxes are (x, y, width, height) in pixels. Edges may form cycles: nothing here follows more than one edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from segue.data.boxes import box_iou
from segue.types import InputError, Picture, Relation

Box = tuple[float, float, float, float]
SPATIAL = ("left of", "right of", "above", "below", "inside", "around", "overlapping")  # of `spatial_relations`


@dataclass(frozen=True)
class SceneGraph:
    """The objects of one picture and their relations.

    labels: N class names. boxes: (N, 4). relations: subject and object are positions of nodes. size: (width, height) of
    the picture. stuff: (N,) bool, True on grass, sky and the like (none by default). features: (N, F) float32 of a
    detector, or None. Raises InputError for a graph without nodes, an empty box, arrays of another shape, or
    an edge to a node that is not there.
    """

    labels: tuple[str, ...]
    boxes: NDArray[np.float32]
    relations: tuple[Relation, ...]
    size: tuple[int, int]
    stuff: NDArray[np.bool_] | None = None
    features: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if not n:
            raise InputError(
                "scene graph: got a picture without any object, expected 1 or more; "
                "give a graph that has some, or let a detector look for them (--detector)"
            )
        for name, array, shape in (("boxes", self.boxes, (n, 4)), ("stuff", self.stuff, (n,))):
            if array is not None and array.shape != shape:
                raise InputError(f"scene graph: {n} labels and {name} of shape {array.shape}, expected {shape}")
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != n):
            raise InputError(f"scene graph: {n} labels and features of shape {self.features.shape}, expected ({n}, F)")
        if bad := [i for i, box in enumerate(self.boxes) if not np.isfinite(box).all() or (box[2:] <= 0).any()]:
            raise InputError(
                f"scene graph: node {bad[0]} ({self.labels[bad[0]]}) has the box {self.boxes[bad[0]].tolist()}, "
                "expected x, y, width, height with width and height above 0; leave the node out"
            )
        for edge in self.relations:
            if not (0 <= edge.subject < n and 0 <= edge.object < n):
                raise InputError(f"scene graph: dangling edge {edge}, there are {n} nodes (0 is the first); drop it")


def build_graph(picture: Picture, size: tuple[int, int]) -> tuple[SceneGraph, list[int]]:
    """The graph of a picture's regions, and for each node the position of its region.

    Crowds, and boxes that are empty or wholly outside the picture, are left out. size: (width, height) in pixels.
    A picture that comes without relations (COCO) gets those of `spatial_relations`.
    Raises InputError when no region is left.
    """
    kept = [i for i, r in enumerate(picture.regions) if not r.crowd and is_in_picture(r.box, size)]
    node = {region: i for i, region in enumerate(kept)}
    boxes = np.array([picture.regions[i].box for i in kept], np.float32).reshape(-1, 4)
    relations = [
        Relation(node[r.subject], r.predicate, node[r.object])
        for r in picture.relations
        if r.subject in node and r.object in node
    ]
    graph = SceneGraph(
        labels=tuple(picture.regions[i].label for i in kept),
        boxes=boxes,
        relations=tuple(relations if picture.relations else spatial_relations(boxes)),
        size=size,
        stuff=np.array([not picture.regions[i].thing for i in kept], np.bool_),
    )
    return graph, kept


def is_in_picture(box: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether part of the box is in the picture. size: (width, height)."""
    x, y, w, h = box
    return w > 0 and h > 0 and x < size[0] and y < size[1] and x + w > 0 and y + h > 0


def spatial_relations(boxes: NDArray[np.float32], nearest: int = 4) -> list[Relation]:
    """Edges between each node and its `nearest` nodes by the distance of centres, one a pair, with a SPATIAL predicate.

    boxes: (N, 4).
    """
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    away = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.fill_diagonal(away, np.inf)
    order = away.argsort(1)[:, : min(nearest, len(boxes) - 1)]
    pairs = sorted({(min(i, j), max(i, j)) for i in range(len(boxes)) for j in order[i].tolist()})
    return [Relation(i, _spatial_predicate(boxes[i], boxes[j]), j) for i, j in pairs]


def _spatial_predicate(a: NDArray[np.float32], b: NDArray[np.float32]) -> str:
    """The predicate of SPATIAL from box a to box b; containment and overlap take precedence over sides."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()
    w, h = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
    shared = max(w, 0) * max(h, 0)
    if shared > 0.8 * min(aw * ah, bw * bh):
        return "inside" if aw * ah <= bw * bh else "around"
    if shared > 0.3 * min(aw * ah, bw * bh):
        return "overlapping"
    dx, dy = ax + aw / 2 - bx - bw / 2, ay + ah / 2 - by - bh / 2
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def find_prompt_node(graph: SceneGraph, box: Box) -> int:
    """The node whose box has the best IoU with the prompt; the nearest one when none touches it."""
    prompt = np.array([box], np.float32)
    overlap = box_iou(prompt, graph.boxes)[0]
    if overlap.max() > 0:
        return int(overlap.argmax())
    away = graph.boxes[:, :2] + graph.boxes[:, 2:] / 2 - (prompt[:, :2] + prompt[:, 2:] / 2)
    return int(np.linalg.norm(away, axis=1).argmin())


def coarse_subgraph(graph: SceneGraph, node: int, max_nodes: int) -> list[int]:
    """The nodes that a caption around `node` may name: itself, its class, its neighbours by one edge, and stuff.

    Stuff is included because captions often name it though relations rarely reach it. Where there are more than
    `max_nodes`, the groups take turns in adding their nearest node, so that a crowd of one class leaves room for the
    others. `node` is the first.
    """
    near = {e.object for e in graph.relations if e.subject == node} | {
        e.subject for e in graph.relations if e.object == node
    }
    same = {i for i, label in enumerate(graph.labels) if label == graph.labels[node]}
    stuff = set(np.flatnonzero(graph.stuff).tolist()) if graph.stuff is not None else set()
    centres = graph.boxes[:, :2] + graph.boxes[:, 2:] / 2
    away = np.linalg.norm(centres - centres[node], axis=1)
    groups = [sorted(g, key=lambda i: (away[i], i)) for g in (same - {node}, near - same, stuff - same - near)]
    turns = [i for turn in zip_longest(*groups) for i in turn if i is not None]
    kept = set(turns[: max_nodes - 1])
    return [node, *(i for group in groups for i in group if i in kept)]


def check_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """The box cut to the picture; InputError when it is no box, is empty, or lies outside. size: (width, height)."""
    width, height = size
    numbers = all(isinstance(v, int | float | np.number) for v in box)
    if len(box) != 4 or not numbers or not np.isfinite(np.asarray(box, float)).all():
        raise InputError(f"box: got {tuple(box)}, expected four numbers x, y, width, height in pixels")
    x, y, w, h = (float(v) for v in box)
    if w <= 0 or h <= 0:
        raise InputError(f"box: got {w:g} x {h:g} pixels, an empty box; expected width and height above 0")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        raise InputError(
            f"box: got x={x:g}, y={y:g}, width={w:g}, height={h:g}, outside the picture of {width}x{height} pixels; "
            "expected x, y of its top left corner, then its size"
        )
    return left, top, right - left, bottom - top
