"""The benchmark of dual encoders and of the store runs small and reports what it promises."""

import pytest

from scenes_and_encoder import write_encoder
from segue.lab.bench.embed import bench_embed
from segue.types import InputError


def test_every_encoder_has_the_speed_of_every_batch_size(tmp_path):
    mine = str(write_encoder(tmp_path / "mine"))
    found = bench_embed(encoders=(mine, "small"), batch_sizes=(1, 2), rounds=1, size=32, rows=500)
    assert list(found["encoders"]) == [mine, "small"]
    for speeds in found["encoders"].values():
        assert set(speeds) == {"images_per_s", "texts_per_s"}
        for by_batch in speeds.values():
            assert set(by_batch) == {"1", "2"}
            assert min(by_batch.values()) > 0
    assert set(found["store"]) == {"write_mb_per_s", "read_mb_per_s"}
    assert min(found["store"].values()) > 0
    assert found["size"] == 32


@pytest.mark.parametrize("changes", [{"encoders": ()}, {"batch_sizes": ()}, {"batch_sizes": (0,)}, {"rounds": 0}])
def test_nothing_to_measure_is_refused(changes):
    with pytest.raises(InputError, match="at least one encoder, one batch size and one round"):
        bench_embed(**{"encoders": ("small",), "rows": 1} | changes)
