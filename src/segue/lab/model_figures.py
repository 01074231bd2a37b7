"""What was measured with the bundled models, from the results tables, for their model cards."""

from __future__ import annotations

from pathlib import Path

from segue.lab.engine import read_lines

# bundled name -> its results table, and the beginning of the systems that were measured with it
MEASURED: dict[str, tuple[str, str]] = {
    "captions-photos": ("captions_photos", "captions-photos"),
    "cocu-scenes": ("cocu_scenes_full", "bundled, cocu-scenes"),
    "crossmodal-scenes": ("crossmodal_scenes_full", "bundled"),
    "describe-photos": ("describe_photos", "describe-photos"),
    "describe-scenes": ("sgdiff_scenes_full", "describe-scenes"),
    "groupvit-scenes": ("cocu_scenes_full", "bundled, groupvit-scenes"),
    "photos-encoder": ("dual_encoder_photos", "photos-encoder"),
    "reclmis-chest": ("reclmis_chest_full", "bundled"),
    "reclmis-cxr": ("reclmis_budget", "reclmis-cxr"),
    "scenes-encoder": ("dual_encoder_scenes", "scenes-encoder"),
    "sgdiff-scenes": ("sgdiff_scenes_full", "bundled"),
    "syntic-scenes": ("syntic_scenes_full", "bundled"),
}


def bundled_figures(name: str, results: Path) -> dict[str, float]:
    """The figures of a bundled model as "EXPERIMENT, SYSTEM: METRIC" -> value; none where the table is not there.

    results: folder of the CSV files. They are what `segue.api.save_pretrained` takes as `figures`.
    """
    table, system = MEASURED[name]
    rows = [row for row in read_lines(results / f"{table}.csv") if row["system"].startswith(system)]
    return {f"{row['experiment']}, {row['system']}: {row['metric']}": float(row["value"]) for row in rows}
