"""The tables, the benchmarks and the commands of `segue lab` by name, as strings: only what is run is imported."""

from __future__ import annotations

from typing import Any

TABLES: dict[str, str] = {
    "archive_scores": "segue.lab.tables.archive_scores:archive_scores_table",
    "captions_photos": "segue.lab.tables.syntic_photos:captions_photos_table",
    "cocu_real": "segue.lab.tables.cocu_photos:photos_table",
    "cocu_recovery": "segue.lab.tables.cocu_scenes:cocu_recovery_table",
    "cocu_scenes": "segue.lab.tables.cocu_scenes:cocu_scenes_table",
    "cocu_scenes_full": "segue.lab.tables.cocu_scenes:cocu_bundled_table",
    "costs": "segue.lab.tables.costs:costs_table",
    "crossmodal_real": "segue.lab.tables.crossmodal:crossmodal_real_table",
    "crossmodal_scenes": "segue.lab.tables.crossmodal:crossmodal_scenes_table",
    "crossmodal_scenes_full": "segue.lab.tables.crossmodal:crossmodal_bundled_table",
    "describe_photos": "segue.lab.tables.describe_photos:describe_photos_table",
    "domain_photos": "segue.lab.tables.domain_photos:domain_photos_table",
    "export": "segue.lab.tables.export:export_table",
    "dual_encoder_flickr8k": "segue.lab.tables.dual_encoder:flickr8k_table",
    "dual_encoder_photos": "segue.lab.tables.dual_encoder:photos_table",
    "dual_encoder_scenes": "segue.lab.tables.dual_encoder:scenes_table",
    "labels_photos": "segue.lab.tables.labels_photos:labels_photos_table",
    "labels_photos_grouping": "segue.lab.tables.labels_photos_grouping:labels_photos_grouping_table",
    "reclmis": "segue.lab.tables.reclmis:ablations_table",
    "reclmis_chest_full": "segue.lab.tables.reclmis:bundled_table",
    "reclmis_pareto": "segue.lab.tables.reclmis:pareto_table",
    "reclmis_real": "segue.lab.tables.reclmis:real_table",
    "reclmis_budget": "segue.lab.tables.reclmis_budget:budget_table",
    "relations_scenes": "segue.lab.tables.relations:relations_table",
    "serve": "segue.lab.tables.serve:serve_table",
    "sgdiff_decoders": "segue.lab.tables.sgdiff_decoders:sgdiff_decoders_table",
    "sgdiff_real": "segue.lab.tables.sgdiff_photos:sgdiff_real_table",
    "sgdiff_scenes": "segue.lab.tables.sgdiff_scenes:sgdiff_scenes_table",
    "sgdiff_scenes_full": "segue.lab.tables.sgdiff_scenes:sgdiff_bundled_table",
    "syntic_real": "segue.lab.tables.syntic_photos:syntic_real_table",
    "syntic_scenes": "segue.lab.tables.syntic_scenes:syntic_scenes_table",
    "syntic_scenes_full": "segue.lab.tables.syntic_scenes:syntic_bundled_table",
    "syntic_moves": "segue.lab.tables.syntic_scenes:syntic_moves_table",
}
BENCHES: dict[str, str] = {  # the arguments of these functions are the options of `segue lab bench NAME`
    "caption": "segue.lab.bench.caption:bench_captioning",
    "commands": "segue.lab.bench.commands:bench_commands",
    "crossmodal": "segue.lab.bench.crossmodal:bench_crossmodal",
    "curate": "segue.lab.bench.curate:bench_curate",
    "data": "segue.lab.bench.data:bench_data",
    "embed": "segue.lab.bench.embed:bench_embed",
    "export": "segue.lab.bench.export:bench_export",
    "groupvit": "segue.lab.bench.groupvit:bench_groupvit",
    "inference": "segue.lab.bench.inference:bench_inference",
    "metrics": "segue.lab.bench.metrics:bench_metrics",
    "reclmis": "segue.lab.bench.reclmis:bench_reclmis",
    "serve": "segue.lab.bench.serve:bench_serve",
    "sgdiff": "segue.lab.bench.sgdiff:bench_sgdiff",
    "steps": "segue.lab.bench.steps:bench_steps",
    "weights": "segue.lab.bench.weights:bench_weights",
}
COMMANDS: dict[str, Any] = {
    "run": "segue.lab.run:run_table",
    "bench": BENCHES,
    "report": "segue.lab.report:write_report",
    "claims": "segue.lab.claims.page:write_claims",
}
