from dataclasses import replace
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch

from segue.recipes import RECIPES
from segue.recipes.cocu import CocuSettings
from segue.recipes.settings import evaluation_interval, fit_options, settings_as_text
from segue.types import InputError


def test_facts_are_what_another_machine_would_need():
    settings = CocuSettings(out=Path("run"), data=Path("data"), steps=7)
    facts = settings_as_text(settings, "names")
    assert facts["steps"] == "7"
    assert not {"out", "data", "resume", "workers", "names"} & set(facts)
    assert settings_as_text(replace(settings, out=Path("other"), resume=True), "names") == facts


def test_every_training_has_a_device_that_changes_nothing_of_it():
    settings = {name: signature(resolve_name(where)).parameters["settings"].default for name, where in RECIPES.items()}
    assert {getattr(one, "device", "none") for one in settings.values()} == {"auto"}
    assert "device" not in settings_as_text(settings["cocu"])
    assert fit_options(replace(settings["cocu"], device="cpu")).device == "cpu"


def test_a_gpu_that_is_not_there_is_refused_before_the_training(monkeypatch):
    monkeypatch.setattr(torch, "empty", no_gpu)
    with pytest.raises(InputError, match="device 'cuda': not there"):
        fit_options(CocuSettings(out=Path("run"), data=Path("data"), device="cuda"))


def no_gpu(*size, device):
    raise RuntimeError(f"Found no {device}")


def test_evaluations_are_spread_over_the_steps():
    assert [evaluation_interval(100, 4), evaluation_interval(3, 10), evaluation_interval(7, 1)] == [25, 1, 7]
    with pytest.raises(InputError, match="evaluations: got 0"):
        evaluation_interval(100, 0)
