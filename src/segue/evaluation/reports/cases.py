"""What the reports of all kinds of evaluations share: which cases are shown, and the page around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from segue.pages.page import Card, cards, facts, section, write_report
from segue.types import Picture

SHOWN = 12  # the worst cases that are shown, and as many of the best
EXAMPLES = 8  # pictures in the report of a training
SIDE = 448  # pixels of the longer side of a picture in a report
T = TypeVar("T")


class Report(Protocol):
    """Saw every case of an evaluation while it was computed, and shows them."""

    def parts(self, found: Mapping[str, Any], folder: Path) -> list[str]:
        """Sections in HTML. found: the figures of the evaluation. folder: of the page, for links."""
        ...


@dataclass
class Extremes(Generic[T]):
    """The worst and the best of many cases, of which only these are made and kept. count: how many of each."""

    count: int = SHOWN
    _low: list[tuple[float, int, T]] = field(default_factory=list)
    _high: list[tuple[float, int, T]] = field(default_factory=list)
    _seen: int = 0

    def offer(self, score: float, make: Callable[[], T]) -> None:
        """One more case; `make` is called if it is among the worst or the best so far."""
        key = (score, self._seen)
        self._seen += 1
        low = len(self._low) < self.count or key < self._low[-1][:2]
        high = len(self._high) < self.count or key > self._high[0][:2]
        if low or high:
            case = (*key, make())
            self._low = sorted([*self._low, case], key=_key)[: self.count] if low else self._low
            self._high = sorted([*self._high, case], key=_key)[-self.count :] if high else self._high

    def split(self) -> tuple[list[T], list[T]]:
        """(the worst, the worst first; the best, the best first); no case is in both."""
        kept = sorted({case[1]: case for case in (*self._low, *self._high)}.values(), key=_key)
        return split_ends([made for *_, made in kept], self.count)


def _key(case: tuple[float, int, Any]) -> tuple[float, int]:
    return case[0], case[1]


def split_ends(ordered: Sequence[T], count: int = SHOWN) -> tuple[list[T], list[T]]:
    """(the first, the last in reverse), `count` of each at most; none is in both, and of a few half are in each."""
    half = min(count, -(-len(ordered) // 2))
    return list(ordered[:half]), list(ordered[half:])[::-1][:count]


def spread_evenly(items: Sequence[T], count: int = EXAMPLES) -> list[T]:
    """Up to `count` of the items, from the first to the last."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))]


def examples_section_of(drawn: Sequence[Card], of: int, legend: str = "") -> str:
    """The section of a training's report with examples. of: how many there are. legend: HTML above the pictures."""
    lead = f"{len(drawn)} of {of} validation pictures, spread evenly, by the checkpoint that was kept."
    return section("examples", "Examples", lead, legend, cards(drawn))


def extremes_sections(
    worst: Sequence[Card], best: Sequence[Card], by: str, lead: str = "", legend: str = ""
) -> list[str]:
    """Two sections with the worst and the best cases.

    by: the score, in words. lead: a sentence below the first heading. legend: HTML above the pictures.
    """
    parts = [section("worst", f"The {len(worst)} worst by {by}", lead, legend, cards(worst))] if worst else []
    return parts + ([section("best", f"The {len(best)} best by {by}", "", legend, cards(best))] if best else [])


def write_evaluation(folder: Path, report: Report, found: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
    """Write the page of an evaluation; returns it.

    found: the figures as they are printed. about: what was evaluated, and how.
    Raises InputError for a folder that holds something else.
    """
    figures = {name: value for name, value in found.items() if isinstance(value, float) or _not_computed(value)}
    rest = {name: value for name, value in found.items() if name not in (*figures, *about, "class_iou")}
    parts = [
        section("about", "What was evaluated", "", facts({**about, **rest})),
        section("figures", "Figures", "", facts(figures)),
        *report.parts(found, folder),
    ]
    lead = "Written by segue eval --report, from the same computation as the printed figures."
    return write_report(folder, "An evaluation, picture by picture", lead, parts)


def _not_computed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("not computed")


def file_of(picture: Picture) -> Path | None:
    """The file that a picture of a data set is read from, where it is one of its own."""
    given = picture.load.args if isinstance(picture.load, partial) else ()
    return given[0] if given and isinstance(given[0], Path) else None
