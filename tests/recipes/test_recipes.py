"""Every recipe is a training function whose default settings are the recipe."""

import ast
import functools
import inspect
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest

from segue import recipes
from segue.commands.parsing import run_command
from segue.recipes import RECIPES
from segue.recipes.settings import TrainSettings, keep_settings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_settings_of_its_own(name):
    settings = inspect.signature(resolve_name(RECIPES[name])).parameters["settings"].default
    assert isinstance(settings, TrainSettings)
    assert settings.out.parts[0] == "runs"


@pytest.mark.parametrize("name", RECIPES)
def test_the_file_of_a_recipes_settings_says_them_all(name, tmp_path):
    """What a run keeps, read by --config over other settings, is what ran."""
    train = resolve_name(RECIPES[name])
    settings = inspect.signature(train).parameters["settings"].default
    changed = replace(settings, out=tmp_path / "run", seed=7, half=not settings.half, lr=3e-5, on_bad="skip")
    keep_settings(changed)
    found = []
    record = functools.wraps(train)(lambda settings: found.append(settings))
    run_command(record, f"segue train {name}", ["--config", str(tmp_path / "run/run.yaml")])
    assert found == [changed]


@pytest.mark.parametrize("path", sorted(Path(recipes.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_training_of_a_recipe_records_its_settings(path):
    """By `fit`, which alone knows whether they are those of the run that it goes on with."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    fits = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "fit"]
    assert ["record" in {given.arg for given in call.keywords} for call in fits] == [True] * len(fits)


def test_an_unknown_recipe_is_refused_with_those_there_are(segue):
    status, _, error = segue("train", "reclmis-lungs")
    assert (status, "segue train 'reclmis-lungs': expected one of" in error) == (2, True)
