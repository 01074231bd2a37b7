"""Scores of a segmenter on images with notes, through the one inference path."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segue.api import Segmenter
from segue.metrics.calibration import expected_calibration_error
from segue.metrics.masks import Counts, Empty, scores
from segue.options import SegmentOptions
from segue.types import Example, InputError, Segmentation


def evaluate(
    segmenter: Segmenter,
    examples: Sequence[Example],
    *,
    empty: Empty,
    notes: Sequence[str | None] | None = None,
    options: SegmentOptions = SegmentOptions(),
    seen: Callable[[Example, Segmentation, Counts], None] | None = None,
) -> dict[str, Any]:
    """Dice, IoU, the official mIoU and the class-mean mIoU, and the calibration error, on each image's own grid.

    notes: other notes than the examples' own, such as shuffled ones. empty: what an empty mask predicted empty
    scores in dice and iou (the official miou always gives it 0). seen: is called with each example, its answer and its
    counts. Raises InputError for an example without a mask.
    """
    if unlabelled := [e.name for e in examples if e.mask is None]:
        raise InputError(
            f"{len(unlabelled)} examples have no mask, such as {unlabelled[0]}; scoring needs one for each"
        )
    used_notes = [e.note for e in examples] if notes is None else notes
    answers = segmenter.segment_many([e.image for e in examples], used_notes, options=options)
    counts, errors = [], []
    for example, answer in zip(examples, answers, strict=True):
        assert example.mask is not None
        counts.append(Counts.of(answer.mask[None], example.mask[None]))
        errors.append(expected_calibration_error(answer.probability, example.mask))
        if seen is not None:
            seen(example, answer, counts[-1])
    result = scores(Counts.joined(counts), empty=empty)
    return {**result, "ece": float(np.mean(errors)), "resolution": "native"}


SYNONYMS = {
    "infection": "opacities", "infected": "affected", "areas": "regions", "area": "region", "bilateral": "two-sided",
    "unilateral": "one-sided", "upper": "top", "middle": "mid", "lower": "bottom", "all": "the whole", "one": "1",
    "two": "2", "three": "3", "four": "4", "pulmonary": "lung",
}  # fmt: skip


def reword_notes(notes: Sequence[str | None]) -> list[str | None]:
    """Every word of SYNONYMS in the notes replaced; what they say stays."""
    words = re.compile(rf"\b({'|'.join(SYNONYMS)})\b", re.IGNORECASE)
    return [None if note is None else words.sub(lambda found: SYNONYMS[found[0].lower()], note) for note in notes]


def reverse_clauses(notes: Sequence[str | None]) -> list[str | None]:
    """The parts of each note between its commas in the opposite order; what they say stays."""
    return [note if note is None else ", ".join(reversed(re.split(r",\s*", note.rstrip(" .")))) + "." for note in notes]


def shuffle_words(notes: Sequence[str | None], seed: int) -> list[str | None]:
    """The words of each note in any order: which zone is of which side is lost."""
    rng = np.random.default_rng(seed)
    return [note if note is None else " ".join(rng.permutation(note.split())) for note in notes]


def shuffle_notes(notes: Sequence[str | None], seed: int) -> list[str | None]:
    """A permutation of the notes; each image gets a note that differs from its own where there is one."""
    rng = np.random.default_rng(seed)
    shuffled = [notes[i] for i in rng.permutation(len(notes))]
    for i, original in enumerate(notes):
        swaps = [j for j in range(len(notes)) if shuffled[j] != original and shuffled[i] != notes[j]]
        if shuffled[i] == original and swaps:
            j = int(rng.choice(swaps))
            shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
    return shuffled
