import json

import pytest

from segue.lab.bench.crossmodal import bench_crossmodal
from segue.types import InputError

SMALL = {"width": 32, "depth": 1, "factor": 8, "classes": 5, "steps": 2, "words": 3, "beams": 2, "batch": 1}


def test_it_measures_cost_growth_and_memory(segue):
    settings = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    status, out, _ = segue("lab", "bench", "crossmodal", "--sizes", 32, 64, *settings, "--rounds", 1, "--json")
    assert status == 0
    result = json.loads(out)
    assert set(result["sizes"]) == {"32", "64"}
    for size in result["sizes"].values():
        assert min(size.values()) > 0
    small, large = (result["sizes"][size]["macs_draw"] for size in ("32", "64"))
    assert 3.5 < large / small < 8
    assert 0.9 < result["growth"]["draw"]["macs"] < 1.5
    assert result["train_peak_mb"]["streams"] > 50


@pytest.mark.parametrize("changes", [{"sizes": (64,)}, {"sizes": (64, 32)}, {"rounds": 0}])
def test_bad_settings_are_refused(changes):
    with pytest.raises(InputError, match="two rising sizes"):
        bench_crossmodal(**{"sizes": (32, 64), **SMALL, **changes})
