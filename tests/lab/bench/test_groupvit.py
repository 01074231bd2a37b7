"""The benchmarks of CoCu run small and report what they promise."""

import json

import pytest

from segue.cli import main
from segue.lab.bench import curate as curate_bench
from segue.lab.bench.groupvit import bench_groupvit
from segue.types import InputError


def test_bench_curate(capsys):
    main(["lab", "bench", "curate", "--json", "--pictures", "1000", "--width", "32", "--concepts", "100"])
    found = json.loads(capsys.readouterr().out)
    stages = {"concepts", "index", "retrieval", "expansion", "ranking", "clustering", "writing", "sampling"}
    assert set(found["pictures_per_s"]) == set(found["pictures_per_cpu_s"]) == stages
    assert found["recall"] == 1
    assert 3 < found["concepts_per_caption"] <= 4
    hours = found["projected_core_hours"]
    assert 0 < hours["cc3m"]["retrieval_to_clustering"] < hours["cc3m"]["all"] < hours["cc12m"]["all"]
    with pytest.raises(InputError, match="expected 1,000 or more"):
        curate_bench.bench_curate(pictures=10)


def test_projection_grows_as_it_says():
    seconds = dict.fromkeys(curate_bench.STAGES, 0.0) | {"ranking": 36.0, "retrieval": 36.0}
    assert curate_bench._projected(seconds, 100, 400) == {"retrieval_to_clustering": 0.12, "all": 0.12}


def test_bench_groupvit():
    found = bench_groupvit(size="scenes", batch=2, tokens=8, rounds=1)
    assert set(found["ours_over_transformers"]) == {"train_1_text", "forward_128", "forward_256"}
    assert found["seconds"]["ours_train_1_and_3_texts"] > 0
    with pytest.raises(InputError, match="expected one of paper, small, scenes"):
        bench_groupvit(size="huge")
    with pytest.raises(InputError, match="tokens: got 78"):
        bench_groupvit(tokens=78)
