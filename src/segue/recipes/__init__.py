"""Experiments by name: what `segue train`, `segue ablate` and `segue bench` find here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segue.recipes.reclmis import CHEST, Settings, reclmis, reclmis_chest
from segue.recipes.reclmis_tables import chest_table, pareto_table, real_table
from segue.recipes.tables import Row

RECIPES: dict[str, tuple[Callable[[Settings], Path], Settings]] = {
    "reclmis": (reclmis, Settings(out=Path("runs/reclmis"), data=Path("data"))),
    "reclmis-chest": (reclmis_chest, CHEST),
}
TABLES: dict[str, Callable[[Path | None], list[Row]]] = {
    "reclmis_chest": chest_table,
    "reclmis_pareto": pareto_table,
    "reclmis_real": real_table,
}
