"""RecLMIS: segment what a medical note describes.

Paper: X. Huang et al., "Cross-Modal Conditioned Reconstruction for Language-guided Medical Image Segmentation".
The equation numbers below are the paper's. B pictures, N patches (row-major), L words, C channels.

Where we differ, and why:
- The image branch attends to the text as the text tower left it (Eq. 1), not to text that already saw the image;
  so the vision-to-text branch and both reconstructors are absent at inference, not merely unused.
- Eq. 6 as printed cancels its temperature: see `segue.losses.contrastive_loss`.
- The reconstructions' targets take no gradient: features are not pulled towards their own reconstruction.
- Padded words are masked everywhere, and self-attention, where an ablation asks for it, is not causal.
- A learned vector stands for the note when there is none, and training leaves some notes out on purpose.
- The `segue` size has a strided stem, strided convolutions for pooling, a light PLAM, positions on the patches and a
  sub-pixel last layer; `results/reclmis_pareto.csv` is the measurement behind it.
Not verified: the paper's figures on QaTa-COV19 and MosMedData+, which need the data and days of GPU time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.encoders.text.cache import NoteCache
from segue.encoders.text.contract import TextEncoder
from segue.losses import conditioned_similarity, contrastive_loss, reconstruction_loss, segmentation_loss
from segue.methods.reclmis.config import RecLMISConfig
from segue.nn.gather import gather
from segue.nn.norm import BatchNorm2d
from segue.nn.positions import sine_positions
from segue.types import InputError

Parts = Literal["inference", "explain", "training"]


def build_reclmis(config: RecLMISConfig, text: TextEncoder | None, parts: Parts = "training") -> RecLMIS:
    """The whole model, put together here. text is None for a model without interaction (text-blind)."""
    talks, reads, width = config.interacts, config.interaction != "none", config.widths[-1]
    return RecLMIS(
        config=config,
        encoder=Encoder(config),
        decoder=Decoder(config),
        text=text if reads else None,
        words=WordProjection(text.width, width if talks else config.widths[0]) if reads and text is not None else None,
        see=Attention(width, config.heads) if talks else None,
        interest=Interest(config) if config.has_interest and parts != "inference" else None,
        rebuild_vision=Reconstructor(config) if talks and config.cvr and parts == "training" else None,
        rebuild_language=Reconstructor(config) if talks and config.clr and parts == "training" else None,
    )


def conv_norm(c_in: int, c_out: int, stride: int = 1, kind: str = "plain") -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU; "separable" divides it into depthwise and pointwise."""
    if kind == "separable" and c_in > 3:
        depthwise = nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        layers: list[nn.Module] = [depthwise, BatchNorm2d(c_in), nn.Conv2d(c_in, c_out, 1, bias=False)]
    else:
        layers = [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)]
    return nn.Sequential(*layers, BatchNorm2d(c_out), nn.ReLU(inplace=True))


class PLAM(nn.Module):
    """Pixel-level attention (LViT): a multiplier for each position, from its channels' mean, maximum and their sum."""

    def __init__(self, channels: int, full: bool) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU()) if full else nn.Identity()
        self.peak = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU()) if full else nn.Identity()
        self.mix = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mean, peak = self.mean(x).mean(1, keepdim=True), self.peak(x).amax(1, keepdim=True)
        return x * self.mix(torch.cat([mean, peak, mean + peak], 1)).sigmoid()


class Encoder(nn.Module):
    """(B, 3, H, W) -> features of every level, finest first; level i has stride stem_stride * 2^i."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        kind, first = config.convolution, config.widths[0]
        stem = [conv_norm(3, first, config.stem_stride)]
        if config.stem_stride == 2:  # the paper's stem is one convolution; a strided one deserves a second
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

    def forward(self, image: Tensor, told: Tensor | None = None) -> list[Tensor]:
        """The features of every level, (B, widths[i], h, w). told: (B, widths[0]) joins the first, for early fusion."""
        first = self.stem(image)
        levels = [first if told is None else first + told[..., None, None]]
        for level in self.levels:
            levels.append(level(levels[-1]))
        return levels


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
        self.to_pixels = nn.PixelShuffle(config.stem_stride)  # each cell predicts its own pixels

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """From the coarsest level up, each skip through its PLAM."""
        x = levels[-1]
        for skip, plam, merge in zip(levels[-2::-1], self.plam, self.merge, strict=True):
            x = merge(torch.cat([plam(skip), F.interpolate(x, size=skip.shape[-2:], mode="nearest")], 1))
        return self.to_pixels(self.head(x))


class WordProjection(nn.Module):
    """The text tower's (B, L, width) -> (B, L, C) by a convolution over three neighbouring words."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(width, channels, 3, padding=1)
        self.silence = nn.Parameter(torch.randn(width) * width**-0.5)  # stands for the note when there is none

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """real: (B, L) bool; padded words stay zero."""
        return self.project(features.transpose(1, 2)).transpose(1, 2) * real[..., None]


class Attention(nn.Module):
    """Multi-head attention, Eq. 1, with an optional condition on the keys, Eq. 7 and 9.

    query: (B, Q, C). memory: (B, K, C). real: (B, K) bool. condition: (B, K). Returns (B, Q, C), without residual.
    """

    def __init__(self, channels: int, heads: int, order: str = "inside") -> None:
        super().__init__()
        self.heads, self.order = heads, order
        self.q, self.v, self.out = (nn.Linear(channels, channels) for _ in range(3))
        self.k = nn.Linear(channels, channels, bias=False)  # a bias here would cancel in the softmax

    def forward(
        self, query: Tensor, memory: Tensor, real: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Shapes as above."""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.q, query), (self.k, memory), (self.v, memory))
        )
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, heads, Q, K)
        if condition is not None and self.order == "inside":
            score = score * condition[:, None, None]
        if real is not None:
            score = score.masked_fill(~real[:, None, None], torch.finfo(score.dtype).min)
        weight = score.softmax(-1)
        if condition is not None and self.order == "after":
            weight = weight * condition[:, None, None]
        return self.out((weight @ v).transpose(1, 2).flatten(2))


class Interest(nn.Module):
    """The vision-to-text encoder E' (Eq. 1) and the interests W_poi (Eq. 2) and W_woi (Eq. 3). Absent at inference."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.read = Attention(width, config.heads)
        self.patches, self.words = (
            nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1, bias=False))
            for _ in range(2)
        )

    def forward(self, v: Tensor, v_told: Tensor, e: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """W_poi: (B, N) and W_woi: (B, L), each row a distribution; padded words get 0."""
        e_told = e + self.read(e, v)
        w_poi = self.patches(v_told).squeeze(-1).softmax(-1)
        w_woi = self.words(e_told).squeeze(-1).masked_fill(~real, -torch.inf).softmax(-1)
        return w_poi, w_woi


class ReconstructionLayer(nn.Module):
    """Conditioned attention to the memory and a feed-forward network, both pre-norm with residuals."""

    def __init__(self, width: int, heads: int, order: str) -> None:
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), Attention(width, heads, order)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, memory: Tensor, real: Tensor | None, condition: Tensor | None) -> Tensor:
        """(B, Q, C) -> (B, Q, C); the other arguments as in `Attention`."""
        x = x + self.attend(self.norm(x), memory, real, condition)
        return x + self.feed(x)


class Reconstructor(nn.Module):
    """The conditioned reconstructor Psi of Eq. 7 and 9: transformer layers that attend to the other modality."""

    def __init__(self, config: RecLMISConfig) -> None:
        super().__init__()
        self.own_keys = config.reconstruction == "self"
        self.layers = nn.ModuleList(
            ReconstructionLayer(config.widths[-1], config.heads, config.condition_order)
            for _ in range(config.reconstruction_layers)
        )

    def forward(
        self, x: Tensor, memory: Tensor, real: Tensor | None, condition: Tensor | None, own: Tensor | None
    ) -> Tensor:
        """x: (B, Q, C) features with holes. memory: (B, K, C). own: (B, Q) bool, the real positions of x.

        With reconstruction "self" (Table V) the keys are both modalities, and the condition has no place among them.
        """
        if self.own_keys:
            memory, real, condition = torch.cat([x, memory], 1), _join(own, real, x, memory), None
        for layer in self.layers:
            x = layer(x, memory, real, condition)
        return x


def _join(own: Tensor | None, real: Tensor | None, x: Tensor, memory: Tensor) -> Tensor:
    def full(flags: Tensor | None, like: Tensor) -> Tensor:
        return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if flags is None else flags

    return torch.cat([full(own, x), full(real, memory)], 1)


def draw_holes(interest: Tensor, ratio: float, seeds: Sequence[int], real: Tensor | None, masking: str) -> Tensor:
    """(B, M) bool, True on the positions to mask: ratio * M of them, drawn without replacement.

    "interest" draws position m with probability proportional to interest[m] (Sec. III-C, by Gumbel's trick), "random"
    evenly. The draw depends on nothing but the seeds, one for each picture.
    """
    noise = torch.stack([torch.rand(interest.shape[1], generator=torch.Generator().manual_seed(s)) for s in seeds])
    key = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7))).to(interest)
    if masking == "interest":
        key = key + interest.detach().clamp_min(1e-12).log()
    if real is None:
        real = torch.ones_like(interest, dtype=torch.bool)
    rank = key.masked_fill(~real, -torch.inf).argsort(1, descending=True).argsort(1)
    return rank < (ratio * real.sum(1, keepdim=True)).round()


class RecLMIS(nn.Module):
    """See `build_reclmis`. `forward` is the orange path of Fig. 3; `training_step` adds Eq. 2-11."""

    def __init__(
        self,
        config: RecLMISConfig,
        encoder: Encoder,
        decoder: Decoder,
        text: TextEncoder | None,
        words: WordProjection | None,
        see: Attention | None,
        interest: Interest | None,
        rebuild_vision: Reconstructor | None,
        rebuild_language: Reconstructor | None,
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.decoder = config, encoder, decoder
        self.text, self.words, self.see, self.interest = text, words, see, interest
        self.rebuild_vision, self.rebuild_language = rebuild_vision, rebuild_language
        self.cache = NoteCache(text) if text is not None and text.frozen else None

    @property
    def reads_notes(self) -> bool:
        """False for a text-blind model, which ignores the note."""
        return self.text is not None

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.config.stem_stride * 2 ** (len(self.config.widths) - 1)

    def remember_notes(self) -> None:
        """Keep the features of notes already read; for inference, when the weights no longer change."""
        if self.text is not None:
            self.cache = NoteCache(self.text)

    def read(self, notes: Sequence[str | None], device: torch.device) -> tuple[Tensor, Tensor]:
        """Word features E: (B, L, C), and which are real: (B, L) bool. A note that is None becomes one learned word."""
        assert self.text is not None  # for mypy: only called when reads_notes
        assert self.words is not None
        said = [i for i, note in enumerate(notes) if note is not None]
        if said:
            features, real = self._features([notes[i] or "" for i in said], device)
        else:
            features, real = self.words.silence.new_zeros(0, 1, self.text.width), self._no_words(0, 1, device)
        e = features.new_zeros(len(notes), *features.shape[1:])
        told = self._no_words(len(notes), features.shape[1], device)
        e[said], told[said] = features, real
        silent = [i for i, note in enumerate(notes) if note is None]
        e[silent, 0], told[silent, 0] = self.words.silence.to(e.dtype), True
        return self.words(e, told), told

    def _features(self, notes: list[str], device: torch.device) -> tuple[Tensor, Tensor]:
        if self.cache is not None:
            return self.cache(notes)
        assert self.text is not None
        ids, real = (t.to(device) for t in self.text.tokenize(notes))
        return self.text(ids, real), real

    @staticmethod
    def _no_words(rows: int, columns: int, device: torch.device) -> Tensor:
        return torch.zeros(rows, columns, dtype=torch.bool, device=device)

    def look(self, v: Tensor, e: Tensor, real: Tensor, grid: tuple[int, int]) -> Tensor:
        """The text-to-vision encoder V' of Sec. III-B: (B, N, C) -> (B, N, C)."""
        assert self.see is not None
        query = v + sine_positions(*grid, v.shape[-1]).to(v) if self.config.position else v
        if self.config.interaction == "self":  # Table V: one sequence of patches and words attends to itself
            both = torch.cat([query, e], 1)
            return v + self.see(both, both, _join(None, real, query, e))[:, : v.shape[1]]
        return v + self.see(query, e, real)

    def forward(self, image: Tensor, notes: Sequence[str | None]) -> Tensor:
        """image: (B, 3, H, W), normalised, H and W multiples of `stride`. Returns logits (B, 1, H, W)."""
        return self._segment(image, notes)[0]

    def segment_words(self, image: Tensor, e: Tensor, real: Tensor) -> Tensor:
        """As `forward`, for notes already read: e (B, L, C) and real (B, L) of `read`."""
        return self._segment_words(image, e, real)[0]

    def _segment(self, image: Tensor, notes: Sequence[str | None]) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.reads_notes:
            return self.decoder(self.encoder(image)), {}
        return self._segment_words(image, *self.read(notes, image.device))

    def _segment_words(self, image: Tensor, e: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.see is None:
            return self.decoder(self.encoder(image, e.sum(1) / real.sum(1, keepdim=True))), {}
        levels = self.encoder(image)
        grid = (levels[-1].shape[-2], levels[-1].shape[-1])
        v = levels[-1].flatten(2).transpose(1, 2)
        v_told = self.look(v, e, real, grid)
        told = v_told.transpose(1, 2).unflatten(2, grid)
        return self.decoder([*levels[:-1], told]), {"v": v, "v_told": v_told, "e": e, "real": real}

    def interests(self, image: Tensor, notes: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """W_poi as a map (B, h, w) on the coarsest grid, and W_woi (B, L). Needs parts "explain" or "training"."""
        if self.interest is None:
            raise InputError(
                "this model holds no vision-to-text branch: load it with explain=True (segue segment --explain)"
            )
        _, f = self._segment(image, notes)
        w_poi, w_woi = self.interest(f["v"], f["v_told"], f["e"], f["real"])
        return w_poi.unflatten(1, (image.shape[-2] // self.stride, image.shape[-1] // self.stride)), w_woi

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: image (B, 3, H, W), mask (B, 1, H, W), note [B], seed [B]. Returns "loss" and its unweighted terms."""
        logits, f = self._segment(batch["image"], batch["note"])
        terms = {"segmentation": segmentation_loss(logits, batch["mask"])}
        if f:
            terms |= self._alignment(batch["seed"], **f)
        weight = dict(zip(("v2t", "t2v", "ccl", "segmentation"), self.config.loss_weights, strict=True))
        terms["loss"] = torch.stack([weight[name] * terms[name] for name in self.config.terms]).sum()
        return terms

    def _alignment(self, seeds: Sequence[int], v: Tensor, v_told: Tensor, e: Tensor, real: Tensor) -> dict[str, Tensor]:
        """The auxiliary terms of Eq. 11 that the configuration asks for."""
        c, terms = self.config, {}
        poi = woi = None
        w_poi, w_woi = v.new_full(v.shape[:2], 1 / v.shape[1]), real / real.sum(1, keepdim=True)
        if self.interest is not None:
            w_poi, w_woi = poi, woi = self.interest(v, v_told, e, real)
        if self.rebuild_vision is not None:
            holes = draw_holes(w_poi, c.mask_ratio_vision, seeds, None, c.masking)
            guess = self.rebuild_vision(v * ~holes[..., None], e, real, woi, None)
            terms["t2v"] = reconstruction_loss(v.detach(), guess, w_poi)
        if self.rebuild_language is not None:
            holes = draw_holes(w_woi, c.mask_ratio_text, seeds, real, c.masking)
            guess = self.rebuild_language(e * ~holes[..., None], v, None, poi, real)
            terms["v2t"] = reconstruction_loss(e.detach(), guess, w_woi, real)
        if c.ccl:
            pad = (0, max(self.text.max_tokens - e.shape[1], 0)) if self.text is not None else (0, 0)
            e, w_woi, real = (
                F.pad(e, (0, 0, *pad)),
                F.pad(w_woi, pad),
                F.pad(real, pad),
            )  # one length on every rank
            similarity = conditioned_similarity(
                gather(v), gather(e), gather(w_poi), gather(w_woi), gather(real.to(v)).bool()
            )
            terms["ccl"] = contrastive_loss(similarity, c.temperature)
        return terms
