from dataclasses import replace
from pathlib import Path

import pytest

from segue.recipes.cocu import CocuSettings
from segue.recipes.settings import evaluation_interval, settings_as_text
from segue.types import InputError


def test_facts_are_what_another_machine_would_need():
    settings = CocuSettings(out=Path("run"), data=Path("data"), steps=7)
    facts = settings_as_text(settings, "names")
    assert facts["steps"] == "7"
    assert not {"out", "data", "resume", "workers", "names"} & set(facts)
    assert settings_as_text(replace(settings, out=Path("other"), resume=True), "names") == facts


def test_evaluations_are_spread_over_the_steps():
    assert [evaluation_interval(100, 4), evaluation_interval(3, 10), evaluation_interval(7, 1)] == [25, 1, 7]
    with pytest.raises(InputError, match="evaluations: got 0"):
        evaluation_interval(100, 0)
