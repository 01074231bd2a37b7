"""The table `instances`: how well objects of one mask are told apart and counted, on drawn nuclei of known number.

A field is 512 x 512 pixels with ovals of the sizes that MoNuSeg's nuclei have after the cut (radius 6.5 pixels in the
median, a tenth of them below 4 or above 10), at random places; one may lie over others by a quarter of itself. The
experiments are the shares of the field that they cover (MoNuSeg's training fields have 16 to 40 %), with plain ovals
and with "uneven" ones, whose outline goes in and out by up to UNEVEN of the radius. What is cut is the true mask, so
that the figures are an upper bound for a mask that a model predicts. How deep a neck is cut was chosen on other fields.

count: predicted over true number. count_error: |predicted - true| / true. precision, recall: of objects, by an IoU
above .5 with the true one. Means over the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segue.data.instances import split_touching
from segue.lab.engine import Row, Work

SHARES, SEEDS = (0.2, 0.3, 0.4, 0.5), (0, 1, 2)
FIELDS, SIDE = 20, 512
RADIUS, SPREAD, LONGEST = 6.5, 0.3, 1.7  # median, deviation of its logarithm, of the longer axis over the shorter
OVERLAP = 0.25  # of an oval, at most
UNEVEN = 0.3
Numbered = NDArray[np.int32]


def connected_parts(mask: NDArray[np.bool_]) -> Numbered:
    """Parts that touch are one."""
    numbers: Numbered = ndimage.label(mask, np.ones((3, 3)))[0].astype(np.int32)
    return numbers


SYSTEMS: dict[str, Callable[[NDArray[np.bool_]], Numbered]] = {
    "connected parts": connected_parts,
    "cut at necks": split_touching,
}


def instances_table() -> list[Row]:
    """Two ways to number objects, at four densities."""
    return [
        Row(f"{share:.0%} covered{', uneven' if uneven else ''}", name, seed, partial(_row, share, uneven, name, seed))
        for uneven in (0.0, UNEVEN)
        for share in SHARES
        for name in SYSTEMS
        for seed in SEEDS
    ]


def _row(share: float, uneven: float, name: str, seed: int, work: Work) -> dict[str, float]:
    truths = [draw_field(share, np.random.default_rng([seed, i]), uneven=uneven) for i in range(FIELDS)]
    scores = [score_numbers(truth, SYSTEMS[name](truth > 0)) for truth in truths]
    return {metric: float(np.mean([one[metric] for one in scores])) for metric in scores[0]}


def draw_field(share: float, rng: np.random.Generator, *, uneven: float = 0.0, side: int = SIDE) -> Numbered:
    """(side, side) int32: the number of the oval that covers a pixel, 0 where none does; `share` of it are covered.

    uneven: how far outlines go in and out, in radii.
    """
    field, number, covered = np.zeros((side, side), np.int32), 0, 0
    while covered < share * side * side:
        radius, stretch = RADIUS * np.exp(SPREAD * rng.normal()), np.sqrt(rng.uniform(1, LONGEST))
        angle, (y, x), phases = rng.uniform(0, np.pi), rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi, 3)
        reach = int(np.ceil(radius * stretch * (1 + uneven))) + 1
        top, left = (max(0, int(at) - reach) for at in (y, x))
        part = field[top : int(y) + reach + 1, left : int(x) + reach + 1]
        v, u = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
        along = ((v - y) * np.cos(angle) + (u - x) * np.sin(angle)) / (radius * stretch)
        across = ((u - x) * np.cos(angle) - (v - y) * np.sin(angle)) * stretch / radius
        turn = np.arctan2(across, along)
        waves = sum(np.sin(n * turn + phase) for n, phase in zip((2, 3, 4), phases, strict=True)) / 3
        oval = np.hypot(along, across) <= 1 + uneven * waves
        if oval.any() and (part[oval] > 0).mean() <= OVERLAP:
            number += 1
            free = oval & (part == 0)
            part[free] = number
            covered += int(free.sum())
    return field


def score_numbers(truth: Numbered, found: Numbered) -> dict[str, float]:
    """The scores of one field; at an IoU above .5 no object has two partners."""
    both, counts = np.unique(np.stack([truth, found])[:, (truth > 0) & (found > 0)], axis=1, return_counts=True)
    areas = [np.bincount(numbers.ravel()) for numbers in (truth, found)]
    ious = counts / (areas[0][both[0]] + areas[1][both[1]] - counts)
    right = int((ious > 0.5).sum())
    true, predicted = (int((one[1:] > 0).sum()) for one in areas)
    return {
        "count": predicted / true,
        "count_error": abs(predicted - true) / true,
        "precision": right / max(1, predicted),
        "recall": right / true,
    }
