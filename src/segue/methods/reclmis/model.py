"""RecLMIS: segment what a medical note describes (note-guided segmentation).

Paper: X. Huang et al., "Cross-Modal Conditioned Reconstruction for Language-guided Medical Image Segmentation".
The equation numbers below are the paper's. B images, N patches (row-major), L words (tokens), C channels.
A `mask` or `word_mask` (B, L) is True on words and False on padding.

Where we differ, and why:
- The image branch attends to the words as the text encoder gives them (Eq. 1), not to words that attended to the
  image before; so the vision-to-text branch and both reconstructors are absent at inference, not merely unused.
- Eq. 6 as printed cancels its temperature: see `segue.losses.contrastive_loss`.
- The reconstructions' targets have no gradient: features are not pulled towards their own reconstruction.
- Padded words are masked everywhere, and self-attention, where an ablation asks for it, is not causal.
- A learned vector (null text) replaces the note where there is none, and training drops some notes (text dropout).
- The `segue` size has a strided stem, strided convolutions for pooling, a light PLAM, positions on the patches and a
  sub-pixel last layer; `results/reclmis_pareto.csv` is the measurement behind it.
Not verified: the paper's figures on QaTa-COV19 and MosMedData+, which need the data and days of GPU time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.data.medical.notes import ZONES, invent_note, parse_note
from segue.encoders.image.pyramid import FeaturePyramid
from segue.encoders.text.contract import TextEncoder, TextFeatures
from segue.losses import conditioned_similarity, contrastive_loss, reconstruction_loss, segmentation_loss
from segue.methods.reclmis.config import RecLMISConfig
from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.nn.positions import sine_positions
from segue.nn.unet import PLAM, conv_norm
from segue.types import InputError

Parts = Literal["inference", "attribution", "training"]
SIDES = 2
PLACES = [(side, zone) for side in ("left", "right") for zone in ZONES]
TRAINING_PARTS = ("conditions.", "vision_reconstructor.", "language_reconstructor.")  # which inference doesn't need


def build_reclmis(
    config: RecLMISConfig,
    text: TextEncoder | None,
    parts: Parts = "training",
    vision: FeaturePyramid | None = None,
) -> RecLMIS:
    """The whole model, put together here. text: the text encoder; None for a model that reads no notes (text-blind).

    vision: a pretrained encoder in the place of the convolutions that are trained from scratch.
    parts: "inference" leaves out what only training needs; "attribution" keeps W_poi and W_woi, which
    `RecLMIS.condition_weights` shows.
    """
    interacts, width = config.interacts, config.widths[-1]
    text = text if config.interaction != "none" else None
    training = interacts and parts == "training"
    return RecLMIS(
        config=config,
        encoder=Encoder(config) if vision is None else PretrainedEncoder(config, vision),
        decoder=Decoder(config),
        text_encoder=text,
        word_projection=None if text is None else WordProjection(text.width, width if interacts else config.widths[0]),
        cross_attention=Attention(width, config.heads) if interacts else None,
        zones=LungZones(width) if interacts and config.zones else None,
        conditions=Conditions(config) if config.has_conditions and parts != "inference" else None,
        vision_reconstructor=Reconstructor(config) if training and config.cvr else None,
        language_reconstructor=Reconstructor(config) if training and config.clr else None,
    )


class Encoder(nn.Module):
    """(B, 3, H, W) -> features of every level, finest first; level i has stride stem_stride * 2^i."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        kind, first = config.convolution, config.widths[0]
        stem = [conv_norm(3, first, config.stem_stride)]
        if config.stem_stride == 2:  # the paper's stem is one convolution; after a strided one comes a second
            stem.append(conv_norm(first, first, 1, kind))
        self.stem = nn.Sequential(*stem)
        strided = config.pooling == "stride"
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Identity() if strided else nn.MaxPool2d(2),
                conv_norm(c_in, c_out, 2 if strided else 1, kind),
                conv_norm(c_out, c_out, 1, kind),
            )
            for c_in, c_out in zip(config.widths, config.widths[1:], strict=False)
        )

    def maps(self, image: Tensor) -> list[Tensor]:
        """What is read of a picture alone: the levels without a text."""
        levels: list[Tensor] = self(image)
        return levels

    def forward(
        self, image: Tensor, text: Tensor | None = None, maps: Sequence[Tensor] | None = None
    ) -> Sequence[Tensor]:
        """The features of every level, (B, widths[i], h, w). text: (B, widths[0]), added to the first: early fusion.

        maps: of the picture, where they are known.
        """
        if maps is not None and text is None:
            return maps
        first: Tensor = self.stem(image)
        levels = [first if text is None else first + text[..., None, None]]
        for level in self.levels:
            levels.append(level(levels[-1]))
        return levels


class PretrainedEncoder(nn.Module):
    """As `Encoder`, from a pretrained pyramid: for each level its map of the nearest stride, projected to the width."""

    def __init__(self, config: RecLMISConfig, pyramid: FeaturePyramid) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.strides = [config.stem_stride * 2**level for level in range(len(config.widths))]
        self.sources = [
            min(range(len(pyramid.strides)), key=lambda i: abs(math.log2(pyramid.strides[i] / stride)))
            for stride in self.strides
        ]
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(pyramid.widths[source], width, 1, bias=False), BatchNorm2d(width))
            for source, width in zip(self.sources, config.widths, strict=True)
        )

    def maps(self, image: Tensor) -> list[Tensor]:
        """See `Encoder.maps`: those of the pyramid."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.pyramid.frozen):
            maps: list[Tensor] = self.pyramid(image)
        return maps

    def forward(
        self, image: Tensor, text: Tensor | None = None, maps: Sequence[Tensor] | None = None
    ) -> Sequence[Tensor]:
        """See `Encoder.forward`."""
        maps = self.maps(image) if maps is None else maps
        levels = [
            _on_stride(project(maps[source]), image, stride)
            for project, source, stride in zip(self.project, self.sources, self.strides, strict=True)
        ]
        if text is not None:
            levels[0] = levels[0] + text[..., None, None]
        return levels


def _on_stride(x: Tensor, image: Tensor, stride: int) -> Tensor:
    size = (image.shape[-2] // stride, image.shape[-1] // stride)
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """Levels, finest first, the last one conditioned on the note -> logits (B, 1, H, W) on the image's grid."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        skips = config.widths[-2::-1]  # coarsest skip first
        outs = [*skips[1:], skips[-1]] if config.stem_stride == 1 else list(skips)
        ins = [config.widths[-1], *outs[:-1]]
        self.plam = nn.ModuleList(
            nn.Identity() if config.plam == "none" else PLAM(skip, config.plam == "full") for skip in skips
        )
        self.merge = nn.ModuleList(
            nn.Sequential(
                conv_norm(skip + c_in, c_out, 1, config.convolution),
                conv_norm(c_out, c_out, 1, config.convolution),
            )
            for skip, c_in, c_out in zip(skips, ins, outs, strict=True)
        )
        self.head = nn.Conv2d(outs[-1], config.stem_stride**2, 1)
        self.to_pixels = nn.PixelShuffle(config.stem_stride)  # each cell predicts the pixels that it covers

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """From the coarsest level up, each skip through its PLAM."""
        x = levels[-1]
        for skip, plam, merge in zip(levels[-2::-1], self.plam, self.merge, strict=True):
            x = merge(torch.cat([plam(skip), F.interpolate(x, size=skip.shape[-2:], mode="nearest")], 1))
        logits: Tensor = self.to_pixels(self.head(x))
        return logits


class WordProjection(nn.Module):
    """The text encoder's (B, L, width) -> (B, L, C) by a convolution over three neighbouring words.

    null_text: (width,), learned; it takes the place of the words of a note that is not there.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(width, channels, 3, padding=1)
        self.null_text = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """features: (B, L, width). mask: (B, L) bool; padding stays zero. Returns (B, L, C)."""
        projected: Tensor = self.project(features.transpose(1, 2))
        return projected.transpose(1, 2) * mask[..., None]


class LungZones(nn.Module):
    """The zones of the lungs that a note names, read from its words, and what they add to the patches there.

    Six: upper, middle and lower of the patient's left, then right lung. A patch is told of its own side's three; where
    on the side they lie it learns. Not in the paper: from a few dozen notes attention alone hardly learns places.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = nn.Linear(channels, SIDES * len(ZONES))
        self.told = nn.Sequential(nn.Linear(len(ZONES), 64), nn.SiLU(), nn.Linear(64, channels))

    def logits(self, e: Tensor, word_mask: Tensor) -> Tensor:
        """Words e (B, L, C) -> (B, 6): of the word that says so most."""
        read: Tensor = self.read(e).masked_fill(~word_mask[..., None], torch.finfo(e.dtype).min)
        return read.amax(1)

    def forward(self, e: Tensor, word_mask: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, C), for the patches of the grid. The patient's left is the picture's right."""
        left, right = self.logits(e, word_mask).detach().sigmoid().chunk(SIDES, 1)  # what is read is taught by the loss
        x = (torch.arange(grid[1], device=e.device) + 0.5) / grid[1]
        share = (x > 0.5).to(left) + 0.5 * (x == 0.5).to(left)  # of the patient's left
        told: Tensor = self.told(left[:, None] * share[:, None] + right[:, None] * (1 - share[:, None]))  # (B, w, C)
        return told[:, None].expand(-1, grid[0], -1, -1).flatten(1, 2)

    def loss(self, e: Tensor, word_mask: Tensor, notes: Sequence[str | None]) -> Tensor:
        """Cross-entropy of what is read with what `parse_note` finds; notes in other words count nothing."""
        named = [named_places(note) for note in notes]
        counted = torch.tensor([note is None or any(one) for note, one in zip(notes, named, strict=True)])
        target = torch.tensor(named, device=e.device).float()
        losses = F.binary_cross_entropy_with_logits(self.logits(e, word_mask).float(), target, reduction="none").mean(1)
        counted = counted.to(losses)
        return (losses * counted).sum() / counted.sum().clamp_min(1)


def named_places(note: str | None) -> list[bool]:
    """Which of PLACES a lung note names, by `parse_note`; none where it names none, or there is no note."""
    claims = None if note is None else parse_note(note)
    zones = {} if claims is None else claims.zones()
    return [zone in zones.get(side, ()) for side, zone in PLACES]


class Attention(nn.Module):
    """Multi-head attention, Eq. 1, with an optional condition on the keys, Eq. 7 and 9.

    query: (B, Q, C). memory: (B, K, C), keys and values. mask: (B, K) bool, True on keys that count. condition: (B, K),
    W_poi or W_woi. Returns (B, Q, C), without the residual.
    """

    def __init__(self, channels: int, heads: int, order: str = "renormalised") -> None:
        super().__init__()
        self.heads, self.order = heads, order
        self.q, self.v, self.out = (nn.Linear(channels, channels) for _ in range(3))
        self.k = nn.Linear(channels, channels, bias=False)  # a bias here would cancel in the softmax

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Shapes as above."""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.q, query), (self.k, memory), (self.v, memory))
        )
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, heads, Q, K)
        if condition is not None and self.order == "printed":
            score = score * condition[:, None, None]
        if mask is not None:
            score = score.masked_fill(~mask[:, None, None], torch.finfo(score.dtype).min)
        if condition is not None and self.order == "renormalised":  # softmax(s) w / sum(softmax(s) w)
            score = score + (condition[:, None, None] + 1e-10).log()
        weight = score.softmax(-1)
        attended: Tensor = self.out((weight @ v).transpose(1, 2).flatten(2))
        return attended


class Conditions(nn.Module):
    """The vision-to-text encoder E' (Eq. 1) and the conditions: W_poi, the patches of interest (Eq. 2), and W_woi, the
    words of interest (Eq. 3). Absent at inference.
    """

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        width, self.residual = config.widths[-1], config.residual
        self.cross_attention = Attention(width, config.heads)
        self.patch_score, self.word_score = (
            nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1, bias=False))
            for _ in range(2)
        )

    def forward(self, v: Tensor, v_attended: Tensor, e: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """W_poi: (B, N) and W_woi: (B, L); each row sums to 1, padding has 0.

        v: (B, N, C) patches. v_attended: (B, N, C), V' of Eq. 1. e: (B, L, C) words.
        """
        attended = self.cross_attention(e, v)
        e_attended = e + attended if self.residual else attended
        w_poi = self.patch_score(v_attended).squeeze(-1).softmax(-1)
        w_woi = self.word_score(e_attended).squeeze(-1).masked_fill(~word_mask, -torch.inf).softmax(-1)
        return w_poi, w_woi


class ReconstructionLayer(nn.Module):
    """Conditioned attention to the memory and a feed-forward network, both pre-norm with residuals."""

    def __init__(self, width: int, heads: int, order: str) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, order)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None, condition: Tensor | None) -> Tensor:
        """(B, Q, C) -> (B, Q, C); the other arguments as in `Attention`."""
        x = x + self.attention(self.norm(x), memory, mask, condition)
        fed: Tensor = self.feed_forward(x)
        return x + fed


class Reconstructor(nn.Module):
    """The conditioned reconstructor Psi of Eq. 7 and 9: transformer layers that attend to the other modality."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        self.attends_to_both = config.reconstruction == "self"
        self.layers = nn.ModuleList(
            ReconstructionLayer(config.widths[-1], config.heads, config.condition_order)
            for _ in range(config.reconstruction_layers)
        )

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, condition: Tensor | None, x_mask: Tensor | None
    ) -> Tensor:
        """x: (B, Q, C) features, zero where they are masked. memory, mask, condition: as in `Attention`.

        x_mask: (B, Q) bool, False on padding of x. With reconstruction "self" (Table V) the keys are both modalities,
        and the condition, which is of one of them, is not used.
        """
        if self.attends_to_both:
            memory, mask, condition = torch.cat([x, memory], 1), _join_masks(x_mask, mask, x, memory), None
        for layer in self.layers:
            x = layer(x, memory, mask, condition)
        return x


def _join_masks(x_mask: Tensor | None, mask: Tensor | None, x: Tensor, memory: Tensor) -> Tensor:
    def full(given: Tensor | None, like: Tensor) -> Tensor:
        return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if given is None else given

    return torch.cat([full(x_mask, x), full(mask, memory)], 1)


def draw_masked(weight: Tensor, ratio: float, seeds: Sequence[int], mask: Tensor | None, masking: str) -> Tensor:
    """(B, M) bool, True on the positions to mask: ratio * M of them, drawn without replacement.

    weight: (B, M), W_poi or W_woi. mask: (B, M) bool, False on padding, which is neither drawn nor counted.
    masking: "conditioned" draws position m with probability proportional to weight[m] (Sec. III-C, by the Gumbel-top-k
    trick), "random" uniformly. The draw depends on nothing but the seeds, one for each image.
    """
    noise = torch.stack([torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(s)) for s in seeds])
    key = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7))).to(weight)
    if masking == "conditioned":
        key = key + weight.detach().clamp_min(1e-12).log()
    if mask is None:
        mask = torch.ones_like(weight, dtype=torch.bool)
    rank = key.masked_fill(~mask, -torch.inf).argsort(1, descending=True).argsort(1)
    return rank < (ratio * mask.sum(1, keepdim=True)).round()


class RecLMIS(nn.Module):
    """See `build_reclmis`. `forward` is the orange path of Fig. 3; `training_step` adds Eq. 2-11.

    Where a method takes `encode`, it replaces the text encoder: a `TextFeatureCache` of it, for instance.
    """

    def __init__(
        self,
        *,
        config: RecLMISConfig,
        encoder: Encoder | PretrainedEncoder,
        decoder: Decoder,
        text_encoder: TextEncoder | None,
        word_projection: WordProjection | None,
        cross_attention: Attention | None,
        zones: LungZones | None,
        conditions: Conditions | None,
        vision_reconstructor: Reconstructor | None,
        language_reconstructor: Reconstructor | None,
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.decoder = config, encoder, decoder
        self.text_encoder, self.word_projection = text_encoder, word_projection
        self.cross_attention, self.zones, self.conditions = cross_attention, zones, conditions
        self.vision_reconstructor, self.language_reconstructor = vision_reconstructor, language_reconstructor

    @property
    def reads_notes(self) -> bool:
        """False for a text-blind model, which ignores the note."""
        return self.text_encoder is not None

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.patch if isinstance(self.encoder, Encoder) else max(self.patch, *self.encoder.pyramid.strides)

    @property
    def patch(self) -> int:
        """Pixels between the patches, the cells of the coarsest level."""
        return self.config.stem_stride * int(2 ** (len(self.config.widths) - 1))

    def encode_notes(self, notes: Sequence[str | None], encode: TextFeatures | None = None) -> tuple[Tensor, Tensor]:
        """Word features E: (B, L, C), and their mask (B, L). A note that is None becomes the null text, one word."""
        assert self.word_projection is not None  # for mypy: only called when reads_notes
        null_text = self.word_projection.null_text
        given = [i for i, note in enumerate(notes) if note is not None]
        if given:
            features, mask = (encode or self._text_features)([notes[i] or "" for i in given])
        else:
            features, mask = null_text.new_zeros(0, 1, len(null_text)), null_text.new_zeros(0, 1, dtype=torch.bool)
        e = features.new_zeros(len(notes), *features.shape[1:])
        word_mask = torch.zeros(e.shape[:2], dtype=torch.bool, device=e.device)
        e[given], word_mask[given] = features, mask
        missing = [i for i, note in enumerate(notes) if note is None]
        e[missing, 0], word_mask[missing, 0] = null_text.to(e.dtype), True
        return self.word_projection(e, word_mask), word_mask

    def _text_features(self, notes: Sequence[str]) -> tuple[Tensor, Tensor]:
        assert self.text_encoder is not None  # for mypy: only called when reads_notes
        device = next(self.text_encoder.parameters()).device
        ids, mask = (part.to(device) for part in self.text_encoder.tokenize(notes))
        return self.text_encoder(ids, mask), mask

    def attend(self, v: Tensor, e: Tensor, word_mask: Tensor, grid: tuple[int, int]) -> Tensor:
        """The text-to-vision encoder V' of Sec. III-B: patches v (B, N, C) that attended to words e -> (B, N, C)."""
        assert self.cross_attention is not None  # for mypy: only called when config.interacts
        query = v + sine_positions(*grid, v.shape[-1]).to(v) if self.config.position else v
        if self.config.interaction == "self":  # Table V: one sequence of patches and words attends to itself
            both = torch.cat([query, e], 1)
            mask = _join_masks(None, word_mask, query, e)
            attended: Tensor = self.cross_attention(both, both, mask)[:, : v.shape[1]]
        else:
            attended = self.cross_attention(query, e, word_mask)
        if self.zones is not None:
            attended = attended + self.zones(e, word_mask, grid)
        return v + attended if self.config.residual else attended

    def forward(
        self,
        image: Tensor,
        notes: Sequence[str | None],
        encode: TextFeatures | None = None,
        maps: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """image: (B, 3, H, W), normalised, H and W multiples of `stride`. Returns logits (B, 1, H, W).

        maps: what `encoder.maps` read of the image, where that is known.
        """
        return self._segment(image, notes, encode, maps)[0]

    def segment_encoded(self, image: Tensor, e: Tensor, word_mask: Tensor) -> Tensor:
        """As `forward`, for notes that `encode_notes` made e (B, L, C) and word_mask (B, L) of."""
        return self._segment_encoded(image, e, word_mask)[0]

    def _segment(
        self,
        image: Tensor,
        notes: Sequence[str | None],
        encode: TextFeatures | None = None,
        maps: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.reads_notes:
            return self.decoder(self.encoder(image, maps=maps)), {}
        return self._segment_encoded(image, *self.encode_notes(notes, encode), maps)

    def _segment_encoded(
        self, image: Tensor, e: Tensor, word_mask: Tensor, maps: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits, and the features that the auxiliary losses need."""
        if self.cross_attention is None:
            return self.decoder(self.encoder(image, e.sum(1) / word_mask.sum(1, keepdim=True), maps)), {}
        levels = self.encoder(image, maps=maps)
        grid = (levels[-1].shape[-2], levels[-1].shape[-1])
        v = levels[-1].flatten(2).transpose(1, 2)
        v_attended = self.attend(v, e, word_mask, grid)
        logits = self.decoder([*levels[:-1], v_attended.transpose(1, 2).unflatten(2, grid)])
        return logits, {"v": v, "v_attended": v_attended, "e": e, "word_mask": word_mask}

    def picture_features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C): the mean over the cells of the encoder's deepest map, by which a picture is known."""
        return self.pool(self.encoder.maps(image))

    @staticmethod
    def pool(maps: Sequence[Tensor]) -> Tensor:
        """The `picture_features` of what `encoder.maps` read."""
        return maps[-1].float().mean((2, 3))

    @property
    def feature_width(self) -> int:
        """C of `picture_features`."""
        return self.config.widths[-1] if isinstance(self.encoder, Encoder) else self.encoder.pyramid.widths[-1]

    def condition_weights(
        self, image: Tensor, notes: Sequence[str | None], encode: TextFeatures | None = None
    ) -> tuple[Tensor, Tensor]:
        """W_poi as a map (B, h, w) on the coarsest grid, and W_woi (B, L).

        Raises InputError unless the model was built with parts "attribution" or "training".
        """
        if self.conditions is None:
            raise InputError(
                "this model holds no vision-to-text branch: load it with attribution=True (segue segment --attribution)"
            )
        _, features = self._segment(image, notes, encode)
        w_poi, w_woi = self.conditions(**features)
        return w_poi.unflatten(1, (image.shape[-2] // self.patch, image.shape[-1] // self.patch)), w_woi

    def training_step(
        self, batch: dict[str, Any], encode: TextFeatures | None = None, auxiliary: float | Tensor = 1.0
    ) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), mask (B, 1, H, W), note [B], seed [B]. Returns "loss" and its unweighted terms.

        auxiliary: in [0, 1], a factor of all weights but the segmentation's.
        """
        terms, _ = self._terms(batch, encode)
        scaled = [
            (1.0 if name == "segmentation" else auxiliary) * weight * terms[name]
            for name, weight in self._loss_weights().items()
        ]
        terms["loss"] = torch.stack(scaled).sum()
        return terms

    def term_gradients(self, batch: dict[str, Any], encode: TextFeatures | None = None) -> dict[str, float]:
        """How strongly each term of the loss pulls at the features V and E, as a share of the segmentation's pull.

        "gradient_v_t2v" is |lambda_2 dL_T2V/dV| / |lambda_4 dL_segmentation/dV|, and so on. {} without other terms. A
        term far below .01 is as good as switched off. batch: as in `training_step`; of this process alone.
        """
        with torch.enable_grad():
            terms, features = self._terms(batch, encode, across=lambda x: x)
            if len(terms) == 1:
                return {}
            at, size = (features["v"], features["e"]), {}
            for name, weight in self._loss_weights().items():
                found = torch.autograd.grad(weight * terms[name], at, retain_graph=True, materialize_grads=True)
                size[name] = [float(gradient.norm()) for gradient in found]
        segmentation = size.pop("segmentation")
        return {
            f"gradient_{where}_{name}": values[i] / max(segmentation[i], 1e-12)
            for i, where in enumerate("ve")
            for name, values in size.items()
        }

    def _loss_weights(self) -> dict[str, float]:
        """lambda of each term that the configuration has."""
        weights = dict(zip(("v2t", "t2v", "ccl", "segmentation"), self.config.loss_weights, strict=True))
        weights["zones"] = 1.0
        return {name: weights[name] for name in self.config.terms}

    def _terms(
        self, batch: dict[str, Any], encode: TextFeatures | None, across: Callable[[Tensor], Tensor] = gather
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The terms of Eq. 11, and the features that the auxiliary ones are of. across: joins all processes' rows."""
        logits, features = self._segment(batch["image"], batch["note"], encode)
        terms = {"segmentation": segmentation_loss(logits, batch["mask"])}
        if features:
            terms |= self._auxiliary_terms(batch["seed"], batch["note"], across, **features)
        if self.zones is not None:
            invented = [invent_note(np.random.default_rng(seed)) for seed in batch["seed"]]  # the data's notes are few
            terms["zones"] = 0.5 * (
                self.zones.loss(features["e"], features["word_mask"], batch["note"])
                + self.zones.loss(*self.encode_notes(invented, encode), invented)
            )
        return terms, features

    def _auxiliary_terms(
        self,
        seeds: Sequence[int],
        notes: Sequence[str | None],
        across: Callable[[Tensor], Tensor],
        v: Tensor,
        v_attended: Tensor,
        e: Tensor,
        word_mask: Tensor,
    ) -> dict[str, Tensor]:
        """The terms of Eq. 11 beside the segmentation that the configuration has."""
        c, terms = self.config, {}
        even = v.new_full(v.shape[:2], 1 / v.shape[1]), word_mask / word_mask.sum(1, keepdim=True)
        learned = even if self.conditions is None else self.conditions(v, v_attended, e, word_mask)
        if self.vision_reconstructor is not None:
            conditioned = "cvr" in c.conditions
            w_poi, w_woi = learned if conditioned else even
            masked = draw_masked(w_poi, c.mask_ratio_vision, seeds, None, c.masking)
            condition = w_woi if conditioned else None
            reconstructed = self.vision_reconstructor(v * ~masked[..., None], e, word_mask, condition, None)
            terms["t2v"] = reconstruction_loss(v.detach(), reconstructed, w_poi, None, c.reconstruction_scale)
        if self.language_reconstructor is not None:
            conditioned = "clr" in c.conditions
            w_poi, w_woi = learned if conditioned else even
            masked = draw_masked(w_woi, c.mask_ratio_text, seeds, word_mask, c.masking)
            condition = w_poi if conditioned else None
            reconstructed = self.language_reconstructor(e * ~masked[..., None], v, None, condition, word_mask)
            terms["v2t"] = reconstruction_loss(e.detach(), reconstructed, w_woi, word_mask, c.reconstruction_scale)
        if c.ccl:
            longest = self.text_encoder.max_tokens if self.text_encoder is not None else 0
            pad = (0, max(longest - e.shape[1], 0))  # one length on every process
            w_poi, w_woi = learned if "ccl" in c.conditions else even
            e, w_woi, word_mask = F.pad(e, (0, 0, *pad)), F.pad(w_woi, pad), F.pad(word_mask, pad)
            similarity = conditioned_similarity(
                across(v), across(e), across(w_poi), across(w_woi), across(word_mask.to(v)).bool()
            )
            terms["ccl"] = contrastive_loss(similarity, c.temperature, across(note_index(notes).to(v.device)))
        return terms


def note_index(notes: Sequence[str | None]) -> Tensor:
    """(B,) int64: a number for each note, equal for notes of the same words on any process; -1 for None."""

    def number(note: str) -> int:
        return int.from_bytes(blake2b(" ".join(note.lower().split()).encode(), digest_size=7).digest())

    return torch.tensor([-1 if note is None else number(note) for note in notes])
