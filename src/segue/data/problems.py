"""What happens to the unusable parts of a data set: an error before anything is computed, or a warning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from segue.types import InputError

MAX_NAMED = 5  # problems that one message names; the others are counted


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
