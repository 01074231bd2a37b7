"""Objects of one mask told apart, such as nuclei that touch."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from segue.types import check_mask


def split_touching(mask: NDArray[np.bool_], neck: float = 0.85) -> NDArray[np.int32]:
    """The objects of a mask: (H, W) bool -> (H, W) int32, 0 outside, else the object's number from 1, from the top.

    Parts that don't touch are objects of their own. A part is cut where it has a neck: where the distance to the
    outside falls, between two of its maxima, below `neck` of the smaller one (a watershed of that distance). So a round
    or an oval object stays whole at any size, and two that overlap by half or more stay one.
    Raises InputError for what is no mask.
    """
    check_mask(mask)
    from scipy import ndimage

    distance = np.pad(ndimage.distance_transform_edt(mask), 1)
    basins = _climb(distance)
    peaks = np.zeros(basins.max() + 1)
    np.maximum.at(peaks, basins, distance)
    merged = _merge(basins, distance, peaks, neck)[basins][1:-1, 1:-1]
    found, first = np.unique(merged[mask], return_index=True)  # in the order of reading, by their first pixels
    numbers = np.zeros(len(peaks), np.int32)
    numbers[found[np.argsort(first)]] = np.arange(1, len(found) + 1)
    return np.where(mask, numbers[merged], 0).astype(np.int32)


def _climb(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """The number of the maximum that each pixel comes to, always going to the highest of its eight neighbours.

    distance: (H, W) with a border of zeros. Returns (H, W), 0 where the distance is 0, numbers from 1 elsewhere.
    """
    place = np.arange(distance.size).reshape(distance.shape)
    best, peak_of = distance.copy(), place.copy()
    inner = np.s_[1:-1, 1:-1]
    for dy, dx in itertools.product((0, 1, 2), repeat=2):
        there = np.s_[dy : dy + distance.shape[0] - 2, dx : dx + distance.shape[1] - 2]
        higher = distance[there] > best[inner]
        best[inner][higher], peak_of[inner][higher] = distance[there][higher], place[there][higher]
    goal = peak_of.ravel()
    while not np.array_equal(goal, goal[goal]):
        goal = goal[goal]
    inside = (distance > 0).ravel()
    numbers = np.zeros(distance.size, np.int64)
    numbers[inside] = np.unique(goal[inside], return_inverse=True)[1] + 1
    return numbers.reshape(distance.shape)


def _merge(
    basins: NDArray[np.int64], distance: NDArray[np.float64], peaks: NDArray[np.float64], neck: float
) -> NDArray[np.int64]:
    """The basin that each belongs to in the end: (count + 1,). Two join where the pass between them is high enough."""
    passes: dict[tuple[int, int], float] = {}
    for here, there in (
        (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]), (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        a, b = basins[here], basins[there]
        border = (a != b) & (a > 0) & (b > 0)
        heights = np.minimum(distance[here], distance[there])[border]
        for one, other, height in zip(a[border].tolist(), b[border].tolist(), heights.tolist(), strict=True):
            pair = min(one, other), max(one, other)
            passes[pair] = max(passes.get(pair, 0.0), height)
    owner, peak = list(range(len(peaks))), peaks.tolist()
    for (one, other), height in sorted(passes.items(), key=lambda item: (-item[1], item[0])):
        one, other = _root(owner, one), _root(owner, other)
        if one != other and height >= neck * min(peak[one], peak[other]):
            owner[max(one, other)] = min(one, other)
            peak[min(one, other)] = max(peak[one], peak[other])
    return np.array([_root(owner, one) for one in range(len(owner))])


def _root(owner: list[int], one: int) -> int:
    while owner[one] != one:
        one = owner[one]
    return one
