"""The rows of costs hold what the benchmarks print, and what is counted needs no second seed."""

import pytest

from segue.lab.bench.curate import bench_curate
from segue.lab.bench.groupvit import bench_groupvit
from segue.lab.bench.sgdiff import bench_sgdiff
from segue.lab.claims.model import Comparison
from segue.lab.claims.page import judge
from segue.lab.engine import append_row
from segue.lab.report import format_values
from segue.lab.run import rows_of
from segue.lab.tables import costs


def rows():
    return {row.name: row for row in rows_of("costs")}


def test_a_segmenter_without_its_reconstructions_costs_less(tmp_path):
    answers, trains = (rows()[f"segmenters/segue{when}/0"].run(tmp_path) for when in ("", ", training"))
    assert answers["params_m"] < trains["params_m"] < 10
    assert answers["picture_gmac"] < trains["picture_gmac"] < 12


def test_times_are_those_of_the_benchmarks(monkeypatch, tmp_path):
    monkeypatch.setattr(costs, "bench_curate", lambda pictures: bench_curate(pictures=1000, width=16, concepts=50))
    monkeypatch.setattr(
        costs, "bench_groupvit", lambda: bench_groupvit(size="scenes", batch=2, tokens=8, rounds=1, forward_batch=1)
    )
    monkeypatch.setattr(
        costs,
        "bench_sgdiff",
        lambda: bench_sgdiff(sizes=(64,), width=32, blocks=1, words=4, rounds=1, batch=1, detector_side=64),
    )
    curated = rows()["curate/1,000,000 pictures/0"].run(tmp_path)
    assert curated["recall"] == 1
    assert curated["cc12m_core_hours"] > curated["cc3m_core_hours"] > 0
    assert curated["picture_us"] > 0 < curated["sampling_per_s"]
    found = rows()["groupvit/paper/0"].run(tmp_path)
    assert {"train_1_text_ms", "forward_128_ms", "forward_256_over_transformers"} <= set(found)
    found = rows()["sgdiff/untrained/1"].run(tmp_path)
    assert set(found) == {
        "speedup", "speedup_with_masks", "usual_speedup", "training_steps_per_s",
        "further_share_at_64_pixels", "further_share_detected_at_64_pixels",
    }  # fmt: skip
    assert 0 < found["further_share_detected_at_64_pixels"] <= found["further_share_at_64_pixels"]


def test_a_count_is_judged_by_one_row(tmp_path):
    append_row(tmp_path / "costs.csv", ("segmenters", "faithful", 0), {"params_m": 15.7, "dice": 0.5}, "segue lab run")
    seeds = {("costs", "segmenters", "faithful"): 1}
    counted, scored = (Comparison("costs", "segmenters", m, "faithful", 23.7, less=True) for m in ("params_m", "dice"))
    assert judge(counted, tmp_path, seeds) == ("supported", "params_m: `faithful` 15.70 (1), 23.7")
    assert judge(scored, tmp_path, seeds)[0] == "not supported"


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("speedup", "1.53 (1)"),
        ("further_share_at_128_pixels", "153.0 (1)"),
        ("picture_us", "1.5 (1)"),
        ("recipe_gb", "1.53 (1)"),
        ("cpu_s", "1.5 (1)"),
    ],
)
def test_cells_of_costs_are_no_shares_but_shares_are(metric, text):
    assert format_values(metric, [1.53]) == text
