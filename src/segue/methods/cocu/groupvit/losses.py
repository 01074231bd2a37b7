"""GroupViT's multi-label contrast and the naming loss of curated batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CLAIM = 0.25  # how much a group's share of the picture counts where it claims a name, see naming_loss


def multi_label_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Contrast of B pictures with M texts each, GroupViT's Eq. 6 and 7; with M = 1 it is CLIP's loss.

    images: (B, P), texts: (B, M, P), both of unit length. With s = scale * cosine:

        pictures -> texts: -1/B  sum_i  log( sum_m exp s(i, t_im) / sum_jm exp s(i, t_jm) )
        texts -> pictures: -1/MB sum_im log( exp s(t_im, i) / sum_j exp s(t_im, j) )

    Returns the mean of both directions.
    """
    count = len(images)
    s = scale * images @ texts.flatten(0, 1).T  # (B, B * M)
    own = torch.arange(count, device=s.device)
    mine = s.unflatten(1, (count, -1))[own, own]  # (B, M)
    to_texts = s.logsumexp(1) - mine.logsumexp(1)
    to_images = F.cross_entropy(s.T, own.repeat_interleave(texts.shape[1]))
    return (to_texts.mean() + to_images) / 2


def naming_loss(
    groups: Tensor, shares: Tensor, texts: Tensor, names: Tensor, known: Tensor, scale: Tensor | float
) -> Tensor:
    """Ours: single groups answer for a picture's names, as its pixels are named by them (see `segment`).

    With p_ig = softmax_c( scale * cos(group g of i, name c) ) over the C different names of the batch, each name where
    its texts are in the mean, N_i the names of picture i and a_ig the share of the picture that group g has:

        names -> groups:   -mean_i mean_{c in N_i} max_g log( a_ig^CLAIM p_ig(c) )      each name is some group's
        pixels -> names:   -mean_i sum_g a_ig log sum_{c in N_i} p_ig(c)                each pixel has one of the names

    Returns their sum. Eq. 6 and 7 ask for names of the mean of the groups only, and take a name that two pictures share
    as false for both: at our size groups then keep apart, but don't say what they are. With CLAIM = 0 groups without
    pixels hold names; with 1, or a sum over groups in the place of the maximum, one group that is a little of
    everything serves as well as several, and groups merge.
    groups: (B, G, P), texts: (B, M, P), all of unit length. shares: (B, G), over the groups they sum to 1.
    names: (B, M) int64, the same number for the same name, -1 for none; a picture without any counts nothing.
    known: (B, N) int64, what is true of a picture without a text of its own here, in these numbers, -1 for nothing: it
    is among N_i where another picture has its text.
    """
    real = names >= 0
    named = real.any(1)
    if not named.any():
        return 0 * groups.sum()  # part of the graph, as DDP wants it
    different, place = names[real].unique(return_inverse=True)
    told = F.normalize(texts.new_zeros(len(different), texts.shape[2]).index_add(0, place, texts[real]), dim=-1)
    mine = texts.new_zeros(len(names), len(different), dtype=torch.bool)
    mine[real.nonzero()[:, 0], place] = True
    mine |= (known[..., None] == different).any(1)
    likely = (scale * groups @ told.T).log_softmax(2)[named]  # (B, G, C)
    mine, shares = mine[named], shares[named]
    claims = likely + CLAIM * (shares + 1e-6).log()[..., None]
    of_names = (claims.amax(1) * mine).sum(1) / mine.sum(1)
    of_pixels = (shares * likely.masked_fill(~mine[:, None], -torch.inf).logsumexp(2)).sum(1)
    return -(of_names + of_pixels).mean()
