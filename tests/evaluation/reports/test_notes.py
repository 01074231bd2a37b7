"""The report by notes shows the numbers that are printed, of one inference."""

import re

import numpy as np
import pytest

from segue.api import load_segmenter
from segue.data.visualize import HIT
from segue.evaluation.notes import evaluate
from segue.evaluation.reports.notes import NoteReport, note_examples
from segue.metrics.calibration import expected_calibration_error
from segue.types import Example, Segmentation


class Told:
    """A segmenter that answers with given probabilities, and counts how often it is asked."""

    def __init__(self, probabilities):
        self.probabilities, self.asked = probabilities, 0

    def segment_many(self, images, notes, *, options=None):
        self.asked += 1
        return [Segmentation(p, note) for p, note in zip(self.probabilities, notes, strict=True)]


@pytest.fixture
def told():
    """Five pictures of which the last is empty, and is left so."""
    rng = np.random.default_rng(0)
    examples, probabilities = [], []
    for i in range(5):
        mask = np.zeros((20, 30), np.bool_)
        mask[2 : 2 + 3 * (4 - i), 5:20] = i < 4
        examples.append(Example(rng.integers(0, 255, (20, 30, 3), np.uint8), mask, f"note <{i}>", f"p{i}"))
        probabilities.append(np.where(np.roll(mask, i, 1), 0.8, 0.1).astype(np.float32))
    return examples, Told(probabilities)


@pytest.mark.parametrize("empty", ["zero", "one", "skip"])
def test_the_cases_mean_what_is_printed(told, tmp_path, empty):
    examples, segmenter = told
    report = NoteReport(empty, {"p0": tmp_path / "img/p0.png"})
    found = evaluate(segmenter, examples, empty=empty, seen=report.see)
    assert segmenter.asked == 1
    assert np.nanmean([case.dice for case in report.cases]) == pytest.approx(found["dice"])
    assert np.nanmean([case.iou for case in report.cases]) == pytest.approx(found["iou"])
    truth, probability = (np.concatenate([np.ravel(x) for x in xs])
                          for xs in ([e.mask for e in examples], segmenter.probabilities))  # fmt: skip
    assert report.reliability.error == pytest.approx(expected_calibration_error(probability, truth, bins=10))
    html = "\n".join(report.parts(found, tmp_path / "report"))
    assert f"expected calibration error {report.reliability.error:.4f}" in html
    assert "note &lt;3&gt;" in html
    assert '<a href="../img/p0.png">p0</a>' in html
    assert re.findall(r"<td[^>]*>(?:<a[^>]*>)?(p\d)", html) == (
        ["p4", "p3", "p2", "p1", "p0"] if empty == "zero" else ["p3", "p2", "p1", "p0", "p4"]
    )
    assert html.count("<img") == 4  # the empty one has nothing to show
    assert f"rgb{HIT}" in html
    assert "2 worst by Dice" in html
    assert evaluate(segmenter, examples, empty=empty) == found


def test_examples_are_spread_evenly_and_scored(tiny_model):
    rng = np.random.default_rng(0)
    examples = [
        Example(rng.integers(0, 255, (32, 32, 3), np.uint8), np.eye(32, dtype=np.bool_), None, f"e{i}")
        for i in range(20)
    ]
    html = note_examples(load_segmenter(tiny_model), examples)
    assert re.findall(r"</b> (e\d+)", html) == ["e0", "e2", "e5", "e8", "e10", "e13", "e16", "e19"]
    assert "8 of 20 validation pictures" in html
    assert html.count("<b>Dice ") == 8
