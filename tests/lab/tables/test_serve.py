"""The rows of a loaded server."""

import pytest

from segue.lab.bench.endpoints import ENDPOINTS
from segue.lab.engine import run_row
from segue.lab.run import rows_of
from segue.lab.tables import serve


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(serve, "SECONDS", 0.5)
    monkeypatch.setattr(serve, "MEMORY_REQUESTS", 20)
    return rows_of("serve")


def test_the_table_takes_turns_between_the_modes(rows):
    assert len(rows) == 19 + 3 * len(ENDPOINTS)
    assert [row.name for row in rows[:3]] == ["1 clients/batches/0", "1 clients/single/0", "8 clients/batches/0"]
    assert {row.seed for row in rows} == {0, 1, 2}


def test_a_loaded_server_answers_everyone(rows, tmp_path):
    found = run_row(rows, "8 clients/batches/0", tmp_path)
    assert found["errors"] == 0
    assert found["requests_per_s"] > 0
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]


def test_memory_is_read_early_and_late_and_at_its_peak(rows, tmp_path):
    found = run_row(rows, "memory/batches/0", tmp_path)
    assert found["requests"] == 20
    assert found["rss_mb_early"] > 50
    assert found["rss_mb_late"] > 50
    assert found["peak_rss_mb"] >= max(found["rss_mb_early"], found["rss_mb_late"])
