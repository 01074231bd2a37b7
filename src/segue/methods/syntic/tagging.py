"""The objects of a picture, for Eq. 4: names that are found by image-text similarity, or given.

Shapes: B pictures, V names, K names kept for a picture, D width of the dual encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.methods.syntic.feature_optimisation import check_features
from segue.types import InputError, Region


def find_objects(
    v: Tensor, names: Tensor, temperature: float, *, max_names: int = 5, min_probability: float = 0.05
) -> tuple[Tensor, Tensor]:
    """The likeliest names of each picture under a softmax over all names.

    v: (B, D) image features. names: (V, D) text features. temperature: of the dual encoder. max_names: of a picture.
    min_probability: the probability from which a name counts, in [0, 1]; a picture may get no name.
    Returns positions in `names` (B, K) int64, the likeliest first, and which of them count (B, K) bool;
    K = min(max_names, V).
    Raises InputError for features that don't fit each other, or a setting out of its range.
    """
    check_features(v, "image features")
    check_features(names, "names", v.shape[1])
    if max_names < 1 or not 0 <= min_probability <= 1 or not temperature > 0:
        raise InputError(
            f"objects: got max_names {max_names}, min_probability {min_probability}, temperature {temperature}; "
            "expected max_names of 1 or more, min_probability in 0..1 and a temperature above 0"
        )
    logits = F.normalize(v.float(), dim=-1) @ F.normalize(names.float(), dim=-1).T.to(v.device) / temperature
    probability, index = logits.softmax(-1).topk(min(max_names, len(names)), dim=-1)
    return index, probability >= min_probability


def object_names(objects: Sequence[str | Region]) -> list[str]:
    """The names of given objects, which may be regions of a data set; each once, in the order given.

    Raises InputError for anything that has no name.
    """
    names = [one.label if isinstance(one, Region) else one for one in objects]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"objects: got {name!r:.40}, expected names such as 'dog', or regions with a label")
    return list(dict.fromkeys(names))


def gather_objects(features: Tensor, indices: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """The rows of features (V, D) for each picture, padded: objects (B, K, D) and found (B, K) bool; K may be 0."""
    index, found = pad_indices(indices)
    return features[index.to(features.device)], found


def pad_indices(indices: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of positions, padded: (B, K) int64, and which of them are real (B, K) bool; K may be 0."""
    longest = max((len(one) for one in indices), default=0)
    index = torch.zeros(len(indices), longest, dtype=torch.int64)
    real = torch.zeros(len(indices), longest, dtype=torch.bool)
    for i, one in enumerate(indices):
        index[i, : len(one)] = torch.tensor(one, dtype=torch.int64)
        real[i, : len(one)] = True
    return index, real
