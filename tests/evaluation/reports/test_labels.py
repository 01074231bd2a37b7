"""The report by names: its confusion is that of the figures, and pictures are scored by their own classes."""

import re

import numpy as np
import pytest

from segue.evaluation.labels import score_pictures
from segue.evaluation.reports.labels import MOST_CLASSES, LabelReport
from segue.methods.cocu.protocols import EvalProtocol
from segue.types import LabelMap, Picture


class Told:
    """Answers each picture with a given map, with scores of 0.75."""

    def __init__(self, maps):
        self.maps, self.protocol = iter(maps), EvalProtocol(32, 32, 16)

    def chosen_protocol(self, options):
        return self.protocol

    def segment(self, image, labels, *, options):
        index = next(self.maps)
        scores = np.full(index.shape, 0.75, np.float32)
        return LabelMap(tuple(labels), index, scores, np.ones(len(labels), np.float32), picture=image)


def scored(truths, answers, classes):
    pictures = [
        Picture(f"p{i}", lambda t=t: np.full((*t.shape, 3), 90, np.uint8), label_map=lambda t=t: t)
        for i, t in enumerate(truths)
    ]
    report = LabelReport()
    ious, accuracy = score_pictures(Told(answers), pictures, classes, lambda p: p.label_map(), seen=report.see)
    return report, ious, accuracy


def test_a_picture_is_scored_by_its_own_classes(tmp_path):
    truths = [np.array([[0, 0, 1, 255]], np.uint8), np.array([[2, 2, 2, 2]], np.uint8), np.full((1, 4), 255, np.uint8)]
    answers = [np.array([[0, 2, 1, 2]], np.uint8), np.array([[2, 2, 2, 1]], np.uint8), np.zeros((1, 4), np.uint8)]
    report, ious, accuracy = scored(truths, answers, ("dog", "cat", "<sky>"))
    assert [(one.name, one.classes) for one in report.scores] == [("p0", ["dog", "cat"]), ("p1", ["<sky>"])]
    assert [one.miou for one in report.scores] == pytest.approx([(1 / 2 + 1) / 2, 3 / 4])
    assert report.confusion.class_iou(empty="skip")[:3] == pytest.approx(ious)
    assert np.trace(report.confusion.counts) / report.confusion.counts.sum() == pytest.approx(accuracy)
    assert report.reliability.pixels.sum() == 7
    assert report.reliability.error == pytest.approx(abs(5 / 7 - 0.75))
    html = "\n".join(report.parts({"class_iou": dict(zip(("dog", "cat", "<sky>"), ious, strict=True))}, tmp_path))
    assert "--share:50.0%" in html  # dog's IoU as a bar
    assert "dog as &lt;sky&gt;: 50.0%" in html
    assert "all others" not in html
    assert html.count("<figure class=") == 2 + 2  # two cards and two charts
    assert re.findall(r"<td[^>]*>(p\d)", html) == ["p0", "p1"]


def test_background_that_cant_be_answered_counts_neither_in_figures_nor_in_a_picture(tmp_path):
    truth, answer = np.array([[0, 1, 1]], np.uint8), np.array([[0, 1, 0]], np.uint8)
    report, ious, _ = scored([truth], [answer], ("dog", "cat", "background"))
    assert np.isnan(ious[2])
    report, ious, _ = scored([np.array([[2, 0, 1]], np.uint8)], [answer], ("dog", "cat", "background"))
    assert np.isnan(ious[2])
    assert report.scores[0].classes == ["dog", "cat"]
    assert report.scores[0].miou == pytest.approx(np.nanmean(ious))
    html = "\n".join(report.parts({"class_iou": {"dog": ious[0], "cat": ious[1], "background": None}}, tmp_path))
    assert "not scored: background." in html


def test_of_many_classes_the_most_frequent_are_in_the_matrix(tmp_path):
    count = MOST_CLASSES + 5
    truth = np.repeat(np.arange(count), np.arange(count, 0, -1)).astype(np.uint8)[None]
    answer = np.where(truth == 0, count - 1, truth).astype(np.uint8)
    classes = tuple(f"c{i}" for i in range(count))
    report, ious, _ = scored([truth], [answer], classes)
    html = "\n".join(report.parts({"class_iou": dict(zip(classes, ious.tolist(), strict=True))}, tmp_path))
    assert f"Shown are the {MOST_CLASSES} most frequent of {count} classes." in html
    assert "c0 as all others: 100.0%" in html
    assert f"c{MOST_CLASSES - 1} as c{MOST_CLASSES - 1}: 100.0%" in html
    assert f"c{MOST_CLASSES} as" not in html
