"""Drawn nuclei, and what their numbering is scored by."""

import numpy as np
import pytest

from segue.lab.engine import Work
from segue.lab.run import rows_of
from segue.lab.tables import instances
from segue.lab.tables.instances import SYSTEMS, draw_field, score_numbers


def test_a_field_has_the_share_and_the_sizes_that_are_said():
    field = draw_field(0.3, np.random.default_rng(0))
    assert (field > 0).mean() == pytest.approx(0.3, abs=0.002)
    numbers, areas = np.unique(field[field > 0], return_counts=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert np.sqrt(np.median(areas) / np.pi) == pytest.approx(6.3, abs=0.5)


def test_scores_of_a_field():
    truth, found = np.zeros((4, 12), np.int32), np.zeros((4, 12), np.int32)
    truth[:, :3], truth[:, 3:6], truth[:, 8:] = 1, 2, 3
    found[:, :6], found[:, 8:11] = 1, 2  # two as one; three quarters of the third
    assert score_numbers(truth, found) == {
        "count": pytest.approx(2 / 3),
        "count_error": pytest.approx(1 / 3),
        "precision": 0.5,
        "recall": pytest.approx(1 / 3),
    }
    assert score_numbers(truth, truth) == {"count": 1, "count_error": 0, "precision": 1, "recall": 1}


def test_connected_parts_join_what_touches_and_necks_are_cut():
    truth = np.zeros((40, 60), np.int32)
    v, u = np.mgrid[:40, :60]
    truth[(v - 20) ** 2 + (u - 20) ** 2 <= 100] = 1
    truth[((v - 20) ** 2 + (u - 38) ** 2 <= 100) & (truth == 0)] = 2
    assert [int(number(truth > 0).max()) for number in SYSTEMS.values()] == [1, 2]


def test_a_row_is_run(monkeypatch, tmp_path):
    monkeypatch.setattr(instances, "FIELDS", 1)
    rows = {row.name: row for row in rows_of("instances")}
    found = rows["30% covered/cut at necks/1"].run(Work(tmp_path, tmp_path, tmp_path))
    assert set(found) == {"count", "count_error", "precision", "recall"}
    assert 0.5 < found["recall"] <= 1
