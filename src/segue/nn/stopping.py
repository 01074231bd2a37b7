"""Cooperative cancellation of long computations.

    with stop_when(cancelled):       # the server, around a batch
        model.caption(picture)       # whose loops call `stop_point` in each step

Loops of many steps (decoding, diffusion, parallel drawing, sliding windows) call `stop_point` in each step; outside of
`stop_when` it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CANCELLED: ContextVar[Callable[[], bool] | None] = ContextVar("cancelled", default=None)


class Stopped(Exception):
    """Raised by `stop_point` once the computation is cancelled."""


@contextmanager
def stop_when(cancelled: Callable[[], bool]) -> Iterator[None]:
    """A context in which, in this thread, `stop_point` raises Stopped as soon as `cancelled()` returns true."""
    token = _CANCELLED.set(cancelled)
    try:
        yield
    finally:
        _CANCELLED.reset(token)


def stop_point() -> None:
    """Raise Stopped if the computation is cancelled; cheap enough for each step of a loop over a network."""
    cancelled = _CANCELLED.get()
    if cancelled is not None and cancelled():
        raise Stopped
