"""What is to be seen in a picture, for Eq. 4: names of objects found by image-text similarity, or given.

Shapes: B pictures, V names, K names kept for a picture, D width of the image-text pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.methods.syntic.features import check_features
from segue.types import InputError, Region


def tag(v: Tensor, names: Tensor, temperature: float, *, most: int = 5, least: float = 0.05) -> tuple[Tensor, Tensor]:
    """The likeliest names of each picture under a softmax over the whole vocabulary.

    v: (B, D) image features. names: (V, D) text features. temperature: of the pair. most: names of a picture.
    least: the probability from which a name counts, in [0, 1]; a picture may get no name.
    Returns places in the vocabulary (B, K) int64, the likeliest first, and which of them count (B, K) bool;
    K = min(most, V).
    """
    check_features(v, "image features")
    check_features(names, "names", v.shape[1])
    if most < 1 or not 0 <= least <= 1 or not temperature > 0:
        raise InputError(
            f"tags: got most {most}, least {least}, temperature {temperature}; expected most of 1 or more, "
            "least in 0..1 and a temperature above 0"
        )
    logits = F.normalize(v.float(), dim=-1) @ F.normalize(names.float(), dim=-1).T.to(v.device) / temperature
    probability, place = logits.softmax(-1).topk(min(most, len(names)), dim=-1)
    return place, probability >= least


def labels(objects: Sequence[str | Region]) -> list[str]:
    """Names of given objects, which may be the regions of a data set; each once, in the order given."""
    told = [one.label if isinstance(one, Region) else one for one in objects]
    for name in told:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"objects: got {name!r:.40}, expected names such as 'dog', or regions with a label")
    return list(dict.fromkeys(told))


def gathered(features: Tensor, numbers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of features (V, D) for each picture, padded: objects (B, K, D), found (B, K) bool; K may be 0."""
    place, found = padded(numbers)
    return features[place.to(features.device)], found


def padded(numbers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Numbers of each picture's names, padded: places (B, K) int64, which are real (B, K) bool; K may be 0."""
    longest = max((len(one) for one in numbers), default=0)
    place = torch.zeros(len(numbers), longest, dtype=torch.int64)
    found = torch.zeros(len(numbers), longest, dtype=torch.bool)
    for i, one in enumerate(numbers):
        place[i, : len(one)] = torch.tensor(one, dtype=torch.int64)
        found[i, : len(one)] = True
    return place, found
