import threading
from contextvars import ContextVar

import pytest

from segue.data.ahead import MOST, THREADS, ahead

PLACE = ContextVar("place", default="none")


def test_all_is_done_in_order_by_other_threads():
    found = list(ahead(lambda x: (x * x, threading.current_thread()), range(50)))
    assert [square for square, _ in found] == [x * x for x in range(50)]
    assert 1 <= len({thread for _, thread in found}) <= THREADS
    assert threading.current_thread() not in {thread for _, thread in found}


def test_no_more_items_are_drawn_than_may_be_held():
    drawn = []
    results = ahead(lambda x: x, (drawn.append(x) or x for x in range(100)))
    assert drawn == []
    assert next(results) == 0
    assert len(drawn) == MOST + 1
    results.close()
    assert len(drawn) == MOST + 1


def test_an_error_is_raised_in_its_turn():
    results, found = ahead(lambda x: 1 // (x - 3), range(20)), []
    with pytest.raises(ZeroDivisionError):
        found.extend(results)
    assert found == [1 // (x - 3) for x in range(3)]


def test_the_callers_context_goes_along():
    token = PLACE.set("here")
    try:
        assert list(ahead(lambda _: PLACE.get(), range(3))) == ["here"] * 3
    finally:
        PLACE.reset(token)
