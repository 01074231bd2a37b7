"""Recipes by name."""

import inspect
from dataclasses import is_dataclass

import pytest

from segue.recipes import RECIPES, load_recipe
from segue.types import InputError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_documented_function_and_default_settings(name):
    train, settings = load_recipe(name)
    assert next(iter(inspect.signature(train).parameters)) == "settings"
    assert train.__doc__
    assert is_dataclass(settings)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(InputError, match=r"recipe 'reclmis-lungs': expected one of .*reclmis-chest"):
        load_recipe("reclmis-lungs")
