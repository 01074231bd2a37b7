"""LViT, the rival that RecLMIS is compared with: a U-Net with a transformer beside each level that reads the note.

Paper: Z. Li et al., "LViT: Language meets Vision Transformer in Medical Image Segmentation". Code:
https://github.com/HUANGLIZI/LViT (MIT), read for facts; a test checks it against a plain re-implementation.
Here the words come from any of Segue's text encoders (theirs: BERT), the loss is the one of all our segmenters, and
what their network holds and never uses is left out (a quarter of its parameters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.text.contract import TextEncoder, TextFeatures
from segue.encoders.text.fixed import fixed_length
from segue.losses import segmentation_loss
from segue.methods.published_tensors import PublishedTensors
from segue.nn.norm import BatchNorm2d
from segue.nn.unet import PLAM, conv_norm
from segue.options import Positive, Share
from segue.types import InputError

LEVELS = 4  # with a transformer beside them


@dataclass(frozen=True)
class LViTConfig:
    """width: channels of the first level, doubled by each of the next three. image_size: the only one it takes.

    stride: of a patch of the first level, in pixels; every level has the same patches. tokens: length of every note.
    Raises InputError for sizes that do not divide each other.
    """

    width: Positive = 64
    image_size: Positive = 224
    stride: Positive = 16
    tokens: Positive = 10
    heads: Positive = 8
    dropout: Share = 0.1

    def __post_init__(self) -> None:
        if self.image_size % self.stride or self.image_size % 16 or self.stride % 8:
            raise InputError(
                f"image_size {self.image_size}, stride {self.stride}: expected a size that is a multiple of 16 and of "
                "the stride, and a stride that is a multiple of 8"
            )
        if self.width % self.heads:
            raise InputError(f"heads: got {self.heads}, expected a divisor of the width {self.width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four levels."""
        return tuple(self.width * 2**i for i in range(LEVELS))


class SelfAttention(nn.Module):
    """(B, N, C) -> the same, multi-head, each position attending to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """As above."""
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        attended: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return attended


class Block(nn.Module):
    """A pre-norm transformer layer, whose feed-forward net ends in a GELU too."""

    def __init__(self, width: int, config: LViTConfig) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(width, config.heads)
        activation = (nn.GELU(), nn.Dropout(config.dropout))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), *activation, nn.Linear(4 * width, width), *activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.attention(self.attention_norm(x))
        fed: Tensor = self.feed_forward(x)
        return x + fed


def mix_neighbours(c_in: int, c_out: int) -> nn.Sequential:
    """(B, c_in, N) -> (B, c_out, N): a convolution over three neighbours in the sequence, batch norm, ReLU."""
    return nn.Sequential(nn.Conv1d(c_in, c_out, 3, padding=1), nn.BatchNorm1d(c_out), nn.ReLU())


class LViT(nn.Module):
    """The same calls as `segue.methods.reclmis.model.RecLMIS`; a missing note is zeros. See `LViTConfig`."""

    reads_notes = True

    def __init__(self, config: LViTConfig, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.config, self.text_encoder = config, text_encoder
        widths, patches = config.widths, (config.image_size // config.stride) ** 2
        self.stem = conv_norm(3, widths[0])
        deeper = [*widths[1:], widths[-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), conv_norm(c_in, c_out), conv_norm(c_out, c_out))
            for c_in, c_out in zip(widths, deeper, strict=True)
        )
        narrower = [text_encoder.width, *widths[::-1]]
        self.text = nn.ModuleList(nn.Conv1d(c_in, c_out, 3, padding=1) for c_in, c_out in pairwise(narrower))
        self.note_to_patches = mix_neighbours(config.tokens, patches)
        cells = [config.stride // 2**i for i in range(LEVELS)]
        self.embed = nn.ModuleList(nn.Conv2d(w, w, cell, cell) for w, cell in zip(widths, cells, strict=True))
        self.positions = nn.ParameterList(nn.Parameter(torch.zeros(patches, w)) for w in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.ModuleList(Block(w, config) for w in widths)
        self.narrow = nn.ModuleList(mix_neighbours(w, w // 2) for w in widths[1:])
        self.up = nn.ModuleList(Block(w, config) for w in widths)
        self.halve = nn.ModuleList(mix_neighbours(2 * w, w) for w in widths[:-1])
        self.to_pixels = nn.ModuleList(nn.Sequential(nn.Conv2d(w, w, 1), BatchNorm2d(w), nn.ReLU()) for w in widths)
        self.plam = nn.ModuleList(PLAM(w, full=True) for w in widths)
        outs = [widths[0], *widths[:-1]]
        self.merge = nn.ModuleList(
            nn.Sequential(conv_norm(2 * w, out), conv_norm(out, out)) for w, out in zip(widths, outs, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    @property
    def stride(self) -> int:
        """Height and width of an input are `config.image_size`, a multiple of this."""
        return self.config.stride

    def forward(self, image: Tensor, notes: Sequence[str | None], encode: TextFeatures | None = None) -> Tensor:
        """image: (B, 3, S, S), S = config.image_size. Returns logits (B, 1, S, S)."""
        words, _ = fixed_length(self.text_encoder, notes, self.config.tokens, encode)
        levels = [self.stem(image)]
        for level in self.levels:
            levels.append(level(levels[-1]))
        tokens = self._read(levels, words.transpose(1, 2))
        side = self.config.image_size // self.config.stride
        x = levels[-1]
        for i in reversed(range(LEVELS)):
            read = F.interpolate(tokens[i].transpose(1, 2).unflatten(2, (side, side)), size=levels[i].shape[-2:])
            skip = self.plam[i](self.to_pixels[i](read) + levels[i])
            x = self.merge[i](torch.cat([skip, F.interpolate(x, scale_factor=2)], 1))
        logits: Tensor = self.head(x)
        return logits

    def _read(self, levels: Sequence[Tensor], words: Tensor) -> list[Tensor]:
        """Tokens (B, N, C_i) of each level. words: (B, D, L); only the first level sees them, the others by it."""
        for convolution in self.text:
            words = convolution(words)
        tokens: list[Tensor] = []
        for i, (embed, position, block) in enumerate(zip(self.embed, self.positions, self.down, strict=True)):
            x = self.dropout(embed(levels[i]).flatten(2).transpose(1, 2) + position)
            if i == 0:
                x = x + self.note_to_patches(words.transpose(1, 2))
            x = block(x)
            if i:
                x = torch.cat([self.narrow[i - 1](x.transpose(1, 2)).transpose(1, 2), tokens[-1]], 2)
            tokens.append(x)
        tokens[-1] = self.up[-1](tokens[-1])
        for i in reversed(range(LEVELS - 1)):
            from_below = self.halve[i](tokens[i + 1].transpose(1, 2)).transpose(1, 2)
            tokens[i] = self.up[i](tokens[i]) + from_below
        return tokens

    def training_step(self, batch: dict[str, Any], encode: TextFeatures | None = None) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S), mask (B, 1, S, S), note [B]. Returns "loss" and "segmentation"."""
        loss = segmentation_loss(self(batch["image"], batch["note"], encode), batch["mask"])
        return {"loss": loss, "segmentation": loss}


def from_released(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of an `LViT`, without its text encoder, from that of the authors' network.

    A convolution's bias goes into the running mean of its batch norm, which is exact. Raises KeyError for a tensor that
    is missing.
    """
    tensors = PublishedTensors(theirs)
    theirs, ours, copy, convolution = tensors.theirs, tensors.ours, tensors.copy, tensors.convolution

    def block(to: str, source: str) -> None:
        copy(f"{to}.attention_norm", f"{source}.norm1")
        copy(f"{to}.attention.qkv", f"{source}.attn.qkv")
        copy(f"{to}.attention.out", f"{source}.attn.proj")
        for place, name in ((0, "norm2"), (1, "mlp.fc1"), (4, "mlp.fc2")):
            copy(f"{to}.feed_forward.{place}", f"{source}.{name}")

    convolution("stem.0", "stem.1", "inc")
    for i in range(LEVELS):
        suffix = str(i) if i else ""
        down, up, merge = f"downVit{suffix}", f"upVit{suffix}", f"up{i + 1}"
        for j in range(2):
            convolution(f"levels.{i}.{j + 1}.0", f"levels.{i}.{j + 1}.1", f"down{i + 1}.nConvs.{j}")
            convolution(f"merge.{i}.{j}.0", f"merge.{i}.{j}.1", f"{merge}.nConvs.{j}")
        tensors.plam(f"plam.{i}", f"{merge}.pixModule")
        copy(f"text.{i}", f"text_module{LEVELS - i}")
        copy(f"embed.{i}", f"{down}.embeddings.patch_embeddings")
        ours[f"positions.{i}"] = theirs[f"{down}.embeddings.position_embeddings"][0]
        block(f"down.{i}", f"{down}.Encoder_blocks.0")
        block(f"up.{i}", f"{up}.Encoder_blocks.0")
        if i:
            convolution(f"narrow.{i - 1}.0", f"narrow.{i - 1}.1", f"{down}.CTBN", biased=True)
        if i < LEVELS - 1:
            convolution(f"halve.{i}.0", f"halve.{i}.1", f"{up}.CTBN2", biased=True)
        convolution(f"to_pixels.{i}.0", f"to_pixels.{i}.1", f"reconstruct{i + 1}", biased=True)
    convolution("note_to_patches.0", "note_to_patches.1", "downVit.CTBN3", biased=True)
    copy("head", "outc")
    return ours
