"""The queue before a model: batches, bounds, bad neighbours, cancelled requests."""

import asyncio
import threading
import time

import numpy as np
import pytest
import torch

from segue.nn.stopping import stop_point
from segue.serving.batches import Batches, Busy, OutOfMemory, WorkerDied


def double(requests):
    return [2 * r for r in requests]


def test_requests_that_wait_are_computed_together():
    sizes = []

    async def main():
        batches = Batches(double, size=4, wait=0.05, seen=sizes.append)
        answers = await asyncio.gather(*(batches.ask(i) for i in range(6)))
        await batches.close()
        return answers

    assert asyncio.run(main()) == [0, 2, 4, 6, 8, 10]
    assert sizes == [4, 2]


def test_a_single_client_never_waits_for_others():
    async def main():
        batches = Batches(double, size=4, wait=60)
        answers = [await asyncio.wait_for(batches.ask(i), 5) for i in range(3)]
        await batches.close()
        return answers

    assert asyncio.run(main()) == [0, 2, 4]


def test_where_there_were_others_the_next_waits_for_them():
    sizes, go = [], threading.Event()

    def work(requests):
        go.wait(5)
        return double(requests)

    async def main():
        batches = Batches(work, size=2, wait=0.5, seen=sizes.append)
        first = asyncio.create_task(batches.ask(0))
        while not sizes:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(batches.ask(1))]
        await asyncio.sleep(0)
        go.set()
        await first
        others.append(asyncio.create_task(batches.ask(2)))
        answers = await asyncio.wait_for(asyncio.gather(*others), 5)
        await batches.close()
        return answers

    assert asyncio.run(main()) == [2, 4]
    assert sizes == [1, 2]


def test_those_that_wait_let_the_others_of_before_join_them():
    """Of eight clients four were always computed while the other four waited."""
    sizes, go = [], threading.Event()

    def work(requests):
        go.wait(5)
        return double(requests)

    async def main():
        batches = Batches(work, size=8, wait=0.5, seen=sizes.append)
        first = asyncio.create_task(batches.ask(0))
        while not sizes:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(batches.ask(i)) for i in (1, 2)]
        await asyncio.sleep(0)
        go.set()
        await first
        start = time.monotonic()
        answers = await asyncio.wait_for(asyncio.gather(*others, batches.ask(3)), 5)
        took = time.monotonic() - start
        await batches.close()
        return answers, took

    answers, took = asyncio.run(main())
    assert answers == [2, 4, 6]
    assert sizes == [1, 3]
    assert took < 0.4  # nobody waits for more than there were


def test_one_bad_request_never_fails_its_neighbours():
    def work(requests):
        if "bad" in requests:
            raise ValueError("bad")
        return double(requests)

    async def main():
        batches = Batches(work, size=4, wait=0.05)
        answers = await asyncio.gather(*(batches.ask(r) for r in (1, "bad", 3)), return_exceptions=True)
        await batches.close()
        return answers

    one, bad, three = asyncio.run(main())
    assert (one, three) == (2, 6)
    assert isinstance(bad, ValueError)


def test_a_wrong_number_of_answers_is_an_error_and_no_wait():
    async def main():
        batches = Batches(lambda requests: [], size=2)
        answers = await asyncio.wait_for(asyncio.gather(*map(batches.ask, range(2)), return_exceptions=True), 5)
        await batches.close()
        return answers

    assert [type(answer) for answer in asyncio.run(main())] == [RuntimeError, RuntimeError]


def test_a_full_queue_refuses_and_a_cancelled_request_is_not_computed():
    go, begun, computed = threading.Event(), threading.Event(), []

    def work(requests):
        begun.set()
        go.wait(5)
        computed.extend(requests)
        return requests

    async def main():
        batches = Batches(work, size=1, bound=2)
        first = asyncio.create_task(batches.ask("first"))
        await asyncio.to_thread(begun.wait, 5)
        waiting = [asyncio.create_task(batches.ask(name)) for name in ("second", "third")]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests are waiting"):
            await batches.ask("fourth")
        waiting[0].cancel()
        await asyncio.sleep(0)
        go.set()
        assert (await first, await waiting[1]) == ("first", "third")
        await batches.close()
        with pytest.raises(Busy, match="stopping"):
            await batches.ask("late")

    asyncio.run(main())
    assert computed == ["first", "third"]


def test_what_runs_is_stopped_when_all_of_its_clients_are_gone():
    begun, steps = threading.Event(), []

    def work(requests):
        if requests == ["next"]:
            return requests
        for step in range(400):
            stop_point()
            begun.set()
            steps.append(step)
            time.sleep(0.01)
        return requests

    async def main():
        batches = Batches(work, size=2, wait=0.05)
        asked = [asyncio.create_task(batches.ask(name)) for name in ("one", "two")]
        await asyncio.to_thread(begun.wait, 5)
        asked[0].cancel()
        await asyncio.sleep(0.1)
        before = len(steps)
        await asyncio.sleep(0.1)
        assert len(steps) > before  # the other client still waits
        asked[1].cancel()
        assert await batches.ask("next") == "next"
        await batches.close()

    asyncio.run(main())
    assert len(steps) < 400


def test_closing_answers_those_that_wait():
    async def main():
        batches = Batches(double, size=1)
        asked = [asyncio.create_task(batches.ask(i)) for i in range(3)]
        await asyncio.sleep(0)
        await batches.close()
        return [await one for one in asked]

    assert asyncio.run(main()) == [0, 2, 4]


# ------------------------------------------------------------------------------------------------ what goes wrong


def answers_of(work, *requests, **options):
    """The answers and errors of requests that wait together, then of a last good one; the queue can be closed."""

    async def main():
        batches = Batches(work, size=4, wait=0.05, **options)
        found = await asyncio.wait_for(asyncio.gather(*map(batches.ask, requests), return_exceptions=True), 5)
        last = await asyncio.wait_for(batches.ask(7), 5)
        assert await asyncio.wait_for(batches.close(), 5)
        return [*found, last]

    return asyncio.run(main())


def raising(error):
    """Doubles numbers; fails at anything else."""

    def work(requests):
        if any(not isinstance(request, int) for request in requests):
            raise error
        return double(requests)

    return work


class Panic(BaseException):
    """As a panic in Rust arrives."""


class NoMore(StopIteration):
    pass


@pytest.mark.parametrize(
    "error",
    [StopIteration(), NoMore(), Panic("at lib.rs"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(),
     asyncio.CancelledError()],
    ids=repr,
)  # fmt: skip
def test_what_would_end_the_thread_fails_its_own_request_and_no_other(error):
    outcomes = []
    one, bad, three, last = answers_of(raising(error), 1, "bad", 3, outcome=outcomes.append)
    assert (one, three, last) == (2, 6, 14)
    assert isinstance(bad, WorkerDied)
    assert str(bad) == f"{type(error).__name__}: {error}"
    assert bad.__cause__ is error
    assert outcomes == [None, bad, None, None]


def test_after_what_would_end_a_thread_there_is_a_new_one():
    threads = []

    def work(requests):
        threads.append(threading.current_thread())
        return raising(Panic())(requests)

    async def main():
        batches = Batches(work)
        await batches.ask(1)
        with pytest.raises(WorkerDied):
            await batches.ask("bad")
        await batches.ask(2)
        await batches.close()

    asyncio.run(main())
    assert threads[0] is threads[1] is not threads[2]


def test_where_no_thread_is_to_be_had_the_request_fails_and_the_queue_lives():
    def refused(*_):
        raise RuntimeError("can't start new thread")

    async def main():
        batches = Batches(double)
        sound, batches.thread.submit = batches.thread.submit, refused
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await asyncio.wait_for(batches.ask(1), 5)
        batches.thread.submit = sound
        assert await asyncio.wait_for(batches.ask(1), 5) == 2
        await batches.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
     torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
     RuntimeError("CUDA error: out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")],
    ids=repr,
)  # fmt: skip
def test_one_request_without_memory_for_it_is_refused_with_that_reason(error):
    one, bad, last = answers_of(raising(error), 1, "bad")
    assert (one, last) == (2, 14)
    assert isinstance(bad, OutOfMemory)
    assert bad.__cause__ is bad.__context__ is None  # nothing holds what was computed


def test_memory_that_torch_and_numpy_do_not_get():
    def work(requests):
        return [torch.empty(2**50) if r == "torch" else np.empty(2**50) if r == "numpy" else r for r in requests]

    *short, last = answers_of(work, "torch", "numpy")
    assert [type(one) for one in short] == [OutOfMemory, OutOfMemory]
    assert last == 7


def test_a_thread_that_does_not_come_back_is_left_at_the_end():
    go = threading.Event()

    async def main():
        batches = Batches(lambda requests: go.wait(20) and requests)
        asked = asyncio.create_task(batches.ask(1))
        await asyncio.sleep(0.05)
        before = time.monotonic()
        assert not await batches.close(0.1)
        assert time.monotonic() - before < 5
        go.set()
        asked.cancel()

    asyncio.run(main())
