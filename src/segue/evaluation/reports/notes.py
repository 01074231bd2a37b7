"""The report of an evaluation by notes: Dice of each case, its distribution, masks over the pictures, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segue.api import Segmenter
from segue.data.visualize import HIT, MISSED, WRONG, compare_masks, data_url
from segue.evaluation.reports.cases import SIDE, Extremes, examples_section_of, extremes_sections, spread_evenly
from segue.metrics.calibration import Reliability
from segue.metrics.masks import Counts, Empty, dice, iou
from segue.pages.charts import histogram, reliability_chart
from segue.pages.page import Card, legend, link, section, table
from segue.types import Example, Segmentation

BINS = 10  # of the reliability diagram
COLOURS = {"found (TP)": HIT, "missed (FN)": MISSED, "too much (FP)": WRONG}


class NoteCase(NamedTuple):
    """Scores of one picture. dice, iou: NaN where an empty picture is skipped."""

    name: str
    note: str | None
    dice: float
    iou: float
    counts: Counts


@dataclass
class NoteReport:
    """Sees the cases of `segue.evaluation.notes.evaluate`. empty: its policy. files: of the pictures by name."""

    empty: Empty
    files: Mapping[str, Path] = field(default_factory=dict)
    cases: list[NoteCase] = field(default_factory=list)
    reliability: Reliability | None = None
    extremes: Extremes[Card] = field(default_factory=Extremes)

    def see(self, example: Example, answer: Segmentation, counts: Counts) -> None:
        """One case. counts: of this picture alone."""
        assert example.mask is not None
        one = NoteCase(
            example.name,
            answer.note,
            float(dice(counts, empty=self.empty)[0]),
            float(iou(counts, empty=self.empty)[0]),
            counts,
        )
        self.cases.append(one)
        pixels = Reliability.of(answer.probability, example.mask, BINS)
        self.reliability = pixels if self.reliability is None else self.reliability + pixels
        if not counts.empty[0]:
            self.extremes.offer(one.dice, lambda: note_card(example, answer, one.dice))

    def parts(self, found: Mapping[str, Any], folder: Path) -> list[str]:
        """See `Report`."""
        scored = [case.dice for case in self.cases if not np.isnan(case.dice)]
        charts = [histogram(scored, f"Dice of {len(scored)} pictures", x_label="Dice")]
        charts += [] if self.reliability is None else [draw_reliability(self.reliability, NOTE_RELIABILITY)]
        lead = (
            "A picture's own calibration error is averaged over the pictures in the figure ece above; "
            "in the diagram the pixels of all pictures are taken together."
        )
        return [
            section(
                "distribution", "Distribution and reliability", lead, f'<div class="charts">{"".join(charts)}</div>'
            ),
            *extremes_sections(*self.extremes.split(), "Dice", legend=legend(COLOURS)),
            section("cases", "All cases", "The worst first; a click on a head sorts.", self._table(folder)),
        ]

    def _table(self, folder: Path) -> str:
        heads = ("picture", "Dice", "IoU", "true pixels", "outlined pixels", "note")
        rows = [
            (
                link(case.name, self.files.get(case.name), folder),
                _score(case.dice),
                _score(case.iou),
                f"{int((case.counts.tp + case.counts.fn)[0]):,}",
                f"{int((case.counts.tp + case.counts.fp)[0]):,}",
                "<i>none</i>" if case.note is None else escape(case.note),
            )
            for case in sorted(self.cases, key=lambda case: (np.isnan(case.dice), case.dice))
        ]
        return table(heads, rows, numbers=(1, 2, 3, 4))


NOTE_RELIABILITY = ("predicted probability of the foreground", "share of true pixels")


def draw_reliability(found: Reliability, labels: tuple[str, str]) -> str:
    """The reliability diagram with its expected calibration error. labels: below and above the axes."""
    there = found.pixels > 0
    n = found.pixels[there]
    title = f"Reliability of {int(n.sum()):,} pixels in {len(found.pixels)} bins; "
    title += f"expected calibration error {found.error:.4f}"
    shares = (n / n.sum()).tolist()
    predicted, true = (values[there] / n for values in (found.predicted, found.true))
    return reliability_chart(predicted.tolist(), true.tolist(), shares, title, labels)


def note_card(example: Example, answer: Segmentation, score: float) -> Card:
    """A picture with what the mask has in common with the truth, and its Dice."""
    assert example.mask is not None
    drawn = compare_masks(example.image, answer.mask, example.mask)
    details = f"<br><i>{escape(answer.note or 'no note')}</i>"
    return Card([data_url(drawn, SIDE, small=True)], f"Dice {score:.3f}", example.name, details)


def note_examples(segmenter: Segmenter, examples: Sequence[Example]) -> str:
    """A section with some of the examples, spread evenly, as the segmenter outlines them."""
    chosen = spread_evenly(examples)
    answers = segmenter.segment_many([e.image for e in chosen], [e.note for e in chosen])
    drawn = []
    for example, answer in zip(chosen, answers, strict=True):
        assert example.mask is not None
        score = float(dice(Counts.of(answer.mask[None], example.mask[None]), empty="one")[0])
        drawn.append(note_card(example, answer, score))
    return examples_section_of(drawn, len(examples), legend(COLOURS))


def _score(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
