"""Relations between objects that are known by class and box: the edges of graphs that come without any.

Where we differ from the paper's graphs (neural-motifs): objects don't wait for their relations, the head looks at each
pair by itself, and reads no pixels, so that it serves any detector, and boxes drawn by hand.

Shapes: B pictures, N nodes, P predicates, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segue.methods.checkpoint import fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.sgdiff.mask_head import BOX_CODE, box_code
from segue.types import InputError, Relation

FORGOTTEN = 0.1  # share of the classes that training hides, so that 0 comes to mean "unknown"


class RelationHead(nn.Module):
    """For each ordered pair of nodes, which predicate holds, if any. A `Task` for the training loop.

    classes, predicates: names, numbered from 1; class 0 is any other, predicate 0 is none.
    """

    def __init__(self, classes: tuple[str, ...], predicates: tuple[str, ...], width: int = 128) -> None:
        super().__init__()
        if not classes or not predicates:
            raise InputError(f"relations: got {len(classes)} classes and {len(predicates)} predicates, expected some")
        self.classes, self.predicates, self.width = classes, predicates, width
        self.name = nn.Embedding(len(classes) + 1, width)
        self.subject, self.object = nn.Linear(width + BOX_CODE, width), nn.Linear(width + BOX_CODE, width)
        self.between = nn.Linear(4, width)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(predicates) + 1))

    def forward(self, classes: Tensor, boxes: Tensor) -> Tensor:
        """classes: (B, N) int64. boxes: (B, N, 4), fractions. Returns (B, N, N, P + 1), subject first."""
        x = torch.cat([self.name(classes), box_code(boxes)], -1)
        shift = boxes[:, None, :, :2] - boxes[:, :, None, :2]
        size = (boxes[:, None, :, 2:] / boxes[:, :, None, 2:].clamp_min(1e-4)).clamp_min(1e-4).log()
        between = self.between(torch.cat([shift, size.clamp(-5, 5)], -1))
        return self.out(self.subject(x)[:, :, None] + self.object(x)[:, None] + between)

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `batches` (classes, boxes, nodes, edges, linked). Pairs without an edge are "none", weight .1."""
        nodes = batch["nodes"]
        hidden = torch.rand(nodes.shape, device=nodes.device) < FORGOTTEN
        logits = self(batch["classes"].masked_fill(hidden, 0), batch["boxes"])
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
        self, labels: Sequence[str], boxes: NDArray[np.float32], size: tuple[int, int], most: int = 100
    ) -> list[Relation]:
        """The edges whose likeliest predicate is not "none", at most `most`, the surest first.

        labels: of N nodes. boxes: (N, 4) x, y, width, height in pixels of a picture of `size` (width, height).
        """
        device, numbers = self.name.weight.device, {name: i for i, name in enumerate(self.classes, 1)}
        known = torch.tensor([[numbers.get(label, 0) for label in labels]], device=device)
        scaled = torch.from_numpy((boxes / np.array([*size, *size])).astype(np.float32))[None].to(device)
        chance, predicate = self.eval()(known, scaled)[0].softmax(-1).max(-1)
        chance = chance.masked_fill(predicate == 0, 0).fill_diagonal_(0)
        order = chance.flatten().argsort(descending=True)[: min(most, int((chance > 0).sum()))]
        pairs = [divmod(i, len(boxes)) for i in order.tolist()]
        return [Relation(s, self.predicates[int(predicate[s, o]) - 1], o) for s, o in pairs]


def save_relations(head: RelationHead, folder: Path, about: dict[str, Any] | None = None) -> None:
    """Write a checkpoint folder, atomically."""
    names = {"classes": head.classes, "predicates": head.predicates, "width": head.width}
    write_checkpoint(folder, {"method": "relations", **names, "about": about or {}}, head.state_dict())


def load_relations(folder: Path) -> RelationHead:
    """The head of a checkpoint folder, in eval mode. Raises InputError when it is not whole."""
    saved = read_config(folder, ["relations"], ("classes", "predicates", "width"))
    head = RelationHead(tuple(saved["classes"]), tuple(saved["predicates"]), saved["width"])
    fill_module(head, read_tensors(folder), folder)
    return head.eval()
