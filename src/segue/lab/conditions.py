"""Where RecLMIS' conditions look: how much of W_poi lies inside the truth, how much of W_woi on words of place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from segue.api import load_segmenter
from segue.data.transforms import resize_mask
from segue.methods.reclmis.model import RecLMIS
from segue.types import Example

PLACE = frozenset(
    ["left", "right", "upper", "middle", "lower", "all", "bilateral", "unilateral", "both", "central", "peripheral"]
)


@torch.no_grad()
def condition_shares(model: Path, examples: Sequence[Example], batch: int = 16) -> dict[str, float]:
    """The shares, as means over the examples that have a mask and a note; {} for a model without conditions.

    w_poi_inside: of W_poi's mass, in the mask (chance: mask_area). w_woi_place: of W_woi's mass, on words of place
    (chance: place_words, their share of the tokens).
    """
    segmenter = load_segmenter(model, device="cpu", attribution=True)
    member, size = segmenter.members[0], segmenter.preprocessing.size
    network = member.network
    if not isinstance(network, RecLMIS) or network.conditions is None or network.text_encoder is None:
        return {}
    used = [example for example in examples if example.mask is not None and example.note]
    shares: list[tuple[float, float, float, float]] = []
    for i in range(0, len(used), batch):
        part = used[i : i + batch]
        notes = [example.note or "" for example in part]
        w_poi, w_woi = network.condition_weights(segmenter.preprocessing.to_tensor([e.image for e in part]), notes)
        masks = np.stack([resize_mask(e.mask, (size, size)) for e in part if e.mask is not None])
        covered = F.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None].float(), (w_poi.shape[1], w_poi.shape[2]))[
            :, 0
        ]
        inside, area = (w_poi * covered).sum((1, 2)).tolist(), covered.mean((1, 2)).tolist()
        for b, note in enumerate(notes):
            place = [text.strip(" ,.").lower() in PLACE for text in network.text_encoder.token_texts(note)]
            on_place = float(w_woi[b, : len(place)][torch.tensor(place)].sum())
            shares.append((inside[b], area[b], on_place, sum(place) / len(place)))
    means = np.mean(shares, axis=0).tolist() if shares else [0.0] * 4
    return dict(zip(("w_poi_inside", "mask_area", "w_woi_place", "place_words"), means, strict=True))
