"""`segue ablate`: the missing rows of a results table, each in a process of its own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from pkgutil import resolve_name

from segue.lab import engine
from segue.lab.engine import Row
from segue.lab.registry import TABLES
from segue.types import InputError


def rows_of(table: str) -> list[Row]:
    """The rows of a table by its name; none of them is run, and no data is looked at."""
    rows: list[Row] = resolve_name(TABLES[table])()
    return rows


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
    rows = rows_of(table)
    if row is not None:
        print(json.dumps(engine.run_row(rows, row, work / table, data)))
        return

    def told(one: Row) -> str:
        return f"segue ablate {table} --row {shlex.quote(one.name)}" + (" --data DATA" if data is not None else "")

    def command(one: Row) -> list[str]:
        start = [sys.executable, "-m", "segue", "ablate", table, "--row", one.name, "--work", str(work)]
        return [*start, "--data", str(data)] if data is not None else start

    failed = engine.ablate(rows, results / f"{table}.csv", command, told, max_minutes=max_minutes, jobs=jobs)
    if failed:
        raise InputError(
            f"{failed} rows of {table} failed, see above; the others are in the file. Run again to retry them"
        )
