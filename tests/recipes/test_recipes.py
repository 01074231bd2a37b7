"""Every recipe is a training function whose default settings are the recipe."""

import inspect
from pkgutil import resolve_name

import pytest

from segue.recipes import RECIPES
from segue.recipes.settings import TrainSettings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_settings_of_its_own(name):
    settings = inspect.signature(resolve_name(RECIPES[name])).parameters["settings"].default
    assert isinstance(settings, TrainSettings)
    assert settings.out.parts[0] == "runs"


def test_an_unknown_recipe_is_refused_with_those_there_are(segue):
    status, _, error = segue("train", "reclmis-lungs")
    assert (status, "segue train 'reclmis-lungs': expected one of" in error) == (2, True)
