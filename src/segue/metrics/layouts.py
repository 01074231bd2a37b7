"""Scores of layouts drawn for a caption, where positions are free. A layout is an (H, W) integer map of classes.

A caption does not fix positions, so overlap alone misjudges a drawing. These scores compare what a caption can fix:
the classes, their areas, and the relations that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segue.types import InputError

Layout = NDArray[np.uint8]
UNKNOWN = 255
PREDICATES = ("left of", "right of", "above", "below")


def class_shares(layout: Layout, classes: int) -> NDArray[np.float64]:
    """(classes,) the share of the known pixels that each class covers; zeros when nothing is known.

    Raises InputError for a class that is not below `classes`.
    """
    known = layout[layout != UNKNOWN]
    if known.size and known.max() >= classes:
        raise InputError(
            f"layout: holds the class {known.max()}, expected 0 to {classes - 1}, or {UNKNOWN} for unknown"
        )
    result: NDArray[np.float64] = np.bincount(known, minlength=classes) / max(known.size, 1)
    return result


def class_f1(drawn: Layout, truth: Layout, classes: int, least: float = 0.002) -> float:
    """F1 of the sets of classes; a class counts from `least` of the known pixels. Two empty sets score 1."""
    a, b = (class_shares(layout, classes) >= least for layout in (drawn, truth))
    return 1.0 if not (a.any() or b.any()) else float(2 * (a & b).sum() / (a.sum() + b.sum()))


def area_divergence(drawn: Layout, truth: Layout, classes: int) -> float:
    """Jensen-Shannon divergence (base 2, 0 to 1) of the classes' areas."""
    p, q = class_shares(drawn, classes), class_shares(truth, classes)
    if not p.any() or not q.any():
        return 0.0 if p.any() == q.any() else 1.0
    middle = (p + q) / 2
    return float(np.clip((_divergence(p, middle) + _divergence(q, middle)) / 2, 0, 1))


def boundary_f(drawn: Layout, truth: Layout, tolerance: float = 0.0075) -> float:
    """F1 of the edges between classes, matched within `tolerance` of the diagonal (1 pixel or more).

    Raises InputError for layouts of different shapes.
    """
    if drawn.shape != truth.shape:
        raise InputError(f"layouts: got shapes {drawn.shape} and {truth.shape}, expected equal ones; resize one first")
    reach = max(1.0, tolerance * float(np.hypot(*drawn.shape)))
    a, b = _edges(drawn), _edges(truth)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    precision = (ndimage.distance_transform_edt(~b)[a] <= reach).mean()
    recall = (ndimage.distance_transform_edt(~a)[b] <= reach).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


@dataclass(frozen=True)
class Fidelity:
    """The parts of a visual fidelity score (VFS). The paper uses a VFS without defining it; this definition is ours."""

    class_f1: float
    area: float
    boundary: float

    @property
    def vfs(self) -> float:
        """The mean of class-set F1, 1 - Jensen-Shannon divergence of the areas, and boundary F."""
        return (self.class_f1 + self.area + self.boundary) / 3


def fidelity(drawn: Layout, truth: Layout, classes: int) -> Fidelity:
    """The parts of the visual fidelity score of one drawing."""
    area = 1 - area_divergence(drawn, truth, classes)
    return Fidelity(class_f1(drawn, truth, classes), area, boundary_f(drawn, truth))


def satisfies(layout: Layout, subject: int, predicate: str, target: int) -> bool:
    """Whether some connected part of class `subject` lies so to some part of class `target`, by centres of mass.

    predicate: one of PREDICATES. y grows downwards. False when a class is missing.
    Raises InputError for another predicate.
    """
    if predicate not in PREDICATES:
        raise InputError(f"predicate {predicate!r}: expected one of {', '.join(PREDICATES)}")
    axis, sign = {"left of": (1, -1), "right of": (1, 1), "above": (0, -1), "below": (0, 1)}[predicate]
    a, b = _centres(layout, subject), _centres(layout, target)
    return any(sign * (p[axis] - q[axis]) > 0 for p in a for q in b if p is not q)


def relation_accuracy(layout: Layout, relations: Iterable[tuple[int, str, int]]) -> tuple[int, int]:
    """(number of relations that hold, number of relations); predicates outside PREDICATES are not counted."""
    checked = [satisfies(layout, *relation) for relation in relations if relation[1] in PREDICATES]
    return sum(checked), len(checked)


def best_of(values: Sequence[float], k: int) -> float:
    """The best of the first k drawings' scores.

    Raises InputError for a k below 1, or above the number of scores.
    """
    if not 1 <= k <= len(values):
        raise InputError(f"best of {k}: got {len(values)} drawings, expected at least {k}")
    return max(values[:k])


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def _edges(layout: Layout) -> NDArray[np.bool_]:
    edges = np.zeros(layout.shape, np.bool_)
    edges[:-1] |= layout[:-1] != layout[1:]
    edges[:, :-1] |= layout[:, :-1] != layout[:, 1:]
    return edges


def _centres(layout: Layout, kind: int, least: float = 0.0005) -> list[tuple[float, float]]:
    """Centres (y, x) of the connected parts of a class that cover `least` of the layout."""
    parts, count = ndimage.label(layout == kind)
    sizes = np.bincount(parts.ravel())[1:]
    kept = [i + 1 for i in range(count) if sizes[i] >= least * layout.size]
    return [tuple(c) for c in ndimage.center_of_mass(parts > 0, parts, kept)]
