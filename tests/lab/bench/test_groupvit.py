"""The benchmark of GroupViT runs small and reports what it promises."""

import pytest

from segue.lab.bench.groupvit import bench_groupvit
from segue.types import InputError


def test_bench_groupvit():
    found = bench_groupvit(size="scenes", batch=2, tokens=8, rounds=1)
    assert set(found["ours_over_transformers"]) == {"train_1_text", "forward_128", "forward_256"}
    assert found["seconds"]["ours_train_1_and_3_texts"] > 0
    with pytest.raises(InputError, match="expected one of paper, small, scenes"):
        bench_groupvit(size="huge")
    with pytest.raises(InputError, match="tokens: got 78"):
        bench_groupvit(tokens=78)
