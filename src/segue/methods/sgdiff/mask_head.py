"""Masks after Mask2Former: a backbone and a pixel decoder that run once a picture, and queries from the graph.

Where we differ: a small convolutional backbone (the paper has Swin); the pixel embeddings are as fine as stride 2, for
pictures of 128 pixels; queries are Linear(h_g) with the node's box as position, and each is matched to its node, so
there is neither a class head nor a matching by masks; a learned slope lowers the logits outside the node's box; the
first layer of masked attention looks inside the box.

Shapes: B pictures, R rows of N queries; D = width, C = channels of the pixel embeddings. Every picture has the same
number of rows, next to each other. Queries don't attend to each other, so the rows of a picture are joined to one row
of (R / B) N queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.sgdiff.transformer import Attention, sinusoidal_encoding

BOX_OCTAVES = 6
BOX_WIDTH = 4 * 2 * BOX_OCTAVES  # numbers in the encoding of a box


def box_encoding(boxes: Tensor) -> Tensor:
    """(..., 4) boxes as fractions of the picture -> (..., BOX_WIDTH)."""
    return sinusoidal_encoding(boxes, BOX_OCTAVES)


def conv_norm(c_in: int, c_out: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """Convolution, group norm, ReLU."""
    convolution = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, c_out), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
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
            nn.Sequential(conv_norm(c_in, c_out, 2), ResidualBlock(c_out)) for c_in, c_out in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Finest level first."""
        levels = [self.stem(image)]
        for level in self.levels:
            levels.append(level(levels[-1]))
        return levels


def sample_boxes(level: Tensor, boxes: Tensor, points: int) -> Tensor:
    """Features at points x points places of each box: (B, C, h, w), (R, N, 4) -> (R, N, C points^2).

    boxes: x, y, width, height as fractions of the picture.
    """
    rows = len(boxes)
    boxes = join_rows(boxes, len(level))
    part = (torch.arange(points, device=boxes.device) + 0.5) / points
    x = boxes[..., None, 0] + boxes[..., None, 2] * part  # (R, N, points)
    y = boxes[..., None, 1] + boxes[..., None, 3] * part
    grid = torch.stack([x[..., None, :].expand(-1, -1, points, -1), y[..., None].expand(-1, -1, -1, points)], -1)
    sampled = F.grid_sample(level, grid.flatten(1, 2) * 2 - 1, align_corners=False)
    return separate_rows(sampled.unflatten(2, (-1, points)).permute(0, 2, 1, 3, 4).flatten(2), rows)


def join_rows(x: Tensor, pictures: int) -> Tensor:
    """(R, N, ...) -> (B, R / B N, ...): the rows of each of B pictures as one."""
    return x.reshape(pictures, -1, *x.shape[2:])


def separate_rows(x: Tensor, rows: int) -> Tensor:
    """The inverse of `join_rows`: (B, R / B N, ...) -> (R, N, ...)."""
    return x.reshape(rows, -1, *x.shape[2:])


class PixelFeatures(NamedTuple):
    """Features for the mask head: pixel embeddings (B, C, h, w), and memories for the queries, coarse first."""

    embedding: Tensor
    memories: list[Tensor]


class PixelDecoder(nn.Module):
    """Levels -> pixel embeddings at the finest level, and a memory of each of the two coarsest levels, (B, D, h, w).

    The finest level, whose convolution costs as much as all others, has half of the channels.
    """

    def __init__(self, widths: Sequence[int], width: int, channels: int) -> None:
        super().__init__()
        outs = [channels] * (len(widths) - 1) + [channels // 2]  # coarsest first
        self.lateral = nn.ModuleList(nn.Conv2d(c, out, 1) for c, out in zip(widths[::-1], outs, strict=True))
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.smooth = nn.ModuleList(conv_norm(out, out) for out in outs[1:])
        self.memories = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in range(2))
        self.coarse_position = nn.Conv2d(4 * BOX_OCTAVES, channels, 1)
        self.fine_position = nn.Conv2d(4 * BOX_OCTAVES, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels // 2, 1)

    def forward(self, levels: Sequence[Tensor]) -> PixelFeatures:
        """levels: finest first."""
        x = self.lateral[0](levels[-1]) + self.coarse_position(_position_encoding(levels[-1]))
        outputs = [x]
        for i, smooth in enumerate(self.smooth, 1):
            level, x = levels[-1 - i], self.reduce(x) if i == len(self.smooth) else x
            x = smooth(self.lateral[i](level) + F.interpolate(x, size=level.shape[-2:], mode="nearest"))
            outputs.append(x)
        embedding = self.out(x + self.fine_position(_position_encoding(x)))
        return PixelFeatures(embedding, [f(y) for f, y in zip(self.memories, outputs, strict=False)])


def _position_encoding(like: Tensor) -> Tensor:
    """(1, 4 BOX_OCTAVES, h, w): the encoded position of each cell."""
    h, w = like.shape[-2:]
    y, x = ((torch.arange(n, device=like.device) + 0.5) / n for n in (h, w))
    grid = torch.stack([x[None].expand(h, w), y[:, None].expand(h, w)], -1)
    return sinusoidal_encoding(grid, BOX_OCTAVES).permute(2, 0, 1)[None]


class QueryLayer(nn.Module):
    """Masked cross-attention of the queries to one memory, and a feed-forward network."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.norm, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def forward(self, x: Tensor, position: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """x, position: (B, Q, D). memory: (B, M, D). mask: (B, Q, M) bool, where to attend; where all False, to all."""
        mask = mask | ~mask.any(-1, keepdim=True)
        x = x + self.cross_attention(self.norm(x) + position, memory, mask[:, None])
        result: Tensor = x + self.feed_forward(x)
        return result


class MaskOutput(NamedTuple):
    """logits: (R, N, h, w) after each layer, best last. queries: (R, N, D) after the last, Mask2Former's embeddings."""

    logits: list[Tensor]
    queries: Tensor


class MaskHead(nn.Module):
    """h_g of the nodes and their boxes -> masks of each node, one set after each layer."""

    def __init__(self, *, width: int, heads: int, feed_forward: int, channels: int) -> None:
        super().__init__()
        self.query, self.position = nn.Linear(width, width), nn.Linear(BOX_WIDTH, width)
        self.layers = nn.ModuleList(QueryLayer(width, heads, feed_forward) for _ in range(2))
        self.mask_embedding = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, channels // 2 + 1)
        )
        self.log_slope = nn.Parameter(torch.tensor(3.0))

    def forward(self, h: Tensor, boxes: Tensor, pixels: PixelFeatures) -> MaskOutput:
        """h: (R, N, D). boxes: (R, N, 4), fractions."""
        rows, pictures = len(h), len(pixels.embedding)
        h, boxes = join_rows(h, pictures), join_rows(boxes, pictures)
        x, position = self.query(h), self.position(box_encoding(boxes))
        outside = _distance_outside(boxes, pixels.embedding)
        mask, logits = outside <= 0, []
        for layer, memory in zip(self.layers, pixels.memories, strict=True):
            x = layer(x, position, memory.flatten(2).transpose(1, 2), _coarse_mask(mask, memory))
            logits.append(self._mask_logits(x, pixels.embedding) - self.log_slope.exp() * outside)
            mask = logits[-1].detach() >= 0
        return MaskOutput([separate_rows(each, rows) for each in logits], separate_rows(x, rows))

    def _mask_logits(self, x: Tensor, embedding: Tensor) -> Tensor:
        query, bias = self.mask_embedding(x).split([embedding.shape[1], 1], -1)
        flat: Tensor = query @ embedding.flatten(2) * embedding.shape[1] ** -0.5 + bias
        result: Tensor = flat.unflatten(-1, embedding.shape[-2:])
        return result


def _distance_outside(boxes: Tensor, like: Tensor) -> Tensor:
    """(B, Q, h, w): how far each pixel is outside each box, as a fraction of the picture; 0 inside."""
    h, w = like.shape[-2:]
    y, x = ((torch.arange(n, device=boxes.device) + 0.5) / n for n in (h, w))
    low, high = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
    dx = (torch.maximum(low[..., :1] - x, x - high[..., :1])).clamp_min(0)
    dy = (torch.maximum(low[..., 1:] - y, y - high[..., 1:])).clamp_min(0)
    return dx[:, :, None] + dy[..., None]


def _coarse_mask(mask: Tensor, memory: Tensor) -> Tensor:
    """(B, Q, h, w) bool -> (B, Q, M) on the memory's coarser grid: True where any pixel of the cell is."""
    return F.adaptive_max_pool2d(mask.float(), memory.shape[-2:]).flatten(2) > 0
