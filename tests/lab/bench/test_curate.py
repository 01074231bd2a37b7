"""The benchmark of curation runs small and reports what it promises."""

import pytest

from segue.lab.bench.curate import bench_curate, measure_index
from segue.types import InputError


def test_bench_curate():
    found = bench_curate(pictures=1000, width=32, concepts=100)
    stages = {"concepts", "index", "retrieval", "expansion", "ranking", "clustering", "writing", "sampling"}
    assert set(found["pictures_per_s"]) == set(found["pictures_per_cpu_s"]) == stages
    assert found["recall"] == 1
    assert 3 < found["concepts_per_caption"] <= 4
    hours = found["projected_core_hours"]
    assert 0 < hours["cc3m"]["retrieval_to_clustering"] < hours["cc3m"]["all"] < hours["cc12m"]["all"]
    with pytest.raises(InputError, match="expected 1,000 or more"):
        bench_curate(pictures=10)


def test_an_index_takes_time_and_finds_neighbours():
    found = measure_index(1000, width=16, searched=50)
    assert found["recall"] == 1  # few pictures are searched exactly
    assert min(found["index_us"], found["search_us"]) > 0
    assert 0 < found.get("anonymous_mb", found["rss_mb"]) <= found["rss_mb"]
