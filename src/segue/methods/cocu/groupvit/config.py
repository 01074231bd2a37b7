"""GroupViT's settings, and its sizes by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from segue.options import NonNegative, Positive, check_value
from segue.types import InputError

Activation = Literal["gelu", "quick_gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}


@dataclass(frozen=True)
class GroupViTConfig:
    """Everything that shapes the network; the defaults are the paper's, and the hub's.

    width, mlp, heads: of the vision model's layers; text_width, text_mlp, text_layers, text_heads: of the text model's.
    depths, group_tokens, output_groups: transformer layers, learned group tokens and resulting groups, by stage; a
    stage with 0 group tokens has layers only. image_size, patch: sides in pixels of the training pictures, on whose
    grid the positions are learned, and of a patch. token_mlp, channel_mlp: hidden sizes of the two MLPs of a grouping,
    in widths. drop_path: rate of the last layer, rising linearly from 0. vocabulary: number of tokens. max_tokens: of a
    text. bos, eos, pad: ids of the special tokens; eos = 2 means "the highest id of the text", as in the first CLIP
    checkpoints. projection: size of the joint space. logit_scale: log(1 / temperature) at the start. mean, std: of the
    pixels in [0, 1]. image_encoder: the dual encoder on whose frozen cells the groups stand, which embeds the texts,
    too: then `projection` is its width, a patch is a cell, `image_size` the grid's side, and there is no text model.
    Raises InputError for settings that don't fit each other.
    """

    width: Positive = 384
    mlp: Positive = 1536
    depths: tuple[NonNegative, ...] = (6, 3, 3)
    group_tokens: tuple[NonNegative, ...] = (64, 8, 0)
    output_groups: tuple[Positive, ...] = (64, 8, 8)
    heads: Positive = 6
    image_size: Annotated[int, Interval(ge=1, le=4096)] = 224
    patch: Annotated[int, Interval(ge=1, le=4096)] = 16
    activation: Activation = "gelu"
    assign_eps: Annotated[float, Interval(gt=0, le=1000)] = 1.0
    token_mlp: Annotated[float, Interval(gt=0, le=1000)] = 0.5
    channel_mlp: Annotated[float, Interval(gt=0, le=1000)] = 4.0
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    text_width: Positive = 256
    text_mlp: Positive = 1024
    text_layers: Positive = 12
    text_heads: Positive = 4
    text_activation: Activation = "quick_gelu"
    vocabulary: Annotated[int, Interval(ge=1, le=1_000_000)] = 49408
    max_tokens: Annotated[int, Interval(ge=3, le=4096)] = 77
    bos: int = 49406
    eos: int = 49407
    pad: int = 1
    projection: Positive = 256
    projection_hidden: Positive = 4096
    logit_scale: Annotated[float, Interval(ge=-20, le=20)] = 2.6592
    norm_eps: Annotated[float, Interval(gt=0, le=1)] = 1e-5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    image_encoder: str | None = None

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if not stages or len(self.group_tokens) != stages or len(self.output_groups) != stages:
            raise InputError(
                f"got {stages} depths, {len(self.group_tokens)} group_tokens and {len(self.output_groups)} "
                "output_groups, expected one of each for every stage"
            )
        for i in range(stages - 1):
            if self.group_tokens[i + 1] and self.group_tokens[i] != self.output_groups[i]:
                raise InputError(
                    f"stage {i}: got {self.group_tokens[i]} group tokens and {self.output_groups[i]} output groups, "
                    "expected as many of each, because the next stage's group tokens are projected from them"
                )
        for width, heads in ((self.width, self.heads), (self.text_width, self.text_heads)):
            if width % heads:
                raise InputError(f"width {width} is no multiple of {heads} heads; try width {heads * 64}")
        if self.image_size % self.patch:
            raise InputError(f"image_size {self.image_size} is no multiple of patch {self.patch}")
        if self.image_encoder is not None and self.patch != 1:
            raise InputError(f"image_encoder: its cells are the patches, so patch must be 1, got {self.patch}")
        for name in ("activation", "text_activation"):
            check_value(name, getattr(self, name), Activation)

    @property
    def channels(self) -> int:
        """Of what the patches are cut from: pixels, or cells in the joint space."""
        return 3 if self.image_encoder is None else self.projection


SIZES: dict[str, GroupViTConfig] = {
    "paper": GroupViTConfig(),
    "small": GroupViTConfig(
        width=96, mlp=384, depths=(2, 0), group_tokens=(8, 0), output_groups=(8, 8), heads=4,
        image_size=64, patch=8, drop_path=0.0, text_width=96, text_mlp=384, text_layers=2, text_heads=4,
        vocabulary=1024, max_tokens=32, bos=1, eos=3, pad=0, projection=96, projection_hidden=256,
    ),
    "scenes": GroupViTConfig(
        width=128, mlp=512, depths=(3, 2, 1), group_tokens=(24, 8, 0), output_groups=(24, 8, 8), heads=4,
        image_size=128, patch=8, text_width=128, text_mlp=512, text_layers=3, text_heads=4, vocabulary=1024,
        max_tokens=32, bos=1, eos=3, pad=0, projection=128, projection_hidden=512,
    ),
    "cells": GroupViTConfig(
        width=64, mlp=128, depths=(1, 0), group_tokens=(8, 0), output_groups=(8, 8), heads=4, image_size=13, patch=1,
        drop_path=0.0, projection_hidden=256, image_encoder="photos-encoder",
    ),
}  # fmt: skip
