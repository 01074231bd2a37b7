"""Scores of a segmenter on noted pictures, through the one inference path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segue.api import Segmenter
from segue.metrics.calibration import expected_calibration_error
from segue.metrics.masks import Counts, Empty, scores
from segue.types import Example, InputError


def evaluate(
    segmenter: Segmenter,
    examples: Sequence[Example],
    *,
    empty: Empty,
    notes: Sequence[str | None] | None = None,
    tta: bool = False,
    window: int = 0,
) -> dict[str, Any]:
    """Dice, IoU, the official mIoU and the class-mean mIoU, and the calibration error, on each picture's own grid.

    notes: other notes than the examples' own, such as shuffled ones. empty: what an empty mask predicted empty
    scores in dice and iou (the official miou always gives it 0).
    """
    if unlabelled := [e.name for e in examples if e.mask is None]:
        raise InputError(
            f"{len(unlabelled)} examples have no mask, such as {unlabelled[0]}; scoring needs one for each"
        )
    said = [e.note for e in examples] if notes is None else notes
    answers = segmenter.segment_many([e.image for e in examples], said, tta=tta, window=window)
    counts, errors = [], []
    for example, answer in zip(examples, answers, strict=True):
        assert example.mask is not None
        counts.append(Counts.of(answer.mask[None], example.mask[None]))
        errors.append(expected_calibration_error(answer.probability, example.mask))
    result = scores(Counts.joined(counts), empty=empty)
    return {**result, "ece": float(np.mean(errors)), "resolution": "native"}


def shuffled(notes: Sequence[str | None], seed: int) -> list[str | None]:
    """The notes dealt out anew, each picture getting a note that differs from its own where there is one."""
    rng = np.random.default_rng(seed)
    dealt = [notes[i] for i in rng.permutation(len(notes))]
    for i, own in enumerate(notes):
        others = [j for j in range(len(notes)) if dealt[j] != own and dealt[i] != notes[j]]
        if dealt[i] == own and others:
            j = int(rng.choice(others))
            dealt[i], dealt[j] = dealt[j], dealt[i]
    return dealt
