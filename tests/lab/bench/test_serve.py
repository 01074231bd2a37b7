from importlib import import_module

import pytest

from segue.lab.engine import run_row
from segue.lab.run import rows_of

bench_serve = import_module("segue.lab.bench.serve")  # the package has a function of this name


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(bench_serve, "SECONDS", 0.5)
    monkeypatch.setattr(bench_serve, "MANY", 20)
    return rows_of("serve")


def test_the_table_takes_turns_between_the_modes(rows):
    assert len(rows) == 19
    assert [row.name for row in rows[:3]] == ["1 clients/batches/0", "1 clients/single/0", "8 clients/batches/0"]
    assert {row.seed for row in rows} == {0, 1, 2}


def test_a_loaded_server_answers_everyone(rows, tmp_path):
    told = run_row(rows, "8 clients/batches/0", tmp_path)
    assert told["errors"] == 0
    assert told["requests_per_s"] > 0
    assert 0 < told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"]


def test_memory_is_read_early_and_late_and_at_its_peak(rows, tmp_path):
    told = run_row(rows, "memory/batches/0", tmp_path)
    assert told["requests"] == 20
    assert told["rss_mb_early"] > 50
    assert told["rss_mb_late"] > 50
    assert told["peak_rss_mb"] >= max(told["rss_mb_early"], told["rss_mb_late"])
