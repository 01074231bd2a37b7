from dataclasses import replace
from pathlib import Path

import pytest

from segue.recipes.cocu import CocuSettings
from segue.recipes.settings import every, facts_of
from segue.types import InputError


def test_facts_are_what_another_machine_would_need():
    settings = CocuSettings(out=Path("run"), data=Path("data"), steps=7)
    facts = facts_of(settings, "names")
    assert facts["steps"] == "7"
    assert not {"out", "data", "resume", "workers", "names"} & set(facts)
    assert facts_of(replace(settings, out=Path("other"), resume=True), "names") == facts


def test_evaluations_are_spread_over_the_steps():
    assert [every(100, 4), every(3, 10), every(7, 1)] == [25, 1, 7]
    with pytest.raises(InputError, match="evaluations: got 0"):
        every(100, 0)
