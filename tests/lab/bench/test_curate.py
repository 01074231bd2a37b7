"""The benchmark of curation runs small and reports what it promises."""

import pytest

from segue.lab.bench.curate import STAGES, _projected_hours, bench_curate
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


def test_projection_grows_as_it_says():
    seconds = dict.fromkeys(STAGES, 0.0) | {"ranking": 36.0, "retrieval": 36.0}
    assert _projected_hours(seconds, 100, 400) == {"retrieval_to_clustering": 0.12, "all": 0.12}
