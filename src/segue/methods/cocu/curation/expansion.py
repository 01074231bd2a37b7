"""Vision-driven expansion: the candidate concepts of each picture, from the captions of its nearest pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.methods.cocu.curation.arrays import Indices
from segue.methods.cocu.vocabulary import CaptionConcepts


class Candidates(NamedTuple):
    """The archives of B anchors as P (anchor, concept) pairs, sorted by anchor, then by concept.

    anchor: (P,) position in the batch. concept: (P,) concept id. in_neighbour: (P, L), whether that neighbour's caption
    names the concept. in_caption: (P,), whether the anchor's own caption does.
    """

    anchor: Indices
    concept: Indices
    in_neighbour: NDArray[np.bool_]
    in_caption: NDArray[np.bool_]


def collect_candidates(
    anchors: Indices, neighbours: Indices, concepts: CaptionConcepts, *, expansion: bool = True
) -> Candidates:
    """The union of the neighbours' concepts for each anchor; without expansion, the anchor's own concepts.

    anchors: (B,) rows. neighbours: (B, L) rows, -1 for none.
    """
    slots = neighbours.shape[1]
    position, concept = concepts.of_rows(anchors)
    stride = int(concepts.concept_ids.max(initial=0)) + 1
    own_keys = position * stride + concept
    present = neighbours.ravel() >= 0
    position, concept = concepts.of_rows(neighbours.ravel()[present])
    slot = np.flatnonzero(present)[position]
    keys = (slot // slots) * stride + concept
    unique, inverse = np.unique(keys if expansion else own_keys, return_inverse=True)
    in_neighbour = np.zeros((len(unique), slots), bool)
    if expansion:
        in_neighbour[inverse, slot % slots] = True
    return Candidates(unique // stride, unique % stride, in_neighbour, np.isin(unique, own_keys))
