"""Relations between objects that are known by class and box: the edges of graphs that come without any.

Where we differ from the paper's graphs (neural-motifs): detection doesn't depend on relations, the head scores each
pair by itself, and it reads no pixels, so that it serves any detector, and boxes drawn by hand.

Shapes: B pictures, N nodes, P predicates.
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

from segue.methods.checkpoint import build, fill_module, read_config, read_tensors, write_checkpoint
from segue.methods.sgdiff.mask_head import BOX_WIDTH, box_encoding
from segue.options import Positive
from segue.types import InputError, Relation

CLASS_DROPOUT = 0.1  # share of the classes that training replaces by 0, so that 0 comes to mean "unknown"
NO_RELATION_WEIGHT = 0.1  # of the loss of pairs without a relation, which are most pairs


class RelationHead(nn.Module):
    """Which predicate holds for each ordered pair of nodes, if any. A `Task` for the training loop.

    classes, predicates: names, whose ids start at 1; class 0 is any other, predicate 0 is none.
    Raises InputError when one of them is empty.
    """

    def __init__(self, classes: tuple[str, ...], predicates: tuple[str, ...], width: int = 128) -> None:
        super().__init__()
        if not classes or not predicates:
            raise InputError(f"relations: got {len(classes)} classes and {len(predicates)} predicates, expected some")
        self.classes, self.predicates, self.width = classes, predicates, width
        self.class_embedding = nn.Embedding(len(classes) + 1, width)
        self.subject, self.object = nn.Linear(width + BOX_WIDTH, width), nn.Linear(width + BOX_WIDTH, width)
        self.offset = nn.Linear(4, width)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(predicates) + 1))

    def forward(self, class_ids: Tensor, boxes: Tensor) -> Tensor:
        """class_ids: (B, N) int64. boxes: (B, N, 4), fractions. Returns logits (B, N, N, P + 1), subject first."""
        x = torch.cat([self.class_embedding(class_ids), box_encoding(boxes)], -1)
        shift = boxes[:, None, :, :2] - boxes[:, :, None, :2]
        size = (boxes[:, None, :, 2:] / boxes[:, :, None, 2:].clamp_min(1e-4)).clamp_min(1e-4).log()
        offset = self.offset(torch.cat([shift, size.clamp(-5, 5)], -1))
        logits: Tensor = self.out(self.subject(x)[:, :, None] + self.object(x)[:, None] + offset)
        return logits

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: class_ids, boxes, node_mask, edges and edge_mask, see `batches`. Returns "loss" and its only term."""
        nodes = batch["node_mask"]
        hidden = torch.rand(nodes.shape, device=nodes.device) < CLASS_DROPOUT
        logits = self(batch["class_ids"].masked_fill(hidden, 0), batch["boxes"])
        truth = torch.zeros(logits.shape[:3], dtype=torch.int64, device=logits.device)
        row, edge = batch["edge_mask"].nonzero(as_tuple=True)
        subject, predicate, object_ = batch["edges"][row, edge].unbind(-1)
        truth[row, subject, object_] = predicate
        pairs = nodes[:, None] & nodes[:, :, None] & ~torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
        each = F.cross_entropy(logits[pairs], truth[pairs], reduction="none")
        weight = torch.where(truth[pairs] > 0, 1.0, NO_RELATION_WEIGHT)
        loss = (each * weight).sum() / weight.sum().clamp_min(1e-6)
        return {"loss": loss, "relations": loss}

    @torch.no_grad()
    def predict(
        self, labels: Sequence[str], boxes: NDArray[np.float32], size: tuple[int, int], max_relations: int = 100
    ) -> list[Relation]:
        """The edges whose likeliest predicate is not "none", at most `max_relations`, the most probable first.

        labels: of N nodes. boxes: (N, 4) x, y, width, height in pixels of a picture of `size` (width, height).
        """
        device, ids = self.class_embedding.weight.device, {name: i for i, name in enumerate(self.classes, 1)}
        class_ids = torch.tensor([[ids.get(label, 0) for label in labels]], device=device)
        scaled = torch.from_numpy((boxes / np.array([*size, *size])).astype(np.float32))[None].to(device)
        p, predicate = self.eval()(class_ids, scaled)[0].softmax(-1).max(-1)
        p = p.masked_fill(predicate == 0, 0).fill_diagonal_(0)
        order = p.flatten().argsort(descending=True)[: min(max_relations, int((p > 0).sum()))]
        pairs = [divmod(i, len(boxes)) for i in order.tolist()]
        return [Relation(s, self.predicates[int(predicate[s, o]) - 1], o) for s, o in pairs]


def save_relations(
    head: RelationHead, folder: Path, about: dict[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a checkpoint folder, atomically. The arguments are those of `segue.methods.sgdiff.checkpoint.save`."""
    names = {"classes": head.classes, "predicates": head.predicates, "width": head.width}
    write_checkpoint(folder, {"method": "relations", **names, "about": about or {}}, head.state_dict(), half=half)


def load_relations(folder: Path) -> RelationHead:
    """The head of a checkpoint folder, in eval mode. Raises InputError when it is incomplete or its files differ."""
    parts = {"classes": tuple[str, ...], "predicates": tuple[str, ...], "width": Positive}
    saved, tensors = read_config(folder, ["relations"], parts), read_tensors(folder)
    head = build(lambda: RelationHead(saved["classes"], saved["predicates"], saved["width"]), tensors, folder)
    fill_module(head, tensors, folder)
    return head.eval()
