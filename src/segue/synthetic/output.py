"""What the writers of synthetic data sets share: checks of a request, a new folder, drawing by several processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from segue.files import fresh_folder
from segue.types import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
MIN_SIZE = 32  # pixels
MIN_JOBS = 64  # starting processes takes longer than so few pictures


def check_request(out: Path, counts: Mapping[str, int], size: int) -> None:
    """Raise InputError for a folder that holds something, bad counts of pictures, and pictures below MIN_SIZE."""
    if size < MIN_SIZE:
        raise InputError(f"size: got {size}, expected at least {MIN_SIZE} pixels")
    if min(counts.values()) < 0 or not any(counts.values()):
        raise InputError(f"counts: got {dict(counts)}, expected none negative and one above zero")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name a new folder, or remove it first")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` (new or empty) at the end; after an error nothing is left."""
    out = Path(os.path.realpath(out))
    with fresh_folder(out.parent) as inside:
        fresh = inside / "new"
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rmdir()
        os.replace(fresh, out)


def run_jobs(run: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None) -> Iterator[Result]:
    """The results in the order of the jobs, as they get ready. workers: processes, as many as CPUs when None."""
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers <= 1 or len(jobs) < MIN_JOBS:
        yield from map(run, jobs)
    else:
        with _main_hidden():
            pool = get_context("spawn").Pool(workers)
        with pool:
            yield from pool.imap(run, jobs, chunksize=16)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Processes started meanwhile don't import the caller's script: without `if __name__ == "__main__"` it would draw
    again in each of them, and wait for ever for its own lock.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
