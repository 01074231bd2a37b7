"""Silhouettes of things: the shapes that the cells of a layout are too coarse for.

A cell is one of a thousand codes, and a dog of three by four cells comes out as a rounded block. So a training keeps
masks of whole things, a few of each class, and a box is given one of like proportions. Nothing is learned here: it is
retrieval. A class is one of things when less than half of its parts touch the edge of their layout, as those of grass
and sky do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from segue.methods.crossmodal.boxes import UNKNOWN, LayoutPart, layout_parts, spans_width

SIDE = 24  # pixels of a silhouette's square, to which it is stretched
PER_CLASS = 32
LOOKED_AT = 4000  # training layouts that are searched for whole things
NEAR = 3  # of so many that are nearest to a box's proportions one is drawn
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SilhouetteConfig:
    """count: how many silhouettes there are."""

    count: Annotated[int, Interval(ge=1, le=1_000_000)]


class Silhouettes(nn.Module):
    """N silhouettes; a module so that they are stored with the model's weights.

    kinds: (N,) int64, positions of their classes. aspects: (N,) float32, log(width / height) of the things themselves.
    bits: (N, SIDE * SIDE / 8) uint8, the rows of their squares one after the other, as `numpy.packbits`.
    """

    kinds: Tensor
    aspects: Tensor
    bits: Tensor

    def __init__(self, config: SilhouetteConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("kinds", torch.zeros(config.count, dtype=torch.int64))
        self.register_buffer("aspects", torch.zeros(config.count))
        self.register_buffer("bits", torch.zeros(config.count, SIDE * SIDE // 8, dtype=torch.uint8))

    @staticmethod
    def collect(layouts: Labels, seed: int = 0) -> Silhouettes | None:
        """Those of layouts (N, H, W), up to PER_CLASS of a class, as they come in a random order; None without things.

        Taken are parts that don't touch the edge, and have no other thing in their box or at it that may hide them.
        """
        order = np.random.default_rng(seed).permutation(len(layouts))[:LOOKED_AT]
        parts, at_edge = Counter[int](), Counter[int]()
        for place in order:
            for part in layout_parts(layouts[place]):
                parts[part.kind] += 1
                at_edge[part.kind] += _at_edge(part, layouts[place].shape)
        things = [kind for kind in parts if at_edge[kind] < parts[kind] / 2]
        found: dict[int, list[tuple[float, Mask]]] = {kind: [] for kind in sorted(things)}
        for place in order:
            for part in layout_parts(layouts[place]):
                own = found.get(part.kind)
                if own is None or len(own) == PER_CLASS or _at_edge(part, layouts[place].shape):
                    continue
                mask, around = part.mask, tuple(slice(one.start - 1, one.stop + 1) for one in part.where)
                if not np.isin(layouts[place][around][~np.pad(mask, 1)], things).any():
                    own.append((log(mask.shape[1] / mask.shape[0]), _stretched(mask, SIDE, SIDE)))
        taken = [(kind, *one) for kind, own in found.items() for one in own]
        if not taken:
            return None
        kinds, aspects, masks = zip(*taken, strict=True)
        made = Silhouettes(SilhouetteConfig(len(taken)))
        made.kinds.copy_(torch.tensor(kinds))
        made.aspects.copy_(torch.tensor(aspects))
        made.bits.copy_(torch.from_numpy(np.packbits(np.stack(masks).reshape(len(masks), -1), 1)))
        return made

    def paint(self, labels: Labels, boxes: NDArray[np.int64], bins: int, seed: int) -> Labels:
        """The layout (H, W) with a silhouette in each box (R, 5) of a class that has some, a later over an earlier one.

        What the layout had of these classes makes way for the boxes that span it from left to right, and elsewhere for
        what is next to it. boxes: in `bins`, see `layout_boxes`. seed: of which silhouettes are taken.
        """
        spans = spans_width(boxes, bins)
        things = boxes[~spans & np.isin(boxes[:, 0], self.kinds.tolist())]
        height, width = labels.shape
        scale = np.array([width, height, width, height]) / bins
        behind: Labels = np.full(labels.shape, UNKNOWN, np.uint8)
        for kind, *edges in boxes[spans].tolist():
            behind[_inside(edges * scale)] = kind
        gone, painted, rng = np.isin(labels, things[:, 0]), labels.copy(), np.random.default_rng(seed)
        if gone.any() and not gone.all():
            rows, columns = ndimage.distance_transform_edt(gone, return_distances=False, return_indices=True)
            painted = np.where(gone & (behind != UNKNOWN), behind, labels[rows, columns])
        for kind, *edges in things.tolist():
            inside = painted[_inside(edges * scale)]
            height, width = inside.shape
            inside[_stretched(self._drawn(kind, width / height, rng), height, width)] = kind
        return painted

    def _drawn(self, kind: int, aspect: float, rng: np.random.Generator) -> Mask:
        """(SIDE, SIDE): one of a class's silhouettes that are nearest to width / height, perhaps mirrored."""
        own = (self.kinds == kind).nonzero()[:, 0]
        nearest = (self.aspects[own] - log(aspect)).abs().argsort(stable=True)[:NEAR]
        bits = self.bits[own[nearest[int(rng.integers(len(nearest)))]]].cpu().numpy()
        mask = np.unpackbits(bits).reshape(SIDE, SIDE).astype(np.bool_)
        return mask[:, :: 1 if rng.random() < 0.5 else -1]


def _at_edge(part: LayoutPart, shape: tuple[int, ...]) -> bool:
    return any(one.start == 0 or one.stop == side for one, side in zip(part.where, shape, strict=True))


def _stretched(mask: Mask, height: int, width: int) -> Mask:
    """(H, W) -> (height, width)."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    resample = Image.Resampling.BOX if mask.shape[0] > height else Image.Resampling.BILINEAR
    return np.asarray(grey.resize((width, height), resample)) >= 128


def _inside(edges: NDArray[np.float64]) -> tuple[slice, slice]:
    left, top, right, bottom = np.rint(edges).astype(int).tolist()
    return slice(top, bottom), slice(left, right)
