"""Connections that ask nothing, too many of them, and what strangers can make the server write."""

import logging
import resource
import socket
import subprocess
import sys
import time

import httpx
import pytest

import segue as package
from segue.serving import Limits, connections, create_app
from segue.serving.connections import logging_sparingly, room
from segue.types import InputError
from serving.browsing import alive, listening, until_ready


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return package.load(tiny_model)


def open_to(address):
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10)


def is_closed(one):
    """Whether the server has let it go; waits for it, ten seconds at most."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("first", [b"", b"GET /health HT"])
def test_a_connection_that_asks_nothing_is_closed(monkeypatch, segmenter, first):
    monkeypatch.setattr(connections, "SILENT", 0.3)
    with listening(create_app({"tiny": segmenter})) as address, open_to(address) as one:
        one.sendall(first)
        assert is_closed(one)


def test_a_head_that_comes_letter_by_letter_is_not_waited_for(monkeypatch, segmenter):
    monkeypatch.setattr(connections, "SILENT", 0.5)
    with listening(create_app({"tiny": segmenter})) as address, open_to(address) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert one.recv(4000).startswith(b"HTTP/1.1 200")
        before = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - which letter it is does not matter
            for letter in b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 400:
                one.sendall(bytes([letter]))
                time.sleep(0.05)
        assert time.monotonic() - before < 10


def test_who_asks_is_answered_while_others_hold_all_connections(segmenter):
    with listening(create_app({"tiny": segmenter}, limits=Limits(connections=8))) as address:
        silent = [open_to(address) for _ in range(12)]
        for _ in range(5):
            assert httpx.get(f"{address}/health").status_code == 200
        assert all(is_closed(one) for one in silent[:5])
        silent[-1].sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert silent[-1].recv(4000).startswith(b"HTTP/1.1 200")  # the oldest go first
        for one in silent:
            one.close()


def test_forty_at_once(segmenter):
    with listening(create_app({"tiny": segmenter})) as address:
        several = [open_to(address) for _ in range(40)]
        for one in several:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert all(one.recv(4000).startswith(b"HTTP/1.1 200") for one in several)
        for one in several:
            one.close()


FEW = """
import resource, sys
from pathlib import Path
import segue
from segue.serving import run
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
run.serve([sys.argv[1]], host="127.0.0.1", port=int(sys.argv[2]), token=None, limits=run.Limits())
"""


def test_more_connections_than_descriptors_do_not_take_it_down(tiny_model, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    server = subprocess.Popen([sys.executable, "-c", FEW, str(tiny_model), port], stderr=subprocess.PIPE)
    several = []
    try:
        until_ready(httpx.get, address, lambda: alive(server))
        for _ in range(400):
            several.append(open_to(address))
        assert [httpx.get(f"{address}/health", timeout=10).status_code for _ in range(20)] == [200] * 20
        server.terminate()
        assert server.wait(30) == 0
        errors = server.stderr.read()
        assert b"connections at a time, not 256: no more files may be open" in errors
        assert b"Traceback" not in errors
        assert len(errors) < 2000
    finally:
        server.kill()
        server.communicate()
        for one in several:
            one.close()


def test_as_many_connections_as_there_are_descriptors_for(monkeypatch):
    def limit(number):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (number, number))
        monkeypatch.setattr(connections.os, "listdir", lambda _: ["0"] * 40)
        return room(256)

    assert limit(20_000) == (256, 128)
    for number in (1024, 512, 256, 128):
        most, backlog = limit(number)
        assert 16 <= most <= 256
        assert 40 + most + 3 * backlog < number
    with pytest.raises(InputError, match=r"80 files may be open \(`ulimit -n`\) and 40 are, too few for 16 "):
        limit(80)


def test_a_flood_is_logged_in_part_and_reported_of_later(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: clock[0])
    logger = logging.getLogger("segue.serving")
    with logging_sparingly():
        for i in range(1000):
            logger.warning("a stranger's request %d", i)
            if i < 3:
                logger.error("another")
        clock[0] = 61.0
        logger.warning("later")
        for i in range(2):
            logger.warning("a stranger's request %d", i)
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("another") == 3
    assert sum(text.startswith("a stranger's") for text in texts) == 22
    logger.warning("unbounded again")
    assert caplog.records[-1].getMessage() == "unbounded again"


def test_what_was_left_out_is_counted(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: clock[0])
    with logging_sparingly():
        for i in range(51):
            clock[0] = 61.0 if i == 50 else 0.0
            logging.getLogger("asyncio").error("no accept %d", i)
    assert caplog.records[-1].getMessage() == "no accept 50 (30 more like it were not logged)"
    assert len(caplog.records) == 21
