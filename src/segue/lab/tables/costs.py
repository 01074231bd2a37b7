"""`segue ablate costs`: figures of the benchmarks as rows, that docs and claims can cite.

Run it on a quiet machine, one row at a time. segmenters: exact counts, of one picture of 224 pixels. Times are medians
of one interleaved run, three times over: groupvit, ours beside transformers' at the paper's size; stories, SGDiff
beside its rival; curate, the stages of curation by the number of pictures, of a million once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from segue.lab.bench.curate import CURATION, bench_curate
from segue.lab.bench.groupvit import bench_groupvit
from segue.lab.bench.reclmis import MODELS, counted
from segue.lab.bench.sgdiff import bench_sgdiff
from segue.lab.engine import Row, Work

TURNS = (0, 1, 2)
PICTURES = (10_000, 100_000)
MANY = 1_000_000


def costs_table() -> list[Row]:
    """3 segmenters, answering and training; GroupViT, stories and curation, three times each."""
    rows = []
    for name in MODELS:
        rows.append(Row("segmenters", name, 0, partial(_segmenter, name, "")))
        rows.append(Row("segmenters", f"{name}, training", 0, partial(_segmenter, name, "_training")))
    for turn in TURNS:
        rows.append(Row("groupvit", "paper", turn, _groupvit))
        rows.append(Row("stories", "untrained", turn, _stories))
        rows += [_curate_row(count, turn) for count in PICTURES]
    return [*rows, _curate_row(MANY, 0)]


def _curate_row(count: int, turn: int) -> Row:
    return Row("curate", f"{count:,} pictures", turn, partial(_curation, count))


def _segmenter(name: str, when: str, work: Work) -> dict[str, float]:
    told = counted(name, 224)
    return {"params_m": told[f"params{when}"] / 1e6, "picture_gmac": told[f"macs{when}"] / 1e9}


def _groupvit(work: Work) -> dict[str, float]:
    told = bench_groupvit()
    ours = {
        f"{kind.removeprefix('ours_')}_ms": 1e3 * s for kind, s in told["seconds"].items() if kind.startswith("ours_")
    }
    return ours | {f"{kind}_over_transformers": value for kind, value in told["ours_over_transformers"].items()}


def _stories(work: Work) -> dict[str, float]:
    """Word by word over diffusion, in time; a further prompt's share of the first; training steps a second."""
    told = bench_sgdiff()
    shares = {
        f"{kind}_at_{side}_pixels": sides[kind]
        for side, sides in told["pictures"].items()
        for kind in ("further_share", "further_share_detected")
    }
    speed = {name: told[name] for name in ("speedup", "speedup_with_masks", "usual_speedup")}
    return speed | shares | {"training_steps_per_s": told["train_steps_per_s"]}


def _curation(count: int, work: Work) -> dict[str, float]:
    told: dict[str, Any] = bench_curate(pictures=count)
    return {
        **{f"{stage}_per_s": told["pictures_per_s"][stage] for stage in (*CURATION, "sampling")},
        "picture_us": 1e3 * told["ms_per_picture"],
        "picture_cpu_us": 1e3 * told["cpu_ms_per_picture"],
        "recall": told["recall"],
        "peak_rss_mb": told["peak_rss_mb"],
        "growth_kb": told["rss_growth_kb_per_picture"],
        **{f"{name}_core_hours": hours["all"] for name, hours in told["projected_core_hours"].items()},
    }
