"""Which cases a report shows, and the page around them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from segue.data.images import read_image
from segue.evaluation.reports.cases import Extremes, file_of, split_ends, write_evaluation
from segue.types import Picture


@pytest.mark.parametrize("count", [1, 5, 6, 7, 40])
def test_the_worst_and_the_best_are_those_of_all_and_no_case_is_in_both(count):
    scores = np.random.default_rng(count).integers(0, 8, count) / 8  # many are equal
    extremes, made = Extremes[int](count=3), []
    for i, score in enumerate(scores):
        extremes.offer(float(score), lambda i=i: made.append(i) or i)
    worst, best = extremes.split()
    assert not {*worst} & {*best}
    assert len(worst) + len(best) == min(count, 6)
    order = sorted(range(count), key=lambda i: (scores[i], i))
    assert worst == order[: len(worst)]
    assert best == order[::-1][: len(best)]


def test_only_what_may_be_shown_is_made():
    extremes, made = Extremes[int](count=2), []
    for i in range(100):
        extremes.offer(-abs(i - 50.5), lambda i=i: made.append(i) or i)
    assert len(made) < 60  # the worst are the first and the last; in between only better ones are made
    assert extremes.split() == ([0, 1], [51, 50])


def test_a_few_are_divided_in_halves():
    assert split_ends([1, 2, 3]) == ([1, 2], [3])
    assert split_ends([]) == ([], [])


def test_the_file_of_a_picture_is_what_it_is_read_from():
    assert file_of(Picture("a", partial(read_image, Path("x/a.png")))) == Path("x/a.png")
    assert file_of(Picture("a", lambda: np.zeros((1, 1, 3), np.uint8))) is None


def test_figures_and_what_was_evaluated_are_apart(tmp_path):
    class Nothing:
        def parts(self, found, folder):
            return [f"<p>{sorted(found)} {folder.name}</p>"]

    found = {"dice": 0.5, "n": 7, "SPICE": "not computed: no Java", "class_iou": {"dog": 0.25}, "split": "val"}
    page = write_evaluation(tmp_path / "r", Nothing(), found, {"command": "segue eval m", "split": "val"}).read_text()
    about, figures = page.partition('id="figures"')[::2]
    assert "segue eval m" in about
    assert "<td>7</td>" in about
    assert about.count("<td>val</td>") == 1
    assert "<td>0.5</td>" in figures
    assert "no Java" in figures
    assert "dog" not in page
