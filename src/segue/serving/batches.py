"""Requests of one kind, computed together in one thread, with a bound on how many wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from segue.nn.stopping import Stopped, Told, stop_when

Work = Callable[[Sequence[Any]], Sequence[Any]]  # requests -> answers, in their order
# how torch, CUDA, cuBLAS and ONNX Runtime tell it, where they have no exception of its own for it
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "Failed to allocate memory")


class Busy(Exception):
    """The queue is full; ask again later."""


class OutOfMemory(Exception):
    """The request takes more memory than there is."""


class WorkerDied(Exception):
    """The computation ended by what ends a thread: an exit, a panic of a library in Rust, a stray StopIteration."""


class _Job(NamedTuple):
    request: Any
    answer: asyncio.Future[Any]
    told: Told | None


class Batches:
    """Gathers waiting requests and hands them to `work`, at most `size` at a time.

    wait: seconds for which requests wait at most until there are as many as there were at the end of the last batch, in
    it and waiting: a single client doesn't wait, and of eight not always four. bound: requests that may wait; one more
    raises Busy. What was cancelled before its turn is not computed, and what runs is stopped (`segue.nn.stopping`) once
    all requests of its batch are cancelled. When `work` fails on several requests, each gets its turn alone, so that a
    bad one fails by itself. Whatever it raises is the answer to its requests and to no others; after what would end a
    thread, there is a new one.

    seen: gets the size of each batch. outcome: gets of each request that was computed the error, None where there is
    an answer.
    """

    def __init__(
        self,
        work: Work,
        *,
        size: int = 8,
        wait: float = 0.005,
        bound: int = 32,
        seen: Callable[[int], Any] = id,
        outcome: Callable[[Exception | None], Any] = id,
    ) -> None:
        self.work, self.size, self.wait, self.seen, self.outcome = work, size, wait, seen, outcome
        self.queue: asyncio.Queue[_Job] = asyncio.Queue(bound)
        self.thread = ThreadPoolExecutor(1)
        self.closed = False
        self.running: asyncio.Task[None] | None = None

    async def ask(self, request: Any, told: Told | None = None) -> Any:
        """The answer to one request.

        told: gets the share of its batch's work that is done, now and then, in another thread.
        Raises Busy when the queue is full or closed, OutOfMemory, WorkerDied, and what else `work` raises for it.
        """
        if self.closed:
            raise Busy("the server is stopping")
        if self.running is None:
            self.running = asyncio.create_task(self._run())
        job = _Job(request, asyncio.get_running_loop().create_future(), told)
        try:
            self.queue.put_nowait(job)
        except asyncio.QueueFull as error:
            raise Busy(f"{self.queue.maxsize} requests are waiting") from error
        return await job.answer

    async def close(self, seconds: float | None = None) -> bool:
        """Take no more requests, answer those that wait, stop the thread.

        seconds: how long at most; None for as long as it takes. False where the thread still computes then.
        """
        self.closed, ended = True, True
        if self.running is not None:
            try:
                await asyncio.wait_for(self.queue.join(), seconds)
            except TimeoutError:
                ended = False
            self.running.cancel()
        self.thread.shutdown(wait=ended)
        return ended

    async def _run(self) -> None:
        before = 1
        while True:
            jobs = [await self.queue.get()]
            try:
                await self._gather(min(before, self.size) - 1)
                while len(jobs) < self.size and not self.queue.empty():
                    jobs.append(self.queue.get_nowait())
                if wanted := [job for job in jobs if not job.answer.done()]:
                    await self._compute(wanted)
                    before = len(wanted) + self.queue.qsize()
            finally:
                for _ in jobs:
                    self.queue.task_done()

    async def _gather(self, others: int) -> None:
        """Until so many requests wait, or for `wait` seconds."""
        end = time.monotonic() + self.wait
        while self.queue.qsize() < others and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.001))

    async def _compute(self, jobs: Sequence[_Job]) -> None:
        """Give each job its answer, or the error."""
        found: list[Any]
        try:
            self.seen(len(jobs))
            found = await asyncio.get_running_loop().run_in_executor(self.thread, self._wanted_answers, jobs)
        except Exception as error:  # noqa: BLE001 - no thread to be had: theirs, and not the end of the queue
            found = [error] * len(jobs)
        if any(isinstance(answer, WorkerDied) for answer in found):
            self.thread.shutdown(wait=False)
            self.thread = ThreadPoolExecutor(1)
        for job, answer in zip(jobs, found, strict=True):
            _give(job.answer, answer)
            self.outcome(answer if isinstance(answer, Exception) else None)

    def _wanted_answers(self, jobs: Sequence[_Job]) -> list[Any]:
        """An answer or an exception for each job; the computation ends early when no job's answer is awaited."""

        def tell(share: float) -> None:
            for job in jobs:
                if job.told is not None:
                    job.told(share)

        with stop_when(lambda: all(job.answer.done() for job in jobs), tell):
            found = self._answers([job.request for job in jobs])
        if torch.cuda.is_initialized() and any(isinstance(answer, OutOfMemory) for answer in found):
            torch.cuda.empty_cache()
        return found

    def _answers(self, requests: Sequence[Any]) -> list[Any]:
        """An answer or an exception for each request."""
        try:
            answers = list(self.work(requests))
            if len(answers) != len(requests):
                raise RuntimeError(f"{len(answers)} answers to {len(requests)} requests")
            return answers
        except Stopped as stopped:
            return [stopped] * len(requests)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the requests' answer and must not stop the rest
            if len(requests) == 1:
                return [_failure(error)]
        return [answer for request in requests for answer in self._answers([request])]


def _failure(error: BaseException) -> Exception:
    """The error as a future takes it; where memory was short, without the traceback, which holds what was computed."""
    message = str(error)
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in message for sign in NO_MEMORY)
    ):
        return OutOfMemory(message or type(error).__name__)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    died = WorkerDied(f"{type(error).__name__}: {message}")
    died.__cause__ = error  # for the log
    return died


def _give(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():  # cancelled while it was computed
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
