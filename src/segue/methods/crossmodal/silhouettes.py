"""Silhouettes of things: the shapes that the cells of a layout are too coarse for.

A cell is one of a thousand codes, and a dog of three by four cells comes out as a rounded block. So a training keeps
masks of whole things, a few of each class, and a box is given one of like proportions. Nothing is learned here: it is
retrieval. A class is one of things when less than half of its parts touch the edge of their layout, as those of grass
and sky do. Of the others those with an uneven top, such as mountains, keep skylines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
COLUMNS = 64  # of a skyline
UNEVEN = 0.1  # a class's skylines are kept where their heights' mean standard deviation is this share or more
JOINED = 0.5  # of the width, up to which a gap between two boxes of a skyline is something that stands before it
PER_CLASS = 32
LOOKED_AT = 4000  # training layouts that are searched for whole things
NEAR = 3  # of so many that are nearest to a box's proportions one is drawn
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SilhouetteConfig:
    """count: how many silhouettes there are. skylines: how many skylines."""

    count: Annotated[int, Interval(ge=1, le=1_000_000)]
    skylines: Annotated[int, Interval(ge=0, le=1_000_000)] = 0


class Silhouettes(nn.Module):
    """N silhouettes and M skylines; a module so that they are stored with the model's weights.

    kinds: (N,) int64, positions of their classes. aspects: (N,) float32, log(width / height) of the things themselves.
    bits: (N, SIDE * SIDE / 8) uint8, the rows of their squares one after the other, as `numpy.packbits`.
    skyline_kinds: (M,) int64. skylines: (M, COLUMNS) uint8, heights from left to right, 255 the highest.
    """

    kinds: Tensor
    aspects: Tensor
    bits: Tensor
    skyline_kinds: Tensor
    skylines: Tensor

    def __init__(self, config: SilhouetteConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("kinds", torch.zeros(config.count, dtype=torch.int64))
        self.register_buffer("aspects", torch.zeros(config.count))
        self.register_buffer("bits", torch.zeros(config.count, SIDE * SIDE // 8, dtype=torch.uint8))
        m, stored = config.skylines, config.skylines > 0
        self.register_buffer("skyline_kinds", torch.zeros(m, dtype=torch.int64), persistent=stored)
        self.register_buffer("skylines", torch.zeros(m, COLUMNS, dtype=torch.uint8), persistent=stored)

    @staticmethod
    def collect(layouts: Labels, seed: int = 0) -> Silhouettes | None:
        """Those of layouts (N, H, W), up to PER_CLASS of a class, as they come in a random order; None without things.

        Taken are parts that don't touch the edge, and have no other thing in their box or at it that may hide them; and
        the skylines of parts from edge to edge that no thing hides.
        """
        order = np.random.default_rng(seed).permutation(len(layouts))[:LOOKED_AT]
        parts, at_edge = Counter[int](), Counter[int]()
        for place in order:
            for part in layout_parts(layouts[place]):
                parts[part.kind] += 1
                at_edge[part.kind] += _at_edge(part, layouts[place].shape)
        things = [kind for kind in parts if at_edge[kind] < parts[kind] / 2]
        found: dict[int, list[tuple[float, Mask]]] = {kind: [] for kind in sorted(things)}
        skylines: dict[int, list[Labels]] = {kind: [] for kind in sorted(parts) if kind not in things}
        for place in order:
            for part in layout_parts(layouts[place]):
                lines = skylines.get(part.kind)
                if lines is not None and len(lines) < PER_CLASS:
                    lines += _skyline(part, layouts[place], things)
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
        skylines = {kind: own for kind, own in skylines.items() if own and np.std(own, axis=1).mean() >= 255 * UNEVEN}
        made = Silhouettes(SilhouetteConfig(len(taken), sum(map(len, skylines.values()))))
        for i, (kind, line) in enumerate((kind, line) for kind, own in skylines.items() for line in own):
            made.skyline_kinds[i], made.skylines[i] = kind, torch.from_numpy(line)
        made.kinds.copy_(torch.tensor(kinds))
        made.aspects.copy_(torch.tensor(aspects))
        made.bits.copy_(torch.from_numpy(np.packbits(np.stack(masks).reshape(len(masks), -1), 1)))
        return made

    def paint(self, labels: Labels, boxes: NDArray[np.int64], bins: int, seed: int) -> Labels:
        """The layout (H, W) with a silhouette in each box (R, 5) of a class that has some, a later over an earlier one.

        What the layout had of things makes way for the boxes that span it from left to right, and elsewhere for what is
        next to it; then what has skylines gets one, of which a box has the columns that it is in. boxes: in `bins`,
        see `layout_boxes`. seed: of which silhouettes and skylines are taken.
        """
        spans = spans_width(boxes, bins)
        things = boxes[~spans & np.isin(boxes[:, 0], self.kinds.tolist())]
        height, width = labels.shape
        scale = np.array([width, height, width, height]) / bins
        behind: Labels = np.full(labels.shape, UNKNOWN, np.uint8)
        for kind, *edges in boxes[spans].tolist():
            behind[_inside(edges * scale)] = kind
        rng, painted, gone = np.random.default_rng(seed), labels.copy(), np.isin(labels, things[:, 0])
        if gone.any() and not gone.all():
            rows, columns = ndimage.distance_transform_edt(gone, return_distances=False, return_indices=True)
            painted = np.where(gone & (behind != UNKNOWN), behind, labels[rows, columns])
        for kind, *edges in _joined(boxes[np.isin(boxes[:, 0], self.skyline_kinds.tolist())], bins).tolist():
            self._cut(painted, kind, _inside(edges * scale), rng)
        for kind, *edges in things.tolist():
            inside = painted[_inside(edges * scale)]
            height, width = inside.shape
            inside[_stretched(self._drawn(kind, width / height, rng), height, width)] = kind
        return painted

    def _cut(self, labels: Labels, kind: int, where: tuple[slice, slice], rng: np.random.Generator) -> None:
        """Give what is of a class in a box a skyline, in place: between it and what most lies above the box."""
        rows, columns = where
        own = (self.skyline_kinds == kind).nonzero()[:, 0]
        line = self.skylines[own[int(rng.integers(len(own)))]].cpu().numpy()
        over = labels[: rows.start, columns]
        above = np.bincount(over[over != kind], minlength=1)
        if not above.any():
            return
        sky = above.argmax()
        at = np.linspace(0, COLUMNS - 1, labels.shape[1])[columns]
        heights = np.interp(at, np.arange(COLUMNS), line)
        height = rows.stop - rows.start
        ground = height - np.arange(height)[:, None] <= np.rint(heights / max(heights.max(), 1) * height)
        inside = labels[where]
        inside[(inside == kind) & ~ground] = sky
        inside[(inside == sky) & ground] = kind
        over[over == kind] = sky

    def _drawn(self, kind: int, aspect: float, rng: np.random.Generator) -> Mask:
        """(SIDE, SIDE): one of a class's silhouettes that are nearest to width / height, perhaps mirrored."""
        own = (self.kinds == kind).nonzero()[:, 0]
        nearest = (self.aspects[own] - log(aspect)).abs().argsort(stable=True)[:NEAR]
        bits = self.bits[own[nearest[int(rng.integers(len(nearest)))]]].cpu().numpy()
        mask = np.unpackbits(bits).reshape(SIDE, SIDE).astype(np.bool_)
        return mask[:, :: 1 if rng.random() < 0.5 else -1]


def _skyline(part: LayoutPart, layout: Labels, things: Sequence[int]) -> list[Labels]:
    """[(COLUMNS,) uint8], the skyline of a part from edge to edge; [] of others, and where a thing hides it."""
    rows, columns = part.where
    if rows.start == 0 or columns.stop - columns.start < layout.shape[1] or not part.mask.any(0).all():
        return []
    top = part.mask.argmax(0)
    heights = 1 - top / part.mask.shape[0]
    if np.isin(layout[rows.start + top - 1, np.arange(len(top))], things).any():
        return []
    at = np.linspace(0, len(heights) - 1, COLUMNS)
    return [np.rint(255 * np.interp(at, np.arange(len(heights)), heights)).astype(np.uint8)]


def _joined(boxes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Boxes (R, 5) of classes with skylines, from left to right; parts that a thing may stand between are one."""
    found = list[list[int]]()
    for kind, left, top, right, bottom in sorted(boxes.tolist(), key=lambda box: box[:2]):
        last = found[-1] if found else [UNKNOWN] * 5
        if last[0] == kind and left - last[3] <= JOINED * bins and top < last[4] and last[2] < bottom:
            found[-1] = [kind, last[1], min(top, last[2]), max(right, last[3]), max(bottom, last[4])]
        else:
            found.append([kind, left, top, right, bottom])
    return np.array(found, np.int64).reshape(-1, boxes.shape[1])


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
