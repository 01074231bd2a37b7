"""The networks of the photographs' describer: what its prefix is made of, and the masks.

Shapes: B prompts, N nodes of a prompt's graph, M captions near to the picture, D the dual encoder's width, W the
decoder's, T tokens of a name, P vectors of the prefix, L tokens of a caption, R boxes of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from segue.methods.sgdiff.mask_head import BOX_WIDTH, ResidualBlock, box_encoding, conv_norm, sample_boxes
from segue.nn.prefix_decoder import PrefixDecoder
from segue.options import MaxTokens, NonNegative, Positive
from segue.types import InputError

POINTS = 3  # a node's appearance is the mean over POINTS x POINTS places in its box


@dataclass(frozen=True)
class PhotoDescriberConfig:
    """Its sizes. Raises InputError where they don't go together.

    Attributes:
        encoder_width: D, of the dual encoder.
        neighbours: M, captions near to the picture whose features are read.
        levels: channels of the frozen feature maps, finest first.
        grid: the coarsest map is pooled to so many cells a side, each a vector of the prefix.
        max_nodes: N, the most nodes of a prompt, its own among them.
        width: W, of the decoder.
        layers: of the decoder.
        heads: of the decoder.
        max_tokens: the most tokens of a caption without its end.
        dropout: of the decoder.
        mask_channels: of the mask head, a multiple of 8.
        mask_side: a mask is computed on a grid of so many cells a side over its box and a margin.
    """

    encoder_width: Positive = 256
    neighbours: NonNegative = 16
    levels: tuple[Positive, ...] = (16, 24, 40, 112, 320)
    grid: Annotated[int, Interval(ge=1, le=32)] = 4
    max_nodes: MaxTokens = 12
    width: Positive = 256
    layers: Positive = 2
    heads: Positive = 4
    max_tokens: MaxTokens = 30
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    mask_channels: Positive = 32
    mask_side: Annotated[int, Interval(ge=4, le=256)] = 28

    def __post_init__(self) -> None:
        if self.width % self.heads or self.mask_channels % 8 or len(self.levels) < 2:
            raise InputError(
                f"width {self.width}, heads {self.heads}, mask_channels {self.mask_channels}, {len(self.levels)} "
                "levels: expected a width that is a multiple of heads, mask_channels of 8, and two levels or more"
            )

    @property
    def picture_vectors(self) -> int:
        """Rows of what is read of the whole picture: its projection on captions, itself, the captions near to it."""
        return 2 + self.neighbours

    @property
    def prefix_length(self) -> int:
        """P: the whole picture, the grid's cells, the nodes."""
        return self.picture_vectors + self.grid**2 + self.max_nodes


class PhotoDescriber(nn.Module):
    """Captions and masks of photographs. vocabulary: V, tokens of the tokenizer.

    A batch of prompts is a dict of tensors: picture (B, 2 + M, D): the projection on the captions, the picture's own
    feature, those of the captions near to it. grid (B, grid^2, C): the coarsest map, pooled. names (B, N, T) int64, -1
    for none: the tokens of each node's name, the prompt's node first. boxes (B, N, 4), fractions. appearance (B, N,
    C' + C): see `appearance`. relations (B, N, T') int64, -1 for none: how the prompt's node is related to each.
    node_mask (B, N) bool.
    """

    def __init__(self, config: PhotoDescriberConfig, vocabulary: int) -> None:
        super().__init__()
        c = self.config = config
        self.decoder = PrefixDecoder(
            vocabulary=vocabulary,
            width=c.width,
            layers=c.layers,
            heads=c.heads,
            positions=c.prefix_length + c.max_tokens + 1,
            dropout=c.dropout,
        )
        self.image_projection, self.feature_projection, self.neighbour_projection = (
            nn.Linear(c.encoder_width, c.width) for _ in range(3)
        )
        self.grid_projection = nn.Linear(c.levels[-1], c.width)
        self.name, self.relation = (nn.Linear(c.width, c.width, bias=False) for _ in range(2))
        self.box, self.appearance_projection = nn.Linear(BOX_WIDTH, c.width), nn.Linear(sum(c.levels[-2:]), c.width)
        self.no_node = nn.Parameter(torch.zeros(c.width))
        self.mask_head = RegionMaskHead(c.levels, c.mask_channels, c.width, c.mask_side)

    def prefix(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, P, W): the whole picture, the grid, the nodes; the prompt's node is the last."""
        picture = batch["picture"].float()
        whole = [
            self.image_projection(picture[:, :1]),
            self.feature_projection(picture[:, 1:2]),
            self.neighbour_projection(picture[:, 2:]),
        ]
        nodes = self.name(self.embed_names(batch["names"])) + self.relation(self.embed_names(batch["relations"]))
        nodes = nodes + self.box(box_encoding(batch["boxes"])) + self.appearance_projection(batch["appearance"].float())
        nodes = torch.where(batch["node_mask"][..., None], nodes, self.no_node)
        missing = self.config.max_nodes - nodes.shape[1]
        nodes = torch.cat([nodes, self.no_node.expand(len(nodes), missing, -1)], 1).flip(1)
        return torch.cat([*whole, self.grid_projection(batch["grid"].float()), nodes], 1)

    def embed_names(self, token_ids: Tensor) -> Tensor:
        """(..., T) int64 tokens, -1 for none -> (..., W): the mean of the decoder's embeddings, 0 without any."""
        real = (token_ids >= 0)[..., None]
        found: Tensor = (self.decoder.embed(token_ids.clamp_min(0)) * real).sum(-2) / real.sum(-2).clamp_min(1)
        return found

    def caption_loss(self, batch: dict[str, Tensor], label_smoothing: float) -> Tensor:
        """Cross-entropy of the captions of a batch with `tokens` (B, L) int64 and `real` (B, L) bool as well."""
        return self.decoder.loss(self.prefix(batch), batch["tokens"], batch["real"], label_smoothing=label_smoothing)


def pool_grid(coarsest: Tensor, side: int) -> Tensor:
    """(B, C, h, w) -> (B, side^2, C), row by row."""
    return F.adaptive_avg_pool2d(coarsest, side).flatten(2).transpose(1, 2)


def appearance(levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """The mean feature of each box in the two coarsest maps: (1, C, h, w) each, boxes (1, N, 4) -> (1, N, C' + C)."""
    sampled = (sample_boxes(level, boxes, POINTS).unflatten(-1, (-1, POINTS**2)).mean(-1) for level in levels[-2:])
    return torch.cat([*sampled], -1)


# --------------------------------------------------------------------------------------------------------- masks

MARGIN = 0.15  # of a box's sides, on each side of it, that its mask may use


def with_margin(boxes: Tensor) -> Tensor:
    """(..., 4) boxes grown by MARGIN on each side; they may leave the picture."""
    low, size = boxes[..., :2] - MARGIN * boxes[..., 2:], boxes[..., 2:] * (1 + 2 * MARGIN)
    return torch.cat([low, size], -1)


class RegionMaskHead(nn.Module):
    """The mask of what a box is around, on a grid over the box and a margin.

    Each level is sampled at the grid's places, reduced, and joined by the pixels' colours there, the places themselves
    and the object's name; residual convolutions follow.
    """

    def __init__(self, levels: Sequence[int], channels: int, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.reduce = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in levels)
        self.colour, self.name = nn.Conv2d(3 + 3, channels, 1), nn.Linear(width, channels)
        self.norm = nn.GroupNorm(8, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(3)))
        self.out = nn.Sequential(conv_norm(channels, channels), nn.Conv2d(channels, 1, 1))

    def forward(self, levels: Sequence[Tensor], pixels: Tensor, boxes: Tensor, names: Tensor) -> Tensor:
        """levels: (B, C, h, w) each. pixels: (B, 3, H, W) RGB. boxes: (B, R, 4) as fractions. names: (B, R, W).

        Returns logits (B, R, side, side) over `with_margin(boxes)`.
        """
        around, n = with_margin(boxes), self.side
        x = self.colour(self._places(sample_boxes(pixels, around, n), boxes))
        for level, reduce in zip(levels, self.reduce, strict=True):
            x = x + reduce(sample_boxes(level, around, n).reshape(-1, level.shape[1], n, n))
        x = x + self.name(names).flatten(0, 1)[..., None, None]
        logits: Tensor = self.out(self.body(F.relu(self.norm(x))))
        return logits.reshape(*boxes.shape[:2], n, n)

    def _places(self, colours: Tensor, boxes: Tensor) -> Tensor:
        """Colours (B, R, 3 n^2) with x, y from -1 to 1 and the distance outside the box: (B R, 6, n, n)."""
        n = self.side
        at = torch.linspace(-1, 1, n + 1, device=boxes.device)
        at = (at[1:] + at[:-1]) / 2
        x, y = at[None].expand(n, n), at[:, None].expand(n, n)
        outside = (torch.maximum(x.abs(), y.abs()) - 1 / (1 + 2 * MARGIN)).clamp_min(0) * 4
        places = torch.stack([x, y, outside]).expand(boxes.shape[0] * boxes.shape[1], -1, -1, -1)
        return torch.cat([colours.reshape(-1, 3, n, n), places], 1)
