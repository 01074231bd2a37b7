"""Multi-entities contrastive learning (MECL), Eq. 10-12: masks and the words that name them, drawn together.

The paper's denominators leave the positive out, which makes the losses unbounded below; here it is in them. The
scale 1/tau is exp(a learned number), at most 100, from 1/.07. Sums over masks and words are means, so that lambda_2
doesn't depend on how many there are.

Shapes: B rows, a picture's one after the other (`batches`), N masks, L words, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.nn.gather import gather


class Contrast(nn.Module):
    """Projects masks and words onto one sphere and compares them. wanted: "intra", "inter" or "both"."""

    def __init__(self, width: int, channels: int, wanted: str, most_masks: int) -> None:
        super().__init__()
        self.wanted, self.most_masks = wanted, most_masks
        self.masks, self.words = nn.Linear(width, channels), nn.Linear(width, channels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """1 / tau."""
        return self.log_scale.exp().clamp(max=100)

    def project(self, masks: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, width) and (B, L, width) -> directions (B, N, C) and (B, L, C)."""
        return F.normalize(self.masks(masks), dim=-1), F.normalize(self.words(words), dim=-1)

    def forward(
        self, masks: Tensor, words: Tensor, there: Tensor, real: Tensor, pairs: Tensor, each: int = 1
    ) -> Tensor:
        """L_MEC. there: (B, N) bool, the masks. real: (B, L) bool, the words. pairs: (B, N, L) bool, who names whom.

        each: how many rows a picture has.
        """
        m, s = self.project(masks, words)
        loss = m.new_zeros(())
        if self.wanted in ("intra", "both"):
            loss = loss + intra_sample(m, s, there, real, pairs, self.scale)
        if self.wanted in ("inter", "both"):
            m = F.pad(m, (0, 0, 0, self.most_masks - m.shape[1]))  # one shape on every process
            there = F.pad(there, (0, self.most_masks - there.shape[1]))
            loss = loss + inter_sample(
                gather(m), gather(s), gather(there.float()).bool(), gather(real.float()).bool(), self.scale, each
            )
        return loss


def intra_sample(m: Tensor, s: Tensor, there: Tensor, real: Tensor, pairs: Tensor, scale: Tensor) -> Tensor:
    """Eq. 10: each mask against the words of its caption, and each word against the masks of its picture."""
    score = scale * m @ s.transpose(1, 2)  # (B, N, L)
    pairs = pairs & there[..., None] & real[:, None]
    by_mask = score.masked_fill(~real[:, None], -torch.inf).log_softmax(2)
    by_word = score.masked_fill(~there[..., None], -torch.inf).log_softmax(1)
    return _mean_of_positives(by_mask, pairs, 2) + _mean_of_positives(by_word, pairs, 1)


def _mean_of_positives(log_p: Tensor, pairs: Tensor, dim: int) -> Tensor:
    """-mean over the anchors that have positives of the mean over their positives."""
    count = pairs.sum(dim)
    each = log_p.masked_fill(~pairs, 0).sum(dim) / count.clamp_min(1)
    return -each.sum() / (count > 0).sum().clamp_min(1)


def inter_sample(m: Tensor, s: Tensor, there: Tensor, real: Tensor, scale: Tensor, each: int = 1) -> Tensor:
    """Eq. 11 and 12: the masks of row i against its caption and those of all other pictures, and the other way.

    Of the `each` rows of one picture none is held against another: their captions tell of the same masks.
    """
    g = matching_scores(m, s, there, real) * scale
    own = torch.arange(len(g), device=g.device)
    kin = (own[:, None] // each == own // each) & (own[:, None] != own)
    g = g.masked_fill(kin, -torch.inf)
    return F.cross_entropy(g, own) + F.cross_entropy(g.T, own)


def matching_scores(m: Tensor, s: Tensor, there: Tensor, real: Tensor) -> Tensor:
    """Eq. 11, g[i, k] of the masks of picture i and caption k: (B, B). Padded masks and words take no part."""
    score = torch.einsum("inc,klc->ikln", m, s)
    weight = score.masked_fill(~there[:, None, None], -torch.inf).softmax(-1)
    by_word = (weight * score).sum(-1)  # (i, k, L)
    return (by_word * real[None]).sum(-1) / real.sum(-1)[None]
