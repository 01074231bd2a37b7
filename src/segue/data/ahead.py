"""Work that threads do beside the network: decoding what comes next, writing what was answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")
THREADS = 2
MOST = 4  # items that are held, so that large pictures don't fill memory


def ahead(work: Callable[[Item], Done], items: Iterable[Item]) -> Iterator[Done]:
    """What `work` makes of each item, in their order, by threads, up to MOST items before it is asked for.

    The items are drawn in the caller's thread, so they may come from a network. What `work` raises is raised in its
    item's turn; then, and where the caller stops, the work that has not begun is left out.
    """
    waiting = deque[Future[Done]]()
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(copy_context().run, work, item))
                if len(waiting) > MOST:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
