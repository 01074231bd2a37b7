"""Trainings by name: where each one's function and its usual settings are; `segue train` imports the one it runs."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

RECIPES: dict[str, tuple[str, str]] = {
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


def load_recipe(name: str) -> tuple[Any, Any]:
    """The training function of a recipe, settings -> checkpoint folder, and its usual settings."""
    function, settings = RECIPES[name]
    return resolve_name(function), resolve_name(settings)
