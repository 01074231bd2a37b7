"""The figures of bundled models for their cards."""

from pathlib import Path

from segue.lab.model_figures import MEASURED, bundled_figures
from segue.weights import bundled

RESULTS = Path(__file__).parents[2] / "results"


def test_every_bundled_model_has_figures():
    assert set(MEASURED) == set(bundled())
    assert all(bundled_figures(name, RESULTS) for name in MEASURED)


def test_they_are_the_rows_of_the_table(tmp_path):
    assert bundled_figures("reclmis-chest", RESULTS)["test, bundled, own notes: dice"] == 0.902358
    assert all("groupvit" not in name for name in bundled_figures("cocu-scenes", RESULTS))
    assert bundled_figures("reclmis-chest", tmp_path) == {}
