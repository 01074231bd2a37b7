"""`segue bench serve`: requests a second and how long each takes, on loopback, with batches and without.

Clients are threads with one connection each that ask again as soon as they are answered. Both servers run at once and
take their turns, so that a busy machine slows both alike. `segue ablate serve` files the same three times over.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

from segue.data.images import png_bytes
from segue.lab.engine import Row, Work
from segue.synthetic.chest import Phantom, draw_chest
from segue.types import InputError

PLACE = "127.0.0.1"
MODEL, PICTURE = "reclmis-chest", 20_002  # the seed of a drawn radiograph
MODES = {"batches": ("--gather", "0.005"), "single": ("--gather", "0")}
CLIENTS, SECONDS, MANY, TURNS = (1, 8, 32), 8.0, 2000, (0, 1, 2)


def bench_serve(
    *, model: str = MODEL, clients: tuple[int, ...] = CLIENTS, seconds: float = SECONDS, flat: int = MANY
) -> dict[str, Any]:
    """Load `segue serve` with requests to segment a drawn radiograph by its note.

    Args:
        model: a segmenter.
        clients: how many ask at a time.
        seconds: for each number of clients.
        flat: requests after which the memory is compared with that after a tenth of them; 0 to leave it out.
    """
    drawn = draw_chest(PICTURE)
    body = _body(drawn)
    found: dict[str, Any] = {"batches": {}, "single": {}}
    with _server(model, *MODES["batches"]) as batches, _server(model, *MODES["single"]) as single:
        servers = {"batches": batches, "single": single}
        for count in clients:
            for name, (port, _) in servers.items():
                found[name][str(count)] = load(port, body, count, seconds)
        if flat:
            found["memory"] = _flat(*servers["batches"], body, flat)
    return found | {"model": model, "cores": os.cpu_count(), "picture": list(drawn.image.shape[:2])}


def serve_table() -> list[Row]:
    """Load by clients, with batches and without, three times; and the memory over 2,000 requests."""
    rows = [
        Row(f"{clients} clients", mode, turn, partial(_loaded, mode, clients))
        for turn in TURNS
        for clients in CLIENTS
        for mode in MODES
    ]
    return [*rows, Row("memory", "batches", 0, _over_many)]


def _loaded(mode: str, clients: int, work: Work) -> dict[str, float]:
    with _server(MODEL, *MODES[mode]) as (port, _):
        return load(port, _body(draw_chest(PICTURE)), clients, SECONDS)


def _over_many(work: Work) -> dict[str, float]:
    with _server(MODEL, *MODES["batches"]) as server:
        return _flat(*server, _body(draw_chest(PICTURE)), MANY)


def _body(drawn: Phantom) -> bytes:
    picture = base64.b64encode(png_bytes(drawn.image)).decode()
    return json.dumps({"image": picture, "note": drawn.note}).encode()


def load(port: int, body: bytes, clients: int, seconds: float) -> dict[str, float]:
    """requests_per_s; p50_ms, p95_ms and p99_ms of the answers; how many errors."""
    until = time.perf_counter() + seconds
    times: list[list[float]] = [[] for _ in range(clients)]
    wrong = [0] * clients

    def ask(me: int) -> None:
        for answer in _ask(port, body):
            start, status = answer
            times[me].append(time.perf_counter() - start)
            wrong[me] += status != 200
            if time.perf_counter() > until:
                return

    threads = [Thread(target=ask, args=(i,)) for i in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, every = time.perf_counter() - begun, sorted(t for some in times for t in some)
    cut = statistics.quantiles(every, n=100, method="inclusive") if len(every) > 1 else every * 99
    return {
        "requests_per_s": round(len(every) / took, 2),
        **{f"p{p}_ms": round(1000 * cut[p - 1], 1) for p in (50, 95, 99)},
        "errors": sum(wrong),
    }


def _ask(port: int, body: bytes) -> Iterator[tuple[float, int]]:
    """Ask again and again on one connection: (when it was asked, status)."""
    connection = http.client.HTTPConnection(PLACE, port, timeout=120)
    try:
        while True:
            start = time.perf_counter()
            connection.request("POST", "/segment/note", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            yield start, answer.status
    finally:
        connection.close()


def _flat(port: int, process: subprocess.Popen[bytes], body: bytes, requests: int) -> dict[str, float]:
    """Resident memory of the server after a tenth of the requests and after all of them, and the most it ever had."""
    early = 0.0
    for number, (_, status) in enumerate(_ask(port, body), 1):
        if status != 200:
            raise InputError(f"request {number} of {requests} was answered {status}; look at the server's log")
        if number == requests // 10:
            early = _memory_mb(process.pid, "VmRSS")
        if number == requests:
            break
    late, peak = (_memory_mb(process.pid, field) for field in ("VmRSS", "VmHWM"))
    return {"requests": requests, "rss_mb_early": early, "rss_mb_late": late, "peak_rss_mb": peak}


def _memory_mb(pid: int, field: str) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(round(int(line.split()[1]) / 1024, 1) for line in status if line.startswith(field))


@contextmanager
def _server(model: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server in a process of its own: (port, process)."""
    with socket.socket() as free:
        free.bind((PLACE, 0))
        port = free.getsockname()[1]
    command: Sequence[str] = [sys.executable, "-m", "segue", "serve", "--models", model, "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_until_ready(port, process)
        yield port, process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            told = process.stderr.read().decode() if process.stderr else ""
            raise InputError(f"the server ended: {told.strip()}")
        connection = http.client.HTTPConnection(PLACE, port, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise InputError("the server was not ready within two minutes")
