"""Requests of one kind, computed together in one thread, with a bound on how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from segue.nn.stopping import Stopped, stop_when

Work = Callable[[Sequence[Any]], Sequence[Any]]  # requests -> answers, in their order


class Busy(Exception):
    """The queue is full; ask again later."""


class _Job(NamedTuple):
    request: Any
    answer: asyncio.Future[Any]


class Batches:
    """Gathers waiting requests and hands them to `work`, at most `size` at a time.

    wait: seconds for which a first request waits for others, if there were others while the last batch was computed: a
    single client doesn't wait. bound: requests that may wait; one more raises Busy. What was cancelled before its turn
    is not computed, and what runs is stopped (`segue.nn.stopping`) once all requests of its batch are cancelled. When
    `work` fails on several requests, each gets its turn alone, so that a bad one fails by itself.
    """

    def __init__(
        self, work: Work, *, size: int = 8, wait: float = 0.005, bound: int = 32, seen: Callable[[int], Any] = id
    ) -> None:
        self.work, self.size, self.wait, self.seen = work, size, wait, seen
        self.queue: asyncio.Queue[_Job] = asyncio.Queue(bound)
        self.thread = ThreadPoolExecutor(1)
        self.closed = False
        self.running: asyncio.Task[None] | None = None

    async def ask(self, request: Any) -> Any:
        """The answer to one request. Raises Busy when the queue is full or closed, and what `work` raises for it."""
        if self.closed:
            raise Busy("the server is stopping")
        if self.running is None:
            self.running = asyncio.create_task(self._run())
        job = _Job(request, asyncio.get_running_loop().create_future())
        try:
            self.queue.put_nowait(job)
        except asyncio.QueueFull as error:
            raise Busy(f"{self.queue.maxsize} requests are waiting") from error
        return await job.answer

    async def close(self) -> None:
        """Take no more requests, answer those that wait, stop the thread."""
        self.closed = True
        if self.running is not None:
            await self.queue.join()
            self.running.cancel()
        self.thread.shutdown()

    async def _run(self) -> None:
        crowded = False
        while True:
            jobs = [await self.queue.get()]
            if crowded and self.queue.empty() and self.size > 1:
                await asyncio.sleep(self.wait)
            while len(jobs) < self.size and not self.queue.empty():
                jobs.append(self.queue.get_nowait())
            wanted = [job for job in jobs if not job.answer.done()]
            if wanted:
                self.seen(len(wanted))
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self.thread, self._wanted_answers, wanted)
                crowded = len(wanted) > 1 or not self.queue.empty()
                for job, answer in zip(wanted, found, strict=True):
                    _give(job.answer, answer)
            for _ in jobs:
                self.queue.task_done()

    def _wanted_answers(self, jobs: Sequence[_Job]) -> list[Any]:
        """An answer or an exception for each job; the computation ends early when no job's answer is awaited."""
        with stop_when(lambda: all(job.answer.done() for job in jobs)):
            return self._answers([job.request for job in jobs])

    def _answers(self, requests: Sequence[Any]) -> list[Any]:
        """An answer or an exception for each request."""
        try:
            answers = list(self.work(requests))
            if len(answers) != len(requests):
                raise RuntimeError(f"{len(answers)} answers to {len(requests)} requests")
            return answers
        except Stopped as stopped:
            return [stopped] * len(requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the requests' answer and must not stop the rest
            if len(requests) == 1:
                return [error]
        return [answer for request in requests for answer in self._answers([request])]


def _give(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():  # cancelled while it was computed
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
