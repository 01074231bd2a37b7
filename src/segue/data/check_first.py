"""The data check before work: what trainings and evaluations ask of a data set before they compute anything.

It is the check of `segue data check`. Its report is kept in the user's cache (XDG_CACHE_HOME, else ~/.cache) under the
paths, sizes and times of the data set's files, and asked for again only when one of them changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from segue.data.formats.check import check_any
from segue.data.medical.check import CheckReport, Finding
from segue.data.problems import MAX_NAMED
from segue.files import locked, user_cache, write_text
from segue.types import InputError

MOST_DECODED = 1000  # pictures of a split; those of a larger one are decoded by `segue data check` only


def check_first(
    data: Path, splits: Collection[str], on_bad: str = "stop", decode_at_most: int = MOST_DECODED
) -> dict[str, Any]:
    """Check the splits of a data set, or a file of captions, unless that was done and nothing has changed since.

    decode_at_most: pictures are decoded in splits of at most so many; 0 for work that needs none.
    Warns, in one line, of warnings, and of errors with on_bad "skip"; raises one InputError for errors with "stop".
    Returns {"errors": {code: how many}, "warnings": {...}, "decoded": whether all pictures were decoded}.
    """
    report = cached_check(data, splits, decode_at_most)
    wanted = [f for f in report.findings if not f.split or set(f.split.split("/")) & set(splits)]
    errors, others = ([f for f in wanted if f.level == level] for level in ("error", "warning"))
    if errors and on_bad == "stop":
        raise InputError(_refusal(data, errors))
    lines = [f"{len(errors)} errors passed over ({_counted(errors)})"] if errors else []
    lines += [f"{len(others)} warnings ({_counted(others)})"] if others else []
    decoded = bool(report.stats.get("decoded", True))
    lines += [f"in splits of more than {decode_at_most:,} pictures these are not decoded"] * (
        not decoded and decode_at_most > 0
    )
    if lines:
        warnings.warn(f"{data}: data check: {', '.join(lines)}; `segue data check {data}` lists all", stacklevel=2)
    return {"errors": _codes(errors), "warnings": _codes(others), "decoded": decoded}


def cached_check(data: Path, splits: Collection[str], decode_at_most: int) -> CheckReport:
    """The report on the splits of a data set; from the cache where one is kept, or one in full, of the same files."""
    if not data.exists():
        return CheckReport(str(data))  # its reader says what was expected
    state, part = _state(data), (*splits, str(decode_at_most))
    whole, mine = _cache_file(data, ()), _cache_file(data, part)
    with ExitStack() as alone:  # of several processes one checks and the others wait
        if mine is not None:
            with suppress(OSError):
                alone.enter_context(locked(mine))
        for file in (whole, mine):
            if file is not None and (report := _read(file, state)) is not None:
                return report
        report = check_any(data, splits=splits, decode_at_most=decode_at_most)
        keep_report(data, report, part)
        return report


def keep_report(data: Path, report: CheckReport, part: Collection[str] = ()) -> None:
    """Keep a report for `cached_check`. Where the cache can't be written the check is done each time.

    part: what it is of, if not of everything.
    """
    file = _cache_file(data, part)
    if file is None:
        return
    try:
        write_text(file, json.dumps({"state": _state(data), "report": report.to_json()}))
    except OSError:
        return


def _refusal(data: Path, errors: list[Finding]) -> str:
    named = "; ".join(f"{f.split} {f.name}: {f.message}".strip() for f in errors[:MAX_NAMED])
    more = f"; and {len(errors) - MAX_NAMED} more" if len(errors) > MAX_NAMED else ""
    return (
        f"{data}: the data check found {len(errors)} errors: {named}{more}. `segue data check {data}` lists all; mend "
        "them, or go on without what is bad with --on-bad skip"
    )


def _codes(findings: list[Finding]) -> dict[str, int]:
    return dict(sorted(Counter(f.code for f in findings).items()))


def _counted(findings: list[Finding]) -> str:
    return ", ".join(f"{code} {count}" for code, count in _codes(findings).items())


def _cache_file(data: Path, part: Collection[str]) -> Path | None:
    """Where the report is kept; None where the user has no home."""
    folder = user_cache("data-checks")
    if folder is None:
        return None
    name = hashlib.sha256(f"{data.resolve()}\n{sorted(part)}".encode(errors="surrogateescape")).hexdigest()
    return folder / f"{name[:32]}.json"


def _read(file: Path, state: str) -> CheckReport | None:
    """The report of a file, if it is of this state."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["state"] != state:
            return None
        report = kept["report"]
        return CheckReport(report["root"], [Finding(**finding) for finding in report["findings"]], report["stats"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state(data: Path) -> str:
    """A digest of the paths, sizes and times of the files of a data set, and of the code that checks it."""
    digest = hashlib.sha256()
    for place in (data, Path(__file__).parent):
        for path in sorted(_files(place)):
            at = path.stat()
            digest.update(f"{path}\0{at.st_size}\0{at.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    """The files of a folder and of those below it, also behind links, each folder once; or the file itself."""
    if not place.is_dir():
        yield place.resolve()
        return
    seen = set[str]()
    for folder, below, names in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        yield from (path for name in names if (path := Path(folder, name)).is_file() and path.suffix != ".pyc")
