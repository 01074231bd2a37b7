"""Scene graphs of pictures that come without one: DETR by `transformers` for the nodes, a pair head for the edges.

Where we differ from the paper's graphs (neural-motifs): objects don't wait for their relations, and the head looks at
each pair by itself. Without a trained head the edges are the spatial ones of `graph.spatial_relations`.

Shapes: B pictures, N nodes, F = width of DETR's decoder, P predicates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segue.data.transforms import resize_image
from segue.methods.sgdiff.graph import SceneGraph, box_iou, spatial_relations
from segue.methods.sgdiff.mask_head import BOX_CODE, box_code
from segue.types import InputError, Relation, check_image

if TYPE_CHECKING:
    from transformers import DetrForObjectDetection

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_detr(source: str) -> DetrForObjectDetection:
    """A DETR by its id on the hub (facebook/detr-resnet-50) or from a local folder.

    Raises InputError when it can't be had.
    """
    from transformers import DetrForObjectDetection

    try:
        return DetrForObjectDetection.from_pretrained(source).eval()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: no DETR could be read there ({str(error).partition(chr(10))[0]}); expected an id on the hub "
            "that is reachable, or a folder with config.json and model.safetensors"
        ) from error


@torch.no_grad()
def detect_graph(
    image: NDArray[np.uint8],
    detr: DetrForObjectDetection,
    head: RelationHead | None = None,
    *,
    threshold: float = 0.7,
    most: int = 50,
    shortest: int = 800,
) -> SceneGraph:
    """The scene graph of a picture (H, W, 3) uint8, its nodes' features from DETR's decoder.

    threshold: of a node's probability. most: nodes, the surest first; doubles (same class, IoU above .8) are dropped.
    shortest: pixels of the shorter side that DETR sees. Raises InputError when nothing is found.
    """
    check_image(image)
    labels, boxes, features = _objects(image, detr, threshold, most, shortest)
    if not labels:
        raise InputError(f"no object found with a probability of {threshold} or more; lower threshold, or give a graph")
    size = (image.shape[1], image.shape[0])
    relations = spatial_relations(boxes) if head is None else head.relate(features, boxes, size)
    return SceneGraph(tuple(labels), boxes, tuple(relations), size, features=features)


def _objects(
    image: NDArray[np.uint8], detr: DetrForObjectDetection, threshold: float, most: int, shortest: int
) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    height, width = image.shape[:2]
    scale = min(shortest / min(height, width), 1333 / max(height, width))
    seen = resize_image(image, (max(round(height * scale), 32), max(round(width * scale), 32)))
    pixels = (torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / (
        torch.tensor(STD)[:, None, None]
    )
    found = detr(pixel_values=pixels[None].to(detr.device))
    chance, number = found.logits[0].softmax(-1)[:, :-1].max(-1)
    corners = _corners(found.pred_boxes[0].cpu().numpy()) * np.array([width, height, width, height], np.float32)
    classes: dict[Any, str] = detr.config.id2label or {}
    names = [classes[int(i)] for i in number]
    kept: list[int] = []
    for i in chance.argsort(descending=True, stable=True).tolist():
        if chance[i] < threshold or len(kept) == most:
            break
        doubled = any(names[j] == names[i] and box_iou(corners[[i]], corners[[j]])[0, 0] > 0.8 for j in kept)
        if (corners[i, 2:] > 0).all() and not doubled:
            kept.append(i)
    return [names[i] for i in kept], corners[kept], found.last_hidden_state[0, kept].float().cpu().numpy()


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) centre x, y, width, height in fractions -> x, y, width, height, cut to the picture."""
    low = (boxes[:, :2] - boxes[:, 2:] / 2).clip(0, 1)
    high = (boxes[:, :2] + boxes[:, 2:] / 2).clip(0, 1)
    return np.concatenate([low, high - low], 1).astype(np.float32)


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
