"""A page of a run: OUT/report/index.html, from history.jsonl and what else the run's folder holds.

The loop writes it after each evaluation and at the end, so a run that was interrupted has one, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from segue.pages.charts import line_chart
from segue.pages.page import RUN_REPORT, facts, section, write_report
from segue.training.logger import Row, read_history
from segue.training.state import Metadata, read_metadata
from segue.types import InputError

MOST_BYTES = 50_000  # of a file whose values are shown
TRAIN, EVALUATE = "train/", "evaluate/"  # beginnings of the names in a row of the history


def write_run_report(out: Path, examples: str = "") -> Path:
    """Write OUT/report/index.html of a run that is finished, interrupted or going on; returns the page.

    examples: HTML of what the model makes of some examples, a section of the page.
    Raises InputError for a folder without a history, and where OUT/report holds something else.
    """
    if not (out / "history.jsonl").is_file():
        raise InputError(f"{out}: no history.jsonl there, expected the folder of a training (its --out)")
    history, metadata = read_history(out), read_metadata(out / "state")
    parts = [
        section("result", "Result", "", facts(_result(history, metadata))),
        *_curves(history, metadata),
        *([examples] if examples else []),
        *_settings(out, metadata),
    ]
    lead = "Written by the training from its history.jsonl. Under the pointer, points tell their step and value."
    return write_report(out / RUN_REPORT, f"Training of {out.resolve().name}", lead, parts)


def _result(history: Sequence[Row], metadata: Metadata) -> dict[str, Any]:
    progress, monitor = metadata.get("progress", {}), metadata.get("monitor", "")
    steps = metadata.get("options", {}).get("steps")
    found: dict[str, Any] = {"steps done": f"{len(history):,}" + (f" of {steps:,}" if steps else "")}
    if progress.get("best") is not None:
        found[f"best {monitor}"] = f"{progress['best']:.4g} at step {progress['best_step']:,}, kept in best/"
    found["evaluations"] = sum(any(name.startswith(EVALUATE) for name in row) for row in history)
    return found | ({"last training loss": history[-1][f"{TRAIN}loss"]} if history else {})


def _curves(history: Sequence[Row], metadata: Metadata) -> list[str]:
    """The monitored figure first with its best step, then the other figures, the loss with its terms, and the rate."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "step"))
    monitor, best = f"{EVALUATE}{metadata.get('monitor')}", metadata.get("progress", {}).get("best_step")
    figures = sorted((name for name in names if name.startswith(EVALUATE)), key=lambda name: name != monitor)
    losses = sorted((name for name in names if name.startswith(TRAIN)), key=lambda name: name != f"{TRAIN}loss")
    charts = {
        ("validation", "Validation"): [_chart(history, name, best if name == monitor else None) for name in figures],
        ("loss", "Training loss and its terms"): [_chart(history, name) for name in losses],
        ("rate", "Learning rate"): [_chart(history, name) for name in ("lr",) if name in names],
    }
    return [section(*head, "", f'<div class="charts">{"".join(each)}</div>') for head, each in charts.items() if each]


def _chart(history: Sequence[Row], name: str, mark: float | None = None) -> str:
    points = [(row["step"], row[name]) for row in history if name in row]
    title = "learning rate" if name == "lr" else name.removeprefix(TRAIN).removeprefix(EVALUATE)
    return line_chart(points, title, mark=mark, reach=(0, history[-1]["step"]), linear=name == "lr")


def _settings(out: Path, metadata: Metadata) -> list[str]:
    """Settings, and the files of the run's folder that tell of its data and plan."""
    tables: dict[str, Mapping[str, Any]] = {}
    if metadata:
        tables["Settings of the recipe"] = metadata.get("about", {})
        tables["Settings of the loop"] = metadata["options"] | {"examples": metadata["examples"]}
    for path in sorted(out.glob("*.json")):
        small = path.stat().st_size <= MOST_BYTES
        found = json.loads(path.read_text(encoding="utf-8")) if small else "too long for this page"
        tables[path.name] = found if isinstance(found, dict) else {"": found}
    html = "".join(f"<div><h3>{escape(name)}</h3>{facts(values)}</div>" for name, values in tables.items() if values)
    return [section("settings", "Settings and data", "", f'<div class="charts">{html}</div>')] if html else []
