"""GroupViT's multi-label contrastive loss, and a loss of our own that contrasts concepts with single groups."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE_EXPONENT = 0.25  # how much a group's share of the picture counts where a concept looks for its group


def multi_label_loss(images: Tensor, texts: Tensor, scale: Tensor | float, *, soft_targets: bool = False) -> Tensor:
    """Contrast of B pictures with M texts each, GroupViT's Eq. 6 and 7; with M = 1 it is CLIP's loss.

    images: (B, P), texts: (B, M, P), both of unit length. With s = scale * cosine:

        pictures -> texts: -1/B  sum_i  log( sum_m exp s(i, t_im) / sum_jm exp s(i, t_jm) )
        texts -> pictures: -1/MB sum_im log( exp s(t_im, i) / sum_j exp s(t_im, j) )

    soft_targets: the first as the released code has it, -1/MB sum_im log( exp s(i, t_im) / sum_jn exp s(i, t_jn) ).
    Returns the mean of both directions, a scalar.
    """
    count = len(images)
    s = scale * images @ texts.flatten(0, 1).T  # (B, B * M)
    rows = torch.arange(count, device=s.device)
    positive = torch.unflatten(s, 1, (count, -1))[rows, rows]  # (B, M)
    to_texts = s.logsumexp(1) - (positive.mean(1) if soft_targets else positive.logsumexp(1))
    to_images = F.cross_entropy(s.T, rows.repeat_interleave(texts.shape[1]))
    return (to_texts.mean() + to_images) / 2


def group_concept_loss(
    groups: Tensor,
    shares: Tensor,
    texts: Tensor,
    concept_ids: Tensor,
    known_ids: Tensor,
    scale: Tensor | float,
    weights: Tensor | None = None,
) -> Tensor:
    """Ours: contrast of a picture's concepts with its single groups, as `inference.segment` names pixels by groups.

    With p_ig = softmax_c( scale * cos(group g of i, concept c) ) over the C different concepts of the batch, each the
    mean of its texts, N_i the concepts of picture i and a_ig the share of the picture that group g has:

        concepts -> groups: -mean_i mean_{c in N_i} max_g log( a_ig^SHARE_EXPONENT p_ig(c) )  each has a group
        pixels -> concepts: -mean_i sum_g a_ig log sum_{c in N_i} w_ic p_ig(c)                each pixel has a concept

    where the mean over N_i weighs each concept by w_ic, the probability that picture i shows it.

    Returns their sum, a scalar. Why not Eq. 6 and 7: they contrast only the mean of the groups, and use a concept that
    two pictures share as a negative for both; at our size groups then separate, but don't say what they are. With
    SHARE_EXPONENT = 0 groups without pixels take the concepts; with 1, or a sum over groups instead of the maximum, one
    group that is a mixture of everything serves as well as several, and groups merge.

    groups: (B, G, P), texts: (B, M, P), all of unit length. shares: (B, G), their sum over the groups is 1.
    concept_ids: (B, M) int64, the same id for the same concept, -1 for none; a picture without any has no loss.
    known_ids: (B, N) int64, further concepts that are true of a picture, -1 for none: a concept of them is among N_i
    when another picture of the batch has a text of it. weights: (B, M) in (0, 1], w of each text's concept; 1 unless
    given, and for what is known.
    """
    real = concept_ids >= 0
    labelled = real.any(1)
    if not labelled.any():
        return 0 * groups.sum()  # part of the graph, as DDP expects
    unique, position = torch.unique(concept_ids[real], return_inverse=True)
    sums = texts.new_zeros(len(unique), texts.shape[2]).index_add(0, position, texts[real])
    concepts = F.normalize(sums, dim=-1)  # (C, P)
    positive = texts.new_zeros(len(concept_ids), len(unique), dtype=torch.bool)  # (B, C)
    positive[real.nonzero()[:, 0], position] = True
    known = (known_ids[..., None] == unique).any(1)
    weight = positive.to(texts.dtype)
    if weights is not None:
        weight = weight.index_put((real.nonzero()[:, 0], position), weights.to(texts.dtype)[real])
    positive, weight = positive | known, weight.masked_fill(known, 1.0)
    log_p = (scale * groups @ concepts.T).log_softmax(2)[labelled]  # (B, G, C)
    positive, weight, shares = positive[labelled], weight[labelled], shares[labelled]
    weighted = log_p + SHARE_EXPONENT * (shares + 1e-6).log()[..., None]
    of_concepts = (weighted.amax(1) * weight).sum(1) / weight.sum(1)
    likely = torch.where(positive, weight, 1.0).log()[:, None] + log_p
    of_pixels = (shares * likely.masked_fill(~positive[:, None], -torch.inf).logsumexp(2)).sum(1)
    return -(of_concepts + of_pixels).mean()
