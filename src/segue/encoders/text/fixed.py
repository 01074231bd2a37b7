"""Notes as features of one length, for networks whose layers have a weight for each place in a note."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.encoders.text.contract import TextEncoder, TextFeatures


def fixed_length(
    encoder: TextEncoder, notes: Sequence[str | None], length: int, encode: TextFeatures | None = None
) -> tuple[Tensor, Tensor]:
    """Features (B, length, D) and mask (B, length): cut or filled with zeros, all zeros for a note that is None.

    encode: reads the notes in the place of the encoder, such as a `TextFeatureCache` of it.
    """
    device = next(encoder.parameters()).device
    result = torch.zeros(len(notes), length, encoder.width, device=device)
    result_mask = torch.zeros(len(notes), length, dtype=torch.bool, device=device)
    if given := [i for i, note in enumerate(notes) if note is not None]:
        texts = [notes[i] or "" for i in given]
        if encode is None:
            ids, mask = (part.to(device) for part in encoder.tokenize(texts))
            features = encoder(ids, mask)
        else:
            features, mask = encode(texts)
        short = max(0, length - features.shape[1])
        result[given] = F.pad(features[:, :length], (0, 0, 0, short)).to(result.dtype)
        result_mask[given] = F.pad(mask[:, :length], (0, short))
    return result, result_mask
