"""How well curated concepts recover what captions leave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from segue.types import InputError

Names = Sequence[Collection[str]]


def concept_recovery(found: Names, named: Names, omitted: Names) -> dict[str, float | int | None]:
    """Precision and recall, over all pictures together, of concepts against what the captions left out.

    found, named, omitted: for each picture the concepts that were found for it, those that its caption names, and
    those that are in the picture and not in its caption. A found concept that the caption names is neither right nor
    wrong. precision = right / new, recall = right / omitted, in [0, 1]; None where there is nothing to divide by.
    macro_recall: the mean of each concept's own recall, over those that are omitted somewhere, so that frequent ones
    count no more than seldom ones. Also the counts "new", "right" and "omitted".
    Raises InputError for lists of different lengths.
    """
    if not len(found) == len(named) == len(omitted):
        raise InputError(
            f"recovery: got {len(found)} pictures with found concepts, {len(named)} with named and {len(omitted)} with "
            "omitted ones, expected one entry for each picture in all three"
        )
    fresh = [set(f) - set(n) for f, n in zip(found, named, strict=True)]
    new, left = sum(map(len, fresh)), sum(len(set(o)) for o in omitted)
    hits = Counter(name for f, o in zip(fresh, omitted, strict=True) for name in f & set(o))
    there, right = Counter(name for o in omitted for name in set(o)), hits.total()
    return {
        "precision": right / new if new else None,
        "recall": right / left if left else None,
        "macro_recall": sum(hits[name] / count for name, count in there.items()) / len(there) if there else None,
        "new": new,
        "right": right,
        "omitted": left,
    }
