"""`segue lab run`: the missing rows of a results table, each in a process of its own."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

from annotated_types import Ge
from typing_extensions import Doc
from tyro.conf import Positional

from segue.lab.engine import Row, check_data, missing_rows, run_missing, run_row
from segue.lab.registry import TABLES
from segue.options import Options
from segue.types import InputError


@dataclass(frozen=True)
class RunOptions(Options):
    """How the rows of a table are run (`segue lab run`)."""

    max_minutes: Annotated[float | None, Ge(0), Doc("start no further row after that many minutes")] = None
    jobs: Annotated[int, Ge(1), Doc("rows at a time, among which the cores are divided")] = 1
    row: Annotated[
        str | None, Doc("run EXPERIMENT/SYSTEM/SEED alone; print its metrics as JSON and append nothing")
    ] = None
    results: Annotated[Path, Doc("folder of the results files, which are long-form CSV")] = Path("results")
    work: Annotated[Path, Doc("folder of the trainings and of synthetic data; a stopped row resumes there")] = Path(
        "runs/lab"
    )
    data: Annotated[Path | None, Doc("folder of real data, for the tables that need it")] = None


def run_table(table: Positional[str], /, options: RunOptions = RunOptions()) -> None:
    """Run the missing rows of a results table, and append each as it finishes; stopped rows resume.

    Args:
        table: its name, which is also that of its file in the results folder; `list` prints all names.

    Raises:
        InputError: when there is no such table or row, when rows failed, and, before any is run, when a missing row
            needs other data than --data gives.
    """
    if table == "list":
        print("\n".join(TABLES))
        return
    rows, folder = rows_of(table), options.work / table
    if options.row is not None:
        print(json.dumps(run_row(rows, options.row, folder, options.data)))
        return
    file = options.results / f"{table}.csv"
    check_data(missing_rows(rows, file), options.data)
    failed = run_missing(
        rows,
        file,
        lambda row: _command(table, row, options),
        lambda row: _shown_command(table, row, options),
        max_minutes=options.max_minutes,
        jobs=options.jobs,
    )
    if failed:
        raise InputError(
            f"{failed} rows of {table} failed, see above; the others are in the file. Run again to retry them"
        )


def rows_of(table: str) -> list[Row]:
    """The rows of a table; none is run and no data is read. Raises InputError when there is no such table."""
    if table not in TABLES:
        raise InputError(f"table {table!r}: expected one of {', '.join(TABLES)}")
    rows: list[Row] = resolve_name(TABLES[table])()
    return rows


def _command(table: str, row: Row, options: RunOptions) -> list[str]:
    """The command of a row's process."""
    start = [sys.executable, "-m", "segue", "lab", "run", table, "--row", row.name, "--work", str(options.work)]
    return start if options.data is None else [*start, "--data", str(options.data)]


def _shown_command(table: str, row: Row, options: RunOptions) -> str:
    """The command that a results file names, without folders of this machine."""
    return f"segue lab run {table} --row {shlex.quote(row.name)}" + (" --data DATA" if options.data is not None else "")
