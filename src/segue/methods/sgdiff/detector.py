"""Scene graphs of pictures that come without one: a detector for the nodes, a pair head for the edges.

Where we differ from the paper's graphs (neural-motifs): objects don't wait for their relations, and the head looks at
each pair by itself. Without a trained head the edges are the spatial ones of `graph.spatial_relations`.

Shapes: B pictures, N nodes, F = width of DETR's decoder, P predicates.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segue.methods.detectors import Detector
from segue.methods.sgdiff.graph import SceneGraph, spatial_relations
from segue.methods.sgdiff.mask_head import BOX_CODE, box_code
from segue.types import InputError, Relation


def detect_graph(image: NDArray[np.uint8], detector: Detector, head: RelationHead | None = None) -> SceneGraph:
    """The scene graph of a picture (H, W, 3) uint8, with the features of the detector's decoder where it has one.

    Raises InputError when nothing is found, and for a head beside a detector without features.
    """
    labels, boxes, features = detector(image)
    if not labels:
        raise InputError(
            f"no object found with a probability of {detector.threshold} or more; give a graph, or regions"
        )
    size = (image.shape[1], image.shape[0])
    if head is None:
        relations = spatial_relations(boxes)
    elif features is None:
        raise InputError("a relation head reads a DETR's features, which this detector has not; leave the head out")
    else:
        relations = head.relate(features, boxes, size)
    return SceneGraph(tuple(labels), boxes, tuple(relations), size, features=features)


class RelationHead(nn.Module):
    """For each ordered pair of nodes, which predicate holds, if any. A `Task` for the training loop."""

    def __init__(self, predicates: tuple[str, ...], feature_width: int, width: int = 128) -> None:
        super().__init__()
        self.predicates = predicates
        self.subject = nn.Linear(feature_width + BOX_CODE, width)
        self.object = nn.Linear(feature_width + BOX_CODE, width)
        self.between = nn.Linear(4, width)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(predicates) + 1))

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """features: (B, N, F). boxes: (B, N, 4), fractions. Returns (B, N, N, P + 1), subject first; 0 is none."""
        x = torch.cat([features, box_code(boxes)], -1)
        shift = boxes[:, None, :, :2] - boxes[:, :, None, :2]
        size = (boxes[:, None, :, 2:] / boxes[:, :, None, 2:].clamp_min(1e-4)).clamp_min(1e-4).log()
        between = self.between(torch.cat([shift, size.clamp(-5, 5)], -1))
        return self.out(self.subject(x)[:, :, None] + self.object(x)[:, None] + between)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `batches` (features, boxes, nodes, edges, linked). Pairs without an edge are "none", weight .1."""
        logits, nodes = self(batch["features"], batch["boxes"]), batch["nodes"]
        truth = torch.zeros(logits.shape[:3], dtype=torch.int64, device=logits.device)
        row, edge = batch["linked"].nonzero(as_tuple=True)
        subject, predicate, object_ = batch["edges"][row, edge].unbind(-1)
        truth[row, subject, object_] = predicate
        pairs = nodes[:, None] & nodes[:, :, None] & ~torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
        each = F.cross_entropy(logits[pairs], truth[pairs], reduction="none")
        weight = torch.where(truth[pairs] > 0, 1.0, 0.1)
        loss = (each * weight).sum() / weight.sum().clamp_min(1e-6)
        return {"loss": loss, "relations": loss}

    @torch.no_grad()
    def relate(
        self, features: NDArray[np.float32], boxes: NDArray[np.float32], size: tuple[int, int], most: int = 100
    ) -> list[Relation]:
        """The surest `most` edges whose likeliest predicate is not "none". boxes: pixels of a picture of `size`."""
        device = self.between.weight.device
        scaled = boxes / np.array([*size, *size], np.float32)
        logits = self(torch.from_numpy(features)[None].to(device), torch.from_numpy(scaled)[None].to(device))[0]
        chance, predicate = logits.softmax(-1).max(-1)
        chance = chance.masked_fill(predicate == 0, 0).fill_diagonal_(0)
        order = chance.flatten().argsort(descending=True)[: min(most, int((chance > 0).sum()))]
        pairs = [divmod(i, len(boxes)) for i in order.tolist()]
        return [Relation(s, self.predicates[int(predicate[s, o]) - 1], o) for s, o in pairs]
