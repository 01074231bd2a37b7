"""Experiments by name: what `segue train` and `segue ablate` find here."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.recipes import tables
from segue.recipes.align import ALIGN, SCENES, align, align_scenes
from segue.recipes.align_tables import align_scenes_table, flickr8k_table
from segue.recipes.bench import bench_reclmis
from segue.recipes.bench_caption import bench_captioning
from segue.recipes.bench_crossmodal import bench_crossmodal
from segue.recipes.bench_curate import bench_curate
from segue.recipes.bench_data import bench_data
from segue.recipes.bench_embed import bench_embed
from segue.recipes.bench_export import bench_export, export_table
from segue.recipes.bench_groupvit import bench_groupvit
from segue.recipes.bench_metrics import bench_metrics
from segue.recipes.bench_serve import bench_serve, serve_table
from segue.recipes.bench_sgdiff import bench_sgdiff
from segue.recipes.cocu import ANY, cocu, cocu_scenes
from segue.recipes.cocu import SCENES as COCU_SCENES
from segue.recipes.cocu_real_table import photos_table
from segue.recipes.cocu_tables import cocu_bundled_table, cocu_recovery_table, cocu_scenes_table
from segue.recipes.costs import costs_table
from segue.recipes.crossmodal import SCENES as CROSSMODAL_SCENES
from segue.recipes.crossmodal import Settings as CrossModalSettings
from segue.recipes.crossmodal import crossmodal, crossmodal_scenes
from segue.recipes.crossmodal_tables import crossmodal_bundled_table, crossmodal_real_table, crossmodal_scenes_table
from segue.recipes.reclmis import CHEST, Settings, reclmis, reclmis_chest
from segue.recipes.reclmis_tables import bundled_table, chest_table, pareto_table, real_table
from segue.recipes.relations import RELATIONS, relations, relations_table
from segue.recipes.sgdiff import SCENES as STORIES
from segue.recipes.sgdiff import SGDIFF, sgdiff, sgdiff_scenes
from segue.recipes.sgdiff_real import sgdiff_real_table
from segue.recipes.sgdiff_tables import sgdiff_bundled_table, sgdiff_scenes_table
from segue.recipes.syntic import SYNTIC, SYNTIC_SCENES, syntic, syntic_scenes
from segue.recipes.syntic_real import syntic_real_table
from segue.recipes.syntic_tables import syntic_bundled_table, syntic_moves_table, syntic_scenes_table
from segue.recipes.tables import Row
from segue.types import InputError

RECIPES: dict[str, tuple[Callable[[Any], Path], Any]] = {
    "align": (align, ALIGN),
    "align-scenes": (align_scenes, SCENES),
    "cocu": (cocu, ANY),
    "cocu-scenes": (cocu_scenes, COCU_SCENES),
    "crossmodal": (crossmodal, CrossModalSettings(out=Path("runs/crossmodal"), data=Path("data"))),
    "crossmodal-scenes": (crossmodal_scenes, CROSSMODAL_SCENES),
    "reclmis": (reclmis, Settings(out=Path("runs/reclmis"), data=Path("data"))),
    "reclmis-chest": (reclmis_chest, CHEST),
    "relations": (relations, RELATIONS),
    "sgdiff": (sgdiff, SGDIFF),
    "sgdiff-scenes": (sgdiff_scenes, STORIES),
    "syntic": (syntic, SYNTIC),
    "syntic-scenes": (syntic_scenes, SYNTIC_SCENES),
}
TABLES: dict[str, Callable[[Path | None], list[Row]]] = {
    "align_flickr8k": flickr8k_table,
    "align_scenes": align_scenes_table,
    "cocu_real": photos_table,
    "cocu_recovery": cocu_recovery_table,
    "cocu_scenes": cocu_scenes_table,
    "cocu_scenes_full": cocu_bundled_table,
    "costs": costs_table,
    "crossmodal_real": crossmodal_real_table,
    "crossmodal_scenes": crossmodal_scenes_table,
    "crossmodal_scenes_full": crossmodal_bundled_table,
    "export": export_table,
    "reclmis_chest": chest_table,
    "reclmis_chest_full": bundled_table,
    "reclmis_pareto": pareto_table,
    "reclmis_real": real_table,
    "relations_scenes": relations_table,
    "serve": serve_table,
    "sgdiff_real": sgdiff_real_table,
    "sgdiff_scenes": sgdiff_scenes_table,
    "sgdiff_scenes_full": sgdiff_bundled_table,
    "syntic_real": syntic_real_table,
    "syntic_scenes": syntic_scenes_table,
    "syntic_scenes_full": syntic_bundled_table,
    "syntic_moves": syntic_moves_table,
}

BENCHES: dict[str, Callable[..., dict[str, Any]]] = {  # their settings are the functions' arguments
    "caption": bench_captioning,
    "crossmodal": bench_crossmodal,
    "curate": bench_curate,
    "data": bench_data,
    "embed": bench_embed,
    "export": bench_export,
    "groupvit": bench_groupvit,
    "metrics": bench_metrics,
    "reclmis": bench_reclmis,
    "serve": bench_serve,
    "sgdiff": bench_sgdiff,
}


def run_ablation(
    table: str,
    *,
    max_minutes: float | None = None,
    jobs: int = 1,
    row: str | None = None,
    results: Path = Path("results"),
    work: Path = Path("runs/ablate"),
    data: Path | None = None,
) -> None:
    """See `segue.cli.ablate`, whose arguments these are."""
    if table not in TABLES:
        raise InputError(f"table {table!r}: expected one of {', '.join(TABLES)}")
    rows = TABLES[table](data)
    if row is not None:
        print(json.dumps(tables.run_row(rows, row, work / table)))
        return

    def told(one: Row) -> str:
        return f"segue ablate {table} --row {shlex.quote(one.name)}" + (" --data DATA" if data else "")

    def command(one: Row) -> list[str]:
        start = [sys.executable, "-m", "segue", "ablate", table, "--row", one.name, "--work", str(work)]
        return [*start, "--data", str(data)] if data else start

    failed = tables.ablate(rows, results / f"{table}.csv", command, told, max_minutes=max_minutes, jobs=jobs)
    if failed:
        raise InputError(
            f"{failed} rows of {table} failed, see above; the others are in the file. Run again to retry them"
        )
