"""The report of an evaluation by names: IoU of each class, what is taken for what, maps over the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api.label_segmenter import LabelSegmenter
from segue.data.visualize import data_url, palette, tint_classes
from segue.evaluation.labels import LabelCase, ReadTruth, score_pictures
from segue.evaluation.reports.cases import (
    SIDE,
    Extremes,
    examples_section_of,
    extremes_sections,
    file_of,
    spread_evenly,
)
from segue.evaluation.reports.notes import BINS, draw_reliability
from segue.metrics.calibration import Reliability
from segue.metrics.panoptic import Confusion
from segue.pages.charts import matrix
from segue.pages.page import Card, bar, legend, link, section, table
from segue.types import Picture

MOST_CLASSES = 25  # of the confusion matrix
LEAST = 0.01  # share of a picture from which a class is in its legend
OF_A_PICTURE = (
    "A picture's mIoU is the mean over the classes that its truth has. What has no colour in the truth has no label "
    "there, and isn't scored."
)
LABEL_RELIABILITY = ("score of the name that was given", "share of pixels where it is right")


class PictureScore(NamedTuple):
    """miou: over the classes that the picture's truth has. accuracy: of its pixels."""

    name: str
    file: Path | None
    miou: float
    accuracy: float
    classes: list[str]


@dataclass
class LabelReport:
    """Sees the cases of `segue.evaluation.labels.evaluate_label_maps`."""

    scores: list[PictureScore] = field(default_factory=list)
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    extremes: Extremes[Card] = field(default_factory=Extremes)

    def see(self, case: LabelCase) -> None:
        """One picture; one of which no pixel has a label is left out, as it is of the figures."""
        if not case.confusion.counts.any():
            return
        self.confusion = case.confusion if self.confusion is None else self.confusion + case.confusion
        miou, names = case.miou, [case.classes[i] for i in case.own_classes]
        accuracy = float(np.trace(case.confusion.counts) / case.confusion.counts.sum())
        self.scores.append(PictureScore(case.picture.name, file_of(case.picture), miou, accuracy, names))
        if names:
            self.extremes.offer(miou, lambda: _card(case))
        self._see_scores(case)

    def _see_scores(self, case: LabelCase) -> None:
        """The scores of pixels that have a name and a truth."""
        known = (case.answer.index != case.answer.background) & (case.truth != np.iinfo(case.truth.dtype).max)
        if known.any():
            right = case.predicted[known] == case.truth[known]
            pixels = Reliability.of(np.clip(case.answer.scores[known], 0, 1), right, BINS)
            self.reliability = pixels if self.reliability is None else self.reliability + pixels

    def parts(self, found: Mapping[str, Any], folder: Path) -> list[str]:
        """See `Report`."""
        if self.confusion is None:
            return []
        classes = list(found["class_iou"])
        lead = "Scores are shares among the names given, and not calibrated." if self.reliability is not None else ""
        charts = [] if self.reliability is None else [draw_reliability(self.reliability, LABEL_RELIABILITY)]
        return [
            section(
                "classes", "Classes", _missing(found["class_iou"]), _class_table(found["class_iou"], self.confusion)
            ),
            section("confusion", "What is taken for what", *_confusion(classes, self.confusion.counts)),
            section("reliability", "Reliability", lead, f'<div class="charts">{"".join(charts)}</div>'),
            *extremes_sections(*self.extremes.split(), "mIoU", OF_A_PICTURE),
            section("cases", "All pictures", "The worst first; a click on a head sorts.", self._table(folder)),
        ]

    def _table(self, folder: Path) -> str:
        rows = [
            (
                link(one.name, one.file, folder),
                f"{one.miou:.3f}" if one.classes else "–",
                f"{one.accuracy:.3f}",
                escape(", ".join(one.classes)),
            )
            for one in sorted(self.scores, key=lambda one: (np.isnan(one.miou), one.miou))
        ]
        return table(("picture", "mIoU", "pixels right", "its classes"), rows, numbers=(1, 2))


def _missing(class_iou: Mapping[str, float | None]) -> str:
    """Which classes have no IoU."""
    without = [name for name, iou in class_iou.items() if iou is None]
    return f"Without pixels in truth and answer, or not scored: {', '.join(without)}." if without else ""


def _class_table(class_iou: Mapping[str, float | None], confusion: Confusion) -> str:
    """The classes with their IoU as bars, the best first."""
    true, given = confusion.counts.sum(1), confusion.counts.sum(0)
    places = {name: i for i, name in enumerate(class_iou)}
    scored = sorted(((iou, name) for name, iou in class_iou.items() if iou is not None), reverse=True)
    rows = [
        (escape(name), bar(iou, f"{iou:.3f}"), f"{true[places[name]]:,}", f"{given[places[name]]:,}")
        for iou, name in scored
    ]
    return table(("class", "IoU", "true pixels", "pixels given"), rows, numbers=(2, 3))


def _confusion(classes: Sequence[str], counts: NDArray[np.int64]) -> tuple[str, str]:
    """What to know of it, and the matrix of the most frequent classes; the rest is one column."""
    true = counts.sum(1)[: len(classes)]
    kept = [int(i) for i in np.argsort(-true, kind="stable")[:MOST_CLASSES] if true[i]]
    rest = [i for i in range(len(counts)) if i not in kept]
    names, columns = [classes[i] for i in kept], [classes[i] for i in kept]
    cells, others = counts[np.ix_(kept, kept)], counts[np.ix_(kept, rest)].sum(1, keepdims=True)
    shares = np.concatenate([cells, others], 1) / counts[kept].sum(1, keepdims=True)
    if others.any():
        columns.append("all others")
    lead = "Rows are the truth, columns the answer; a cell is its share of the row, in percent."
    if (true > 0).sum() > len(kept):
        lead += f" Shown are the {len(kept)} most frequent of {int((true > 0).sum())} classes."
    return lead, matrix(names, columns, shares[:, : len(columns)].tolist(), "Confusion of classes")


def label_examples(
    segmenter: LabelSegmenter, pictures: Sequence[Picture], classes: Sequence[str], read_truth: ReadTruth
) -> str:
    """A section with some of the pictures, spread evenly, as the segmenter names their pixels. See `score_pictures`."""
    drawn: list[Card] = []
    score_pictures(segmenter, spread_evenly(pictures), classes, read_truth, seen=lambda case: drawn.append(_card(case)))
    return examples_section_of(drawn, len(pictures))


def _card(case: LabelCase) -> Card:
    """Truth and answer over the picture, in the colours of the classes, with a legend."""
    assert case.answer.picture is not None
    colours = palette(len(case.classes))
    maps = [data_url(tint_classes(case.answer.picture, index, colours), SIDE, small=True)
            for index in (case.truth, case.predicted)]  # fmt: skip
    both = [
        np.bincount(index.ravel(), minlength=len(colours))[: len(colours)] for index in (case.truth, case.predicted)
    ]
    large = np.maximum(*both) >= LEAST * case.truth.size
    shown = {
        case.classes[i]: tuple(int(v) for v in colours[i]) for i in np.argsort(-both[0], kind="stable") if large[i]
    }
    details = legend({name: (red, green, blue) for name, (red, green, blue) in shown.items()})
    return Card(maps, f"mIoU {case.miou:.3f}", f"{case.picture.name}; truth, then answer", details)
