"""Stopping a computation that nobody waits for any more.

    with stop_when(unwanted):        # the server, around a batch
        model.caption(picture)       # whose loops pass `stop_point` at each step

Loops that take many steps (search over words, diffusion, parallel drawing, windows over a large picture) have a
`stop_point` in each; outside of `stop_when` it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNWANTED: ContextVar[Callable[[], bool] | None] = ContextVar("unwanted", default=None)


class Stopped(Exception):
    """Raised by `stop_point` when the answer is not wanted any more."""


@contextmanager
def stop_when(unwanted: Callable[[], bool]) -> Iterator[None]:
    """Within, in this thread, the next `stop_point` after `unwanted()` becomes true raises Stopped."""
    token = _UNWANTED.set(unwanted)
    try:
        yield
    finally:
        _UNWANTED.reset(token)


def stop_point() -> None:
    """Raise Stopped if what runs is not wanted any more; cheap enough for each step of a loop over a network."""
    unwanted = _UNWANTED.get()
    if unwanted is not None and unwanted():
        raise Stopped
