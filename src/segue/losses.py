"""Losses as pure functions of tensors. Shapes: B pictures, N patches, L words, D channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice of each picture, squared form, averaged over the pictures.

    logits, target: (B, 1, H, W), target in {0, 1}. Taken by picture, so that it does not depend on how a
    batch is divided among processes. `smooth` makes an empty picture predicted empty cost nothing.
    """
    p, y = logits.float().sigmoid().flatten(1), target.flatten(1)
    overlap, total = (p * y).sum(1), (p * p).sum(1) + (y * y).sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice + binary cross-entropy, the last bracket of RecLMIS Eq. 11. Shapes as in `dice_loss`."""
    return dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits.float(), target)


def conditioned_similarity(v: Tensor, e: Tensor, w_v: Tensor, w_e: Tensor, words: Tensor) -> Tensor:
    """RecLMIS Eq. 5 for every picture with every note: S[i, k] of picture i and note k.

    v: (B, N, D) patches. e: (B, L, D) words. w_v: (B, N) and w_e: (B, L), the interests, each row sums to 1.
    words: (B, L) bool, True on real words; padded words take no part in a maximum. Returns (B, B).

        S = 1/2 (sum_i w_v^i max_j a_ij + sum_j w_e^j max_i a_ij),   a_ij = cos(v_i, e_j)
    """
    a = torch.einsum("ind,kld->iknl", F.normalize(v, dim=-1), F.normalize(e, dim=-1))
    best_word = a.masked_fill(~words[None, :, None, :], -1.0).amax(3)  # (i, k, N)
    best_patch = a.amax(2)  # (i, k, L)
    by_patch = torch.einsum("in,ikn->ik", w_v, best_word)
    by_word = torch.einsum("kl,ikl->ik", w_e, best_patch)
    return (by_patch + by_word) / 2


def contrastive_loss(similarity: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE over a (B, B) similarity whose diagonal holds the pairs: RecLMIS Eq. 6.

    As printed, Eq. 6 divides exp(S) by the temperature, which cancels; we use exp(S / temperature).
    With temperature = 1 the two are the same.
    """
    scaled = similarity / temperature
    pairs = torch.arange(len(scaled), device=scaled.device)
    return (F.cross_entropy(scaled, pairs) + F.cross_entropy(scaled.T, pairs)) / 2


def info_nce(image: Tensor, text: Tensor, owner: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of B picture-text pairs (Radford et al. 2021), where texts of one picture are no rivals.

    image, text: (B, D) of length 1; row i of both is a pair. owner: (B,) int64, the picture that a pair is of.
    scale: scalar, 1 / temperature. Mean over the pairs of both directions.

        L = -1/2B sum_i (log softmax_j(s v_i t_j)_i + log softmax_j(s t_i v_j)_i),   j over i and all of other owners
    """
    logits = scale * image.float() @ text.float().T
    pairs = torch.arange(len(logits), device=logits.device)
    same = (owner[:, None] == owner[None]) & (pairs[:, None] != pairs[None])
    logits = logits.masked_fill(same, -torch.inf)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def hardest_negative_loss(image: Tensor, text: Tensor, owner: Tensor, margin: float = 0.2) -> Tensor:
    """The hinge on the nearest wrong text and the nearest wrong picture of each pair (Faghri et al. 2018, VSE++).

    Shapes as in `info_nce`; the mean over the pairs of both directions. 0 where the batch holds one picture only.
    """
    similarity = image.float() @ text.float().T
    wrong = similarity.masked_fill(owner[:, None] == owner[None], -torch.inf)
    gap = margin - similarity.diagonal()
    return ((gap + wrong.amax(1)).clamp_min(0).mean() + (gap + wrong.amax(0)).clamp_min(0).mean()) / 2


def reconstruction_loss(truth: Tensor, guess: Tensor, weight: Tensor, real: Tensor | None = None) -> Tensor:
    """Weighted squared error of reconstructed features, RecLMIS Eq. 8 (patches) and Eq. 10 (words).

    truth, guess: (B, M, D). weight: (B, M). real: (B, M) bool, True where a position counts (all by default).

        L = 1/B sum_b 1/M sum_m w_m |x_m - x'_m|^2

    |.|^2 is the mean over the D channels, the "mean squared error" of the paper's text: as a sum it would grow with the
    network's width, and at lambda = 1 it then drowns the segmentation and the word features collapse (measured: the
    contrastive term stays at log B and the note is ignored). M is the number of real positions.
    """
    error = weight * (truth - guess).pow(2).mean(-1)
    if real is None:
        return error.mean()
    return ((error * real).sum(1) / real.sum(1)).mean()
