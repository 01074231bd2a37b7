"""Recipes, which are trainings with their settings, by name, as strings: `segue train` imports only the one it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from segue.types import InputError

RECIPES: dict[str, tuple[str, str]] = {  # the training function, and its default settings
    "cocu": ("segue.recipes.cocu:cocu", "segue.recipes.cocu:ANY"),
    "cocu-scenes": ("segue.recipes.cocu:cocu_scenes", "segue.recipes.cocu:SCENES"),
    "crossmodal": ("segue.recipes.crossmodal:crossmodal", "segue.recipes.crossmodal:CROSSMODAL"),
    "crossmodal-scenes": ("segue.recipes.crossmodal:crossmodal_scenes", "segue.recipes.crossmodal:SCENES"),
    "dual-encoder": ("segue.recipes.dual_encoder:train_dual_encoder", "segue.recipes.dual_encoder:DUAL_ENCODER"),
    "dual-encoder-scenes": (
        "segue.recipes.dual_encoder:train_dual_encoder_scenes",
        "segue.recipes.dual_encoder:SCENES",
    ),
    "reclmis": ("segue.recipes.reclmis:train_reclmis", "segue.recipes.reclmis:RECLMIS"),
    "reclmis-chest": ("segue.recipes.reclmis:train_reclmis_chest", "segue.recipes.reclmis:CHEST"),
    "relations": ("segue.recipes.relations:relations", "segue.recipes.relations:RELATIONS"),
    "sgdiff": ("segue.recipes.sgdiff:sgdiff", "segue.recipes.sgdiff:SGDIFF"),
    "sgdiff-scenes": ("segue.recipes.sgdiff:sgdiff_scenes", "segue.recipes.sgdiff:SCENES"),
    "syntic": ("segue.recipes.syntic:syntic", "segue.recipes.syntic:SYNTIC"),
    "syntic-scenes": ("segue.recipes.syntic:syntic_scenes", "segue.recipes.syntic:SYNTIC_SCENES"),
}


def load_recipe(name: str) -> tuple[Callable[[Any], Path], Any]:
    """The training function of a recipe, from settings to the folder of the checkpoint, and its default settings.

    Raises InputError when there is no such recipe.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: expected one of {', '.join(RECIPES)}")
    function, settings = RECIPES[name]
    return resolve_name(function), resolve_name(settings)
