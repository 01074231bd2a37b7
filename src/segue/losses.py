"""Losses as pure functions of tensors. Shapes: B images, N patches, L words, D channels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice of each image, with squares in the denominator, averaged over the images.

    logits, target: (B, 1, H, W), target in {0, 1}. Taken image by image, so that it does not depend on how a
    batch is divided among processes. `smooth` makes the loss of an empty mask predicted empty 0.
    """
    p, y = logits.float().sigmoid().flatten(1), target.flatten(1)
    overlap, total = (p * y).sum(1), (p * p).sum(1) + (y * y).sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice + binary cross-entropy, the last bracket of RecLMIS Eq. 11.

    logits, target: (B, 1, H, W), target in {0, 1}, as in `dice_loss`.
    """
    return dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits.float(), target)


def conditioned_similarity(v: Tensor, e: Tensor, w_v: Tensor, w_e: Tensor, word_mask: Tensor) -> Tensor:
    """RecLMIS Eq. 5 for every image with every note: S[i, k] of image i and note k.

    v: (B, N, D) patches. e: (B, L, D) words. w_v: (B, N) and w_e: (B, L), W_poi and W_woi; each row sums to 1.
    word_mask: (B, L) bool, False on padding, which no maximum is taken over. Returns (B, B).

        S = 1/2 (sum_i w_v^i max_j a_ij + sum_j w_e^j max_i a_ij),   a_ij = cos(v_i, e_j)
    """
    a = torch.einsum("ind,kld->iknl", F.normalize(v, dim=-1), F.normalize(e, dim=-1))
    best_word = a.masked_fill(~word_mask[None, :, None, :], -1.0).amax(3)  # (i, k, N)
    best_patch = a.amax(2)  # (i, k, L)
    by_patch = torch.einsum("in,ikn->ik", w_v, best_word)
    by_word = torch.einsum("kl,ikl->ik", w_e, best_patch)
    return (by_patch + by_word) / 2


def contrastive_loss(similarity: Tensor, temperature: float, note_index: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE over a (B, B) similarity whose diagonal holds the pairs: RecLMIS Eq. 6.

    note_index: (B,) int64, the note of each pair, -1 for a picture without one. Equal notes are not used as negatives,
    and pairs without a note are left out altogether; by default all notes differ. 0 where no pair is left.
    As printed, Eq. 6 divides exp(S) by the temperature, which cancels; we use exp(S / temperature).
    With temperature = 1 the two are the same.
    """
    scaled = similarity / temperature
    pairs = torch.arange(len(scaled), device=scaled.device)
    if note_index is None:
        note_index = pairs
    without_note = note_index < 0
    left_out = (note_index[:, None] == note_index[None]) | without_note[:, None] | without_note[None]
    scaled = scaled.masked_fill(left_out & (pairs[:, None] != pairs[None]), -torch.inf)
    targets = pairs.masked_fill(without_note, -100)  # which cross_entropy leaves out
    both = [F.cross_entropy(x, targets, ignore_index=-100, reduction="sum") for x in (scaled, scaled.T)]
    return (both[0] + both[1]) / (2 * (~without_note).sum().clamp_min(1))


def info_nce(
    image: Tensor, text: Tensor, image_index: Tensor, scale: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Symmetric InfoNCE of B image-text pairs (Radford et al. 2021); texts of the same image are not used as negatives.

    image, text: (B, D) of length 1; row i of both is a pair. image_index: (B,) int64, the image that a pair is of.
    scale: scalar, 1 / temperature. label_smoothing: the share of the
    target that is spread evenly over all that are not left out, in [0, 1). Mean over the pairs of both directions.

        L = -1/2B sum_i (log softmax_j(s v_i t_j)_i + log softmax_j(s t_i v_j)_i),   j over i and all of other images
    """
    logits = scale * image.float() @ text.float().T
    pairs = torch.arange(len(logits), device=logits.device)
    same = (image_index[:, None] == image_index[None]) & (pairs[:, None] != pairs[None])
    logits = logits.masked_fill(same, -torch.inf)
    loss = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
    if not label_smoothing:
        return loss
    even = [-x.log_softmax(1).masked_fill(same, 0.0).sum(1) / (~same).sum(1) for x in (logits, logits.T)]
    return (1 - label_smoothing) * loss + label_smoothing * (even[0].mean() + even[1].mean()) / 2


def hardest_negative_loss(image: Tensor, text: Tensor, image_index: Tensor, margin: float = 0.2) -> Tensor:
    """The hinge on the hardest negative text and the hardest negative image of each pair (Faghri et al. 2018, VSE++).

    Shapes as in `info_nce`; the mean over the pairs of both directions. 0 where the batch holds one image only.
    """
    similarity = image.float() @ text.float().T
    negatives = similarity.masked_fill(image_index[:, None] == image_index[None], -torch.inf)
    gap = margin - similarity.diagonal()
    return ((gap + negatives.amax(1)).clamp_min(0).mean() + (gap + negatives.amax(0)).clamp_min(0).mean()) / 2


def reconstruction_loss(
    target: Tensor,
    prediction: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    scale: Literal["mean", "detached", "printed", "released"] = "mean",
) -> Tensor:
    """Squared error of reconstructed features, RecLMIS Eq. 8 (patches) and Eq. 10 (words).

    target, prediction: (B, M, D). weight: (B, M), each row sums to 1. mask: (B, M) bool, True where a position counts
    (all by default). M below is the number of positions that count. Scales:

        mean       1/B sum_b sum_m w_m 1/D |x_m - x'_m|^2       the weighted mean over positions, whatever M and D
        detached   the same, without a gradient for w           w does not learn to prefer what is rebuilt easily
        printed    1/B sum_b 1/M sum_m w_m |x_m - x'_m|^2       Eq. 8 and 10 to the letter: D / M times `mean`
        released   1/B sum_b 1/M sum_m 1/D |x_m - x'_m|^2       the released code, and our default: no weights

    `printed` means another lambda at every size of the network and of the picture: as w already sums to 1, its 1/M
    takes a mean twice.
    """
    squared = (target - prediction).pow(2)
    counts = torch.ones_like(weight) if mask is None else mask.to(weight)
    even = counts / counts.sum(1, keepdim=True)
    if scale == "released":
        return (even * squared.mean(-1)).sum(1).mean()
    if scale == "printed":
        return (even * weight * squared.sum(-1)).sum(1).mean()
    weight = weight.detach() if scale == "detached" else weight
    return (counts * weight * squared.mean(-1)).sum(1).mean()


ROOM = 0.05  # the part of the picture that a named thing takes at least
BEST = 0.1  # of the cells, in which a named thing is looked for


def shared_out_loss(
    cells: Tensor, text: Tensor, named: Tensor, unsaid: Tensor, temperature: float, *, outside: float, room: float
) -> dict[str, Tensor]:
    """A picture's names are shared out among its cells (multiple-instance learning). M cells, N names, D width.

    With u_i the cells, t_n the names, q_i(n) = softmax_n( cos(u_i, t_n) / temperature ), and means over a picture's
    names weighted by w_n, the probability that it shows them:

        somewhere = mean_n -mean_{i of n's m best cells} log q_i(n)        each named thing is somewhere
        outside   = mean_i -log sum_{n named or often unsaid} q_i(n)       little else is anywhere
        room      = mean_n -log min(1, mean_i q_i(n) / ROOM)               each takes a part of the picture
        loss      = somewhere + outside * `outside` + room * `room`

    cells: (B, M, D), text: (N, D), of length 1. named: (B, N), w in [0, 1] or bool; 0 for a name that isn't given.
    unsaid: (N,) bool, names that may be there without being given. Returns the terms and the loss, scalars.
    """
    log_q = (cells @ text.T / temperature).log_softmax(-1)
    count = named.sum(1).clamp(min=1)
    best = log_q.topk(max(1, round(BEST * cells.shape[1])), dim=1).values.mean(1)
    somewhere = (-(best * named).sum(1) / count).mean()
    may_be = ((named > 0) | unsaid)[:, None]
    of_others = -log_q.masked_fill(~may_be, -1e4).logsumexp(2).mean()
    part = (log_q.exp().mean(1) / ROOM).clamp(1e-4, 1)
    of_room = (-(part.log() * named).sum(1) / count).mean()
    loss = somewhere + outside * of_others + room * of_room
    return {"loss": loss, "somewhere": somewhere, "outside": of_others, "room": of_room}
