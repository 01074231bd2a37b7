"""The engine of `segue lab run`: runs the missing rows of a results table and appends each as it finishes.

A results file is long-form CSV, one line for each metric of a row; a row is (experiment, system, seed). Each row runs
in a process of its own, so a crash or a kill loses at most the rows that are running, and those resume in their
folders.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from segue.files import locked, write_text
from segue.types import InputError

COLUMNS = ("experiment", "system", "seed", "metric", "value", "command", "commit", "machine")
PARENT = "SEGUE_LAB_RUN"  # environment variable of a row's process: the process that started it
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Work:
    """The folders of a row.

    row: its own. table: shared by the rows of its table. shared: shared by the rows of all tables. data: what
    `--data` gave, None when it was left out.
    """

    row: Path
    table: Path
    shared: Path
    data: Path | None = None


@dataclass(frozen=True)
class RequiredData:
    """What `--data` must be for a row. expected: a folder, in words. parts: folders that it must hold."""

    expected: str
    parts: tuple[str, ...] = ()

    def folder(self, data: Path | None) -> Path:
        """The folder that `--data` gave. Raises InputError when there is none, or a part is missing in it."""
        if data is None or not all((data / part).is_dir() for part in (".", *self.parts)):
            raise InputError(f"--data {data}: expected {self.expected}")
        return data


@dataclass(frozen=True)
class Row:
    """One row of a table. run(work) returns its metrics by name; where its folder holds a stopped run it resumes.

    data: what it needs in the place of synthetic data, if anything.
    """

    experiment: str
    system: str
    seed: int
    run: Callable[[Work], dict[str, float]]
    data: RequiredData | None = None

    @property
    def key(self) -> Key:
        """(experiment, system, seed), unique in its table."""
        return self.experiment, self.system, self.seed

    @property
    def name(self) -> str:
        """EXPERIMENT/SYSTEM/SEED, as on the command line."""
        return f"{self.experiment}/{self.system}/{self.seed}"

    def work(self, table: Path, data: Path | None = None) -> Work:
        """Its folders. table: the folder of its table, beside which those of other tables lie."""
        folder = f"{self.experiment}-{self.system}-{self.seed}".replace(" ", "_")
        return Work(table / folder, table, table.parent, data)


def run_row(rows: Sequence[Row], name: str, table: Path, data: Path | None = None) -> dict[str, float]:
    """Run the row EXPERIMENT/SYSTEM/SEED in this process and return its metrics. table, data: see `Work`.

    Raises InputError when there is no such row, or when the data that it needs is missing.
    """
    by_name = {row.name: row for row in rows}
    if name not in by_name:
        raise InputError(f"row {name!r}: expected EXPERIMENT/SYSTEM/SEED, one of {', '.join(by_name)}")
    row = by_name[name]
    check_data([row], data)
    work = row.work(table, data)
    _end_with_parent()
    with locked(work.row):  # of an earlier run, whose process is about to end
        return row.run(work)


def _end_with_parent() -> None:
    """End this process when the `segue lab run` that started it has ended, however it ended.

    Otherwise a row outlives a killed run, and the next run computes it a second time.
    """
    parent = int(os.environ.pop(PARENT, "0"))
    if parent:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def missing_rows(rows: Sequence[Row], file: Path) -> list[Row]:
    """The rows that a results file lacks. Raises InputError when the file is broken."""
    finished = finished_rows(file)
    return [row for row in rows if row.key not in finished]


def check_data(rows: Sequence[Row], data: Path | None) -> None:
    """Raises InputError when `--data` isn't what one of the rows needs."""
    for needed in dict.fromkeys(row.data for row in rows if row.data is not None):
        needed.folder(data)


def run_missing(
    rows: Sequence[Row],
    file: Path,
    command: Callable[[Row], list[str]],
    shown_command: Callable[[Row], str],
    *,
    max_minutes: float | None = None,
    jobs: int = 1,
) -> int:
    """Run the rows that `file` lacks, `jobs` at a time; returns how many failed.

    command(row) starts a process whose last printed JSON object holds the row's metrics. shown_command(row) is the
    command that goes into the file. max_minutes: no further row is started after that long. Each process gets an equal
    share of the cores as its threads, or fewer when OMP_NUM_THREADS asks for fewer.
    Raises InputError when another process fills the same file, or the file is broken.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(file):
        missing = missing_rows(rows, file)
        print(f"{file}: {len(rows) - len(missing)} of {len(rows)} rows are there", flush=True)
        stop = time.monotonic() + 60 * max_minutes if max_minutes is not None else float("inf")
        running: list[_Running] = []
        failed = 0
        try:
            while (missing and time.monotonic() < stop) or running:
                while missing and len(running) < jobs and time.monotonic() < stop:
                    running.append(_start(missing.pop(0), command, jobs))
                time.sleep(0.1)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    failed += not _finish(one, file, shown_command(one.row))
        finally:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.wait()
    return failed


def finished_rows(file: Path) -> set[Key]:
    """The keys of the rows that a results file holds. Raises InputError when the file is broken."""
    return {(line["experiment"], line["system"], int(line["seed"])) for line in read_lines(file)}


def read_lines(file: Path) -> list[dict[str, str]]:
    """The lines of a results file, by column; none when there is no such file.

    Raises InputError for other columns than COLUMNS, and for a seed or a value that is no number.
    """
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(f"{file}: got the columns {table.fieldnames}, expected {', '.join(COLUMNS)}")
        found = list(table)
    for number, line in enumerate(found, start=2):
        try:
            int(line["seed"]), float(line["value"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{file}, line {number}: seed and value must be numbers ({error}); mend that line"
            ) from error
    return found


def append_row(file: Path, key: Key, metrics: dict[str, float], command: str) -> None:
    """Append the metrics of one row, all of them or (when the process is killed) none."""
    origin = (command, commit(), machine())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not file.exists():
        writer.writerow(COLUMNS)
    for metric, value in metrics.items():
        writer.writerow([*key, metric, f"{value:.6g}", *origin])
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    write_text(file, old + text.getvalue())


def commit() -> str:
    """The short hash of the running code, -dirty when src/segue differs from it; "unknown" outside a repository."""
    package = Path(__file__).parents[1]

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *args], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    short = git("rev-parse", "--short", "HEAD")
    return (short + ("-dirty" if git("status", "--porcelain", "--", str(package)) else "")) or "unknown"


def machine() -> str:
    """Number of cores, processor and version of torch; never the machine's name."""
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = models[0] if models else model
    return f"{os.cpu_count()} cores {model}; torch {version('torch').split('+')[0]}"


@dataclass(frozen=True)
class _Running:
    row: Row
    process: subprocess.Popen[str]
    output: IO[str]
    start: float  # time.monotonic()


def _start(row: Row, command: Callable[[Row], list[str]], jobs: int) -> _Running:
    threads, limit = max(1, (os.cpu_count() or 1) // jobs), os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit():
        threads = max(1, min(threads, int(limit)))
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by _finish
    process = subprocess.Popen(
        command(row),
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            PARENT: str(os.getpid()),
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    return _Running(row, process, output, time.monotonic())


def _finish(one: _Running, file: Path, shown_command: str) -> bool:
    """Append the row of a process that has ended, or print why it failed; whether it succeeded."""
    with one.output:
        one.output.seek(0)
        lines = one.output.read().strip().splitlines()
    minutes = (time.monotonic() - one.start) / 60
    if one.process.returncode:
        tail = "\n".join(lines[-15:])
        print(
            f"{one.row.name}: failed with status {one.process.returncode}\n{tail}",
            file=sys.stderr,
            flush=True,
        )
        return False
    metrics = _metrics(lines)
    if metrics is None:
        print(f"{one.row.name}: ended without metrics\n" + "\n".join(lines[-15:]), file=sys.stderr, flush=True)
        return False
    append_row(file, one.row.key, metrics, shown_command)
    figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(f"{one.row.name}: {figures}  ({minutes:.1f} min)", flush=True)
    return True


def _metrics(lines: Sequence[str]) -> dict[str, float] | None:
    """The last line that is a JSON object, since a library may print a warning after it; None when there is none."""
    for line in reversed(lines):
        if line.startswith("{"):
            with suppress(ValueError):
                return dict(json.loads(line))
    return None


@contextmanager
def _exclusive(file: Path) -> Iterator[None]:
    """Hold the table's lock: two runs of one table would compute the same rows twice."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(file, wait=False))
        except TimeoutError as error:
            raise InputError(
                f"{file}: another `segue lab run` is filling this table; wait for it or stop it"
            ) from error
        yield
