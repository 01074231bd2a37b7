"""Connections and the log of strangers: what uvicorn's settings leave without a bound.

uvicorn's `limit_concurrency` answers 503 to requests alone: connections that ask nothing are taken until there are no
descriptors left, and each failure to take one more is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from uvicorn.protocols.http.h11_impl import H11Protocol

from segue.types import InputError

SILENT = 10.0  # seconds for a request's head
GRACE = 2.0  # seconds for which a stopping server waits for what a fresh connection asks
RECORDS, WINDOW = 20, 60.0  # of one place in the code, in so many seconds
SPARE, FEWEST = 32, 16  # descriptors for files; connections with which a server is of use


class Connection(H11Protocol):
    """A connection that is closed when no request's head has come within SILENT seconds, or when others need the room.

    With `limit_concurrency` connections open, the one that has asked nothing for the longest makes room for a new one.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, and let another go where there are too many."""
        super().connection_made(transport)
        self.late: asyncio.TimerHandle | None = None
        self.since = self.loop.time()
        self._watch()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            others = [one for one in self.connections if isinstance(one, Connection) and one.idle and one is not self]
            if others:  # else uvicorn answers 503
                gone = min(others, key=lambda one: one.since)
                gone.transport.abort()
                self.connections.discard(gone)

    def data_received(self, data: bytes) -> None:
        """Part of a head or of a body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        super().connection_lost(exc)
        if self.late is not None:
            self.late.cancel()

    def shutdown(self) -> None:
        """Stop; a connection that has asked nothing yet may just have been opened, with its request on the way."""
        if self.cycle is None:
            self.loop.call_later(GRACE, super().shutdown)
        else:
            super().shutdown()

    @property
    def silent(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def idle(self) -> bool:
        """Whether no answer is lost with it: silent, or answered before its body came to an end."""
        return self.silent or (self.cycle.response_started and self.cycle.more_body)

    def _watch(self) -> None:
        if not self.silent:
            if self.late is not None:
                self.late.cancel()
            self.late, self.since = None, self.loop.time()
        elif self.late is None:
            self.late = self.loop.call_later(SILENT, self.transport.close)


class Sparing(logging.Filter):
    """Lets each place in the code log RECORDS times in WINDOW seconds; the next window's first tells how many more."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        place, now = (record.pathname, record.lineno), time.monotonic()
        start, count = self.seen.get(place, (now, 0))
        if now - start >= WINDOW:
            if count > RECORDS:
                record.msg = f"{record.msg} ({count - RECORDS} more like it were not logged)"
            start, count = now, 0
        self.seen[place] = (start, count + 1)
        return count < RECORDS


@contextmanager
def logging_sparingly(names: Sequence[str] = ("segue.serving", "uvicorn.error", "asyncio")) -> Iterator[None]:
    """A context in which strangers can't fill the disk by what these loggers write of them."""
    sparing = Sparing()
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(sparing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(sparing)


def room(asked: int) -> tuple[int, int]:
    """(connections, backlog): as many as asked for, fewer where the process may not open so many files.

    `backlog` connections are taken before any is let go, and those let go keep theirs for a moment: three times as many
    descriptors stay free. Raises InputError where there is hardly room for any.
    """
    most, used = resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(os.listdir("/dev/fd"))
    free = most - used - SPARE
    backlog = min(128, max(free // 8, 1))
    connections = min(asked, free - 3 * backlog)
    if connections < min(asked, FEWEST):
        raise InputError(
            f"{most} files may be open (`ulimit -n`) and {used} are, too few for {min(asked, FEWEST)} connections; "
            f"raise it to {used + SPARE + 2 * asked + 16} or more"
        )
    return connections, backlog
