"""The benchmark of a server runs short and reports what it promises."""

import pytest

from segue.lab.bench.loading import measure_memory, running_server
from segue.lab.bench.serve import bench_serve
from segue.types import InputError


def test_both_modes_are_loaded_and_the_memory_can_be_left_out():
    found = bench_serve(clients=(2,), seconds=0.3, memory_requests=0, endpoints=())
    assert found["endpoints"] == {}
    assert "memory" not in found
    for mode in ("batches", "single"):
        assert set(found[mode]) == {"2"}
        assert found[mode]["2"]["errors"] == 0
        assert found[mode]["2"]["requests_per_s"] > 0
    assert found["picture"] == [224, 224]


def test_a_server_that_refuses_or_ends_is_an_error():
    with running_server(["reclmis-chest"]) as server, pytest.raises(InputError, match="request 1 of 5 was answered 4"):
        measure_memory(*server, b"{}", 5)
    with pytest.raises(InputError, match=r"the server ended: .*'nonsense'"), running_server(["nonsense"]):
        pass
