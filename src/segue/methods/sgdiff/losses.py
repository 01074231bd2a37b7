"""The losses of SGDiff: Eq. 2 and 3 (adaptor), Eq. 7 (captions), masks, and Eq. 10-12 (MECL).

MECL, multi-entity contrastive learning, brings masks and the words that name them together. The paper's denominators
leave the positive pair out, which makes the losses unbounded below; here it is in them. Sums over masks and words are
means, so that lambda_2 doesn't depend on their numbers.

Shapes: B rows, those of one picture next to each other (`batches`); N nodes, each with a mask; L tokens, V vocabulary
size, n bits, K ranks, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segue.methods.sgdiff.adaptor import AdaptorOutput
from segue.methods.sgdiff.analog_bits import expected_code, mask_until_end
from segue.nn.gather import gather

# ------------------------------------------------------------------------------------- adaptor, captions, masks


def adaptor_losses(output: AdaptorOutput, relevant: Tensor, ranks: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Eq. 2 ("adaptor") and Eq. 3 ("ranking"), of the heads that there are: means over the nodes of `known`.

    relevant, known: (B, N) bool. ranks: (B, N) int64, K for unranked. Without known nodes a loss is 0.
    """
    terms, count = {}, known.sum().clamp_min(1)
    if output.relevance is not None:
        cross = F.binary_cross_entropy_with_logits(output.relevance[known], relevant[known].float(), reduction="sum")
        terms["adaptor"] = cross / count
    if output.ranking is not None:
        terms["ranking"] = F.cross_entropy(output.ranking[known], ranks[known], reduction="sum") / count
    return terms


SMOOTHING = 0.1


def token_cross_entropy(logits: Tensor, token_ids: Tensor) -> Tensor:
    """(B, L): the label-smoothed cross-entropy of each token. logits: (B, L, V)."""
    return F.cross_entropy(logits.transpose(1, 2), token_ids, reduction="none", label_smoothing=SMOOTHING)


def caption_losses(logits: Tensor, token_ids: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 7's squared error of the bits, and the label-smoothed cross-entropy; means over the tokens up to END.

    logits: (B, L, V). token_ids: (B, L) int64. codes: (V, n).
    """
    real = mask_until_end(token_ids)
    bit = (expected_code(logits, codes) - codes[token_ids]).square().mean(-1)
    cross = token_cross_entropy(logits, token_ids)
    return bit[real].mean(), cross[real].mean()


def mask_losses(logits: Sequence[Tensor], masks: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and dice of the masks that are known, the mean over layers; 0 where none is known.

    logits: (B, N, h, w) of each layer. masks: (B, N, h, w), in [0, 1]. known: (B, N) bool.
    """
    truth = masks[known].float().flatten(1)
    if not len(truth):
        return logits[-1].sum() * 0, logits[-1].sum() * 0
    cross, dice = [], []
    for layer in logits:
        chosen = layer[known].flatten(1)
        cross.append(F.binary_cross_entropy_with_logits(chosen, truth))
        p = chosen.sigmoid()
        dice.append((1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).mean())
    return torch.stack(cross).mean(), torch.stack(dice).mean()


# ---------------------------------------------------------------------------------------------------------- MECL


class MECL(nn.Module):
    """Multi-entity contrastive learning: projects masks and words onto one unit sphere and compares them there.

    level: "intra" (Eq. 10), "inter" (Eq. 11 and 12) or "both". max_masks: the most nodes of a row. The scale 1 / tau is
    exp(a learned number), from 1 / 0.07, at most 100.
    """

    def __init__(self, width: int, channels: int, level: str, max_masks: int) -> None:
        super().__init__()
        self.level, self.max_masks = level, max_masks
        self.mask_projection, self.word_projection = nn.Linear(width, channels), nn.Linear(width, channels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """1 / tau."""
        return self.log_scale.exp().clamp(max=100)

    def project(self, masks: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, width) and (B, L, width) -> unit vectors (B, N, C) and (B, L, C)."""
        return F.normalize(self.mask_projection(masks), dim=-1), F.normalize(self.word_projection(words), dim=-1)

    def similarity(self, masks: Tensor, words: Tensor) -> Tensor:
        """Features as for `project` -> (B, N, L) scaled cosines."""
        m, s = self.project(masks, words)
        return self.scale * m @ s.transpose(1, 2)

    def forward(
        self,
        masks: Tensor,
        words: Tensor,
        mask_valid: Tensor,
        word_valid: Tensor,
        grounding: Tensor,
        rows: int = 1,
        weight: Tensor | None = None,
    ) -> Tensor:
        """L_MEC of features as for `project`.

        mask_valid: (B, N) bool. word_valid: (B, L) bool. grounding: (B, N, L) bool, word j names node i. rows: how many
        rows a picture has. weight: (B,), how much each row counts, all alike unless given.
        """
        weight = masks.new_ones(len(masks)) if weight is None else weight
        m, s = self.project(masks, words)
        loss = m.new_zeros(())
        if self.level in ("intra", "both"):
            loss = loss + intra_sample_loss(
                self.scale * m @ s.transpose(1, 2), mask_valid, word_valid, grounding, weight
            )
        if self.level in ("inter", "both"):
            m = F.pad(m, (0, 0, 0, self.max_masks - m.shape[1]))  # the same shape on every process
            mask_valid = F.pad(mask_valid, (0, self.max_masks - mask_valid.shape[1]))
            scores = matching_scores(
                gather(m), gather(s), gather(mask_valid.float()).bool(), gather(word_valid.float()).bool()
            )
            loss = loss + inter_sample_loss(self.scale * scores, rows, gather(weight))
        return loss


def intra_sample_loss(
    score: Tensor, mask_valid: Tensor, word_valid: Tensor, grounding: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Eq. 10: each mask against the words of its caption, and each word against the masks of its picture.

    score: (B, N, L), scaled cosines. The others as for `MECL.forward`.
    """
    grounding = grounding & mask_valid[..., None] & word_valid[:, None]
    by_mask = score.masked_fill(~word_valid[:, None], -torch.inf).log_softmax(2)
    by_word = score.masked_fill(~mask_valid[..., None], -torch.inf).log_softmax(1)
    weight = score.new_ones(len(score)) if weight is None else weight
    return _mean_of_positives(by_mask, grounding, 2, weight) + _mean_of_positives(by_word, grounding, 1, weight)


def _mean_of_positives(log_p: Tensor, positive: Tensor, dim: int, weight: Tensor) -> Tensor:
    """-mean over the anchors that have positives of the mean over their positives, each row by its weight (B,)."""
    count = positive.sum(dim)
    each = log_p.masked_fill(~positive, 0).sum(dim) / count.clamp_min(1)
    return -(weight[:, None] * each).sum() / (count > 0).sum().clamp_min(1)


def inter_sample_loss(scores: Tensor, rows: int = 1, weight: Tensor | None = None) -> Tensor:
    """Eq. 12: the masks of row i against its caption and those of all other pictures, and the captions likewise.

    scores: (B, B), scaled `matching_scores`. The `rows` rows of one picture are not each other's negatives, because
    their captions describe the same masks.
    """
    index = torch.arange(len(scores), device=scores.device)
    same_picture = (index[:, None] // rows == index // rows) & (index[:, None] != index)
    scores = scores.masked_fill(same_picture, -torch.inf)
    weight = scores.new_ones(len(scores)) if weight is None else weight
    return torch.stack(
        [(weight * F.cross_entropy(x, index, reduction="none")).mean() for x in (scores, scores.T)]
    ).sum()


def matching_scores(m: Tensor, s: Tensor, mask_valid: Tensor, word_valid: Tensor) -> Tensor:
    """Eq. 11, g[i, k] of the masks of row i and caption k: (B, B). Padded masks and words don't count.

    m: (B, N, C) and s: (B, L, C) unit vectors of masks and words.
    """
    score = torch.einsum("inc,klc->ikln", m, s)
    weight = score.masked_fill(~mask_valid[:, None, None], -torch.inf).softmax(-1)
    by_word = (weight * score).sum(-1)  # (i, k, L)
    return (by_word * word_valid[None]).sum(-1) / word_valid.sum(-1)[None]
