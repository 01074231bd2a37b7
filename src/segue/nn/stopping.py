"""Cooperative cancellation of long computations, and how far they are.

    with stop_when(cancelled, told):   # the server, around a batch; told(share of what is done)
        model.caption(picture)         # whose loops call `stop_point` in each step

Loops of many steps (decoding, diffusion, parallel drawing, sliding windows) call `stop_point` in each step, or go over
`steps`, which tells besides how much is done; outside of `stop_when` neither does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Told = Callable[[float], object]  # gets the share of the work that is done, in (0, 1], higher each time


@dataclass
class _Watch:
    """cancelled, told: see `stop_when`. start, size: which share of the whole the current loop is. done: last told."""

    cancelled: Callable[[], bool]
    told: Told | None
    start: float = 0.0
    size: float = 1.0
    done: float = 0.0

    def tell(self, share: float) -> None:
        if self.told is not None and share > self.done:
            self.done = share
            self.told(share)


_WATCH: ContextVar[_Watch | None] = ContextVar("watch", default=None)


class Stopped(Exception):
    """Raised by `stop_point` once the computation is cancelled."""


@contextmanager
def stop_when(cancelled: Callable[[], bool], told: Told | None = None) -> Iterator[None]:
    """A context in which, in this thread, `stop_point` raises Stopped as soon as `cancelled()` returns true.

    told: gets the share of the work that is done, of loops over `steps`.
    """
    token = _WATCH.set(_Watch(cancelled, told))
    try:
        yield
    finally:
        _WATCH.reset(token)


def stop_point() -> None:
    """Raise Stopped if the computation is cancelled; cheap enough for each step of a loop over a network."""
    watch = _WATCH.get()
    if watch is not None and watch.cancelled():
        raise Stopped


@contextmanager
def portion(number: int, count: int) -> Iterator[None]:
    """What is done within is one, `number` from 0, of `count` equal parts of what is done around it."""
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    start, size = watch.start, watch.size
    watch.start, watch.size = start + size * number / count, size / count
    try:
        yield
        watch.tell(watch.start + watch.size)
    finally:
        watch.start, watch.size = start, size


def steps(count: int) -> Iterator[int]:
    """0, 1, ... count - 1, a stop point before each; a loop over `steps` within counts as a part of its step."""
    for number in range(count):
        stop_point()
        with portion(number, count):
            yield number
