"""Masks after Mask2Former: a backbone and a pixel decoder that run once a picture, and queries from the graph.

Where we differ: a small convolutional backbone (the paper has Swin); the pixel embeddings are as fine as stride 2, for
pictures of 128 pixels; queries are Linear(h_g) with the node's box as position, and each is matched to its node, so
there is neither a class head nor a matching by masks; a learned slope lowers the logits outside the node's box; the
first layer of masked attention looks inside the box.

Shapes: B pictures, R rows of N queries, as many of every picture and one picture's after the other; D = width,
C = pixels' channels. A picture's rows look at it together, as one row of (R / B) N queries: a query sees no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.sgdiff.transformer import Attention, sine_code

BOX_OCTAVES = 6
BOX_CODE = 4 * 2 * BOX_OCTAVES


def box_code(boxes: Tensor) -> Tensor:
    """(..., 4) boxes as fractions of the picture -> (..., BOX_CODE)."""
    return sine_code(boxes, BOX_OCTAVES)


def conv_norm(c_in: int, c_out: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """Convolution, group norm, ReLU."""
    convolution = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, c_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(8, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return F.relu(x + self.second(self.first(x)))


class Backbone(nn.Module):
    """(B, 3, H, W) -> four levels of strides 2, 4, 8, 16 with widths[i] channels."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv_norm(3, widths[0], 2)
        self.levels = nn.ModuleList(
            nn.Sequential(conv_norm(c_in, c_out, 2), Residual(c_out)) for c_in, c_out in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Finest level first."""
        levels = [self.stem(image)]
        for level in self.levels:
            levels.append(level(levels[-1]))
        return levels


def look_at(level: Tensor, boxes: Tensor, points: int) -> Tensor:
    """What a level shows at points x points places of each box: (B, C, h, w), (R, N, 4) -> (R, N, C points^2).

    boxes: x, y, width, height as fractions of the picture.
    """
    rows = len(boxes)
    boxes = together(boxes, len(level))
    part = (torch.arange(points, device=boxes.device) + 0.5) / points
    x = boxes[..., None, 0] + boxes[..., None, 2] * part  # (R, N, points)
    y = boxes[..., None, 1] + boxes[..., None, 3] * part
    grid = torch.stack([x[..., None, :].expand(-1, -1, points, -1), y[..., None].expand(-1, -1, -1, points)], -1)
    seen = F.grid_sample(level, grid.flatten(1, 2) * 2 - 1, align_corners=False)
    return apart(seen.unflatten(2, (-1, points)).permute(0, 2, 1, 3, 4).flatten(2), rows)


def together(x: Tensor, pictures: int) -> Tensor:
    """(R, N, ...) -> (B, R / B N, ...): the rows of each of B pictures as one."""
    return x.reshape(pictures, -1, *x.shape[2:])


def apart(x: Tensor, rows: int) -> Tensor:
    """The way back: (B, R / B N, ...) -> (R, N, ...)."""
    return x.reshape(rows, -1, *x.shape[2:])


class Pixels(NamedTuple):
    """What the mask head needs of a picture: pixel embeddings (B, C, h, w); memories for the queries, coarse first."""

    embedding: Tensor
    memories: list[Tensor]


class PixelDecoder(nn.Module):
    """Levels -> pixel embeddings at the finest level, and a memory of each of the two coarsest levels, (B, D, h, w).

    The finest level, whose convolution costs as much as all others, has half of the channels.
    """

    def __init__(self, widths: Sequence[int], width: int, channels: int) -> None:
        super().__init__()
        outs = [channels] * (len(widths) - 1) + [channels // 2]  # coarsest first
        self.sides = nn.ModuleList(nn.Conv2d(c, out, 1) for c, out in zip(widths[::-1], outs, strict=True))
        self.narrow = nn.Conv2d(channels, channels // 2, 1)
        self.merge = nn.ModuleList(conv_norm(out, out) for out in outs[1:])
        self.memories = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in range(2))
        self.place_coarse = nn.Conv2d(4 * BOX_OCTAVES, channels, 1)
        self.place_fine = nn.Conv2d(4 * BOX_OCTAVES, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels // 2, 1)

    def forward(self, levels: Sequence[Tensor]) -> Pixels:
        """levels: finest first."""
        x = self.sides[0](levels[-1]) + self.place_coarse(_places(levels[-1]))
        found = [x]
        for i, merge in enumerate(self.merge, 1):
            level, x = levels[-1 - i], self.narrow(x) if i == len(self.merge) else x
            x = merge(self.sides[i](level) + F.interpolate(x, size=level.shape[-2:], mode="nearest"))
            found.append(x)
        embedding = self.out(x + self.place_fine(_places(x)))
        return Pixels(embedding, [f(y) for f, y in zip(self.memories, found, strict=False)])


def _places(like: Tensor) -> Tensor:
    """(1, 4 BOX_OCTAVES, h, w): where each cell is."""
    h, w = like.shape[-2:]
    y, x = ((torch.arange(n, device=like.device) + 0.5) / n for n in (h, w))
    grid = torch.stack([x[None].expand(h, w), y[:, None].expand(h, w)], -1)
    return sine_code(grid, BOX_OCTAVES).permute(2, 0, 1)[None]


class QueryLayer(nn.Module):
    """Masked attention of the queries to one memory, and a feed-forward network."""

    def __init__(self, width: int, heads: int, feed: int) -> None:
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), Attention(width, heads)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, feed), nn.GELU(), nn.Linear(feed, width))

    def forward(self, x: Tensor, position: Tensor, memory: Tensor, allowed: Tensor) -> Tensor:
        """x, position: (B, Q, D). memory: (B, M, D). allowed: (B, Q, M) bool; where all are False, all."""
        allowed = allowed | ~allowed.any(-1, keepdim=True)
        x = x + self.attend(self.norm(x) + position, memory, allowed[:, None])
        return x + self.feed(x)


class MaskHead(nn.Module):
    """h_g of the nodes and their boxes -> mask logits of each node, one set after each layer."""

    def __init__(self, *, width: int, heads: int, feed: int, channels: int) -> None:
        super().__init__()
        self.query, self.position = nn.Linear(width, width), nn.Linear(BOX_CODE, width)
        self.layers = nn.ModuleList(QueryLayer(width, heads, feed) for _ in range(2))
        self.embed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, channels // 2 + 1)
        )
        self.slope = nn.Parameter(torch.tensor(3.0))

    def forward(self, h: Tensor, boxes: Tensor, pixels: Pixels) -> list[Tensor]:
        """h: (R, N, D). boxes: (R, N, 4), fractions. Returns logits (R, N, h, w) after each layer, best last."""
        rows, pictures = len(h), len(pixels.embedding)
        h, boxes = together(h, pictures), together(boxes, pictures)
        x, position = self.query(h), self.position(box_code(boxes))
        outside = _distance_outside(boxes, pixels.embedding)
        allowed, found = outside <= 0, []
        for layer, memory in zip(self.layers, pixels.memories, strict=True):
            x = layer(x, position, memory.flatten(2).transpose(1, 2), _shrunk(allowed, memory))
            found.append(self._masks(x, pixels.embedding) - self.slope.exp() * outside)
            allowed = found[-1].detach() >= 0
        return [apart(logits, rows) for logits in found]

    def _masks(self, x: Tensor, embedding: Tensor) -> Tensor:
        query, bias = self.embed(x).split([embedding.shape[1], 1], -1)
        flat = query @ embedding.flatten(2) * embedding.shape[1] ** -0.5 + bias
        return flat.unflatten(-1, embedding.shape[-2:])


def _distance_outside(boxes: Tensor, like: Tensor) -> Tensor:
    """(B, Q, h, w): how far each pixel is outside each box, as a fraction of the picture; 0 inside."""
    h, w = like.shape[-2:]
    y, x = ((torch.arange(n, device=boxes.device) + 0.5) / n for n in (h, w))
    low, high = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
    dx = (torch.maximum(low[..., :1] - x, x - high[..., :1])).clamp_min(0)
    dy = (torch.maximum(low[..., 1:] - y, y - high[..., 1:])).clamp_min(0)
    return dx[:, :, None] + dy[..., None]


def _shrunk(allowed: Tensor, memory: Tensor) -> Tensor:
    """(B, Q, h, w) bool -> (B, Q, M) on the memory's coarser grid: True where any pixel of the cell is."""
    return F.adaptive_max_pool2d(allowed.float(), memory.shape[-2:]).flatten(2) > 0


def mask_losses(logits: Sequence[Tensor], masks: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and dice of the masks that are known, the mean over layers.

    logits: (B, N, h, w) of each layer. masks: (B, N, h, w), in [0, 1]. known: (B, N) bool.
    """
    truth = masks[known].float().flatten(1)
    if not len(truth):
        return logits[-1].sum() * 0, logits[-1].sum() * 0
    cross, dice = [], []
    for layer in logits:
        guess = layer[known].flatten(1)
        cross.append(F.binary_cross_entropy_with_logits(guess, truth))
        p = guess.sigmoid()
        dice.append((1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).mean())
    return torch.stack(cross).mean(), torch.stack(dice).mean()
