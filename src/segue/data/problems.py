"""What happens to the unusable parts of a data set: an error before anything is computed, or a warning.

A reader calls `report(code, name, message)` for each record that can't be used, and leaves it out. The default,
`raise_problem`, raises instead, so that nothing is left out unnoticed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from segue.types import InputError

DATA_CHECK = "data_check.json"  # in a run's folder: what the data check found before the training
MAX_NAMED = 5  # problems that one message names; the others are counted
NOTES = ("unused-members", "left-out", "two-captions", "twin-categories")  # codes of what is reported and stops nothing
ReportProblem = Callable[[str, str, str], None]
WRONG_LAYOUT = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


def raise_problem(code: str, name: str, message: str) -> None:
    """Report a problem by raising InputError; what is only to be noted, by a warning."""
    if code not in NOTES:
        raise InputError(f"{name}: {message}")
    warnings.warn(f"{name}: {message}", stacklevel=3)


def collecting(bad: list[str]) -> ReportProblem:
    """A function that adds problems to a list of sentences; it warns of what is only to be noted."""

    def report(code: str, name: str, message: str) -> None:
        if code in NOTES:
            raise_problem(code, name, message)
        else:
            bad.append(f"{name}: {message}")

    return report


class reporting:
    """A context that reports an error inside as a problem of the record `name`, and goes on after the block.

    Don't report inside.
    """

    __slots__ = ("code", "name", "report")

    def __init__(self, report: ReportProblem, code: str, name: str) -> None:
        self.report, self.code, self.name = report, code, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, WRONG_LAYOUT):
            return False
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        message = str(error) if isinstance(error, InputError) else f"not laid out as expected ({missing})"
        self.report(self.code, self.name, message.removeprefix(f"{self.name}: "))
        return True


def handle_problems(problems: Sequence[str], summary: str, on_bad: str) -> None:
    """Nothing without problems; otherwise raise one InputError (on_bad "stop") or warn with the same words ("skip").

    problems: one sentence each. summary: the beginning of the message, with their number.
    Raises InputError also for another value of on_bad.
    """
    if on_bad not in ("stop", "skip"):
        raise InputError(f'on_bad: got {on_bad!r}, expected "stop" or "skip"')
    if not problems:
        return
    more = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    message = f"{summary}: {'; '.join(problems[:MAX_NAMED])}{more}"
    if on_bad == "stop":
        raise InputError(message + ". Mend or remove them (`segue data check` lists all), or skip with --on-bad skip")
    warnings.warn("skipped: " + message, stacklevel=3)
