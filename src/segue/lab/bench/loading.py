"""Servers in processes of their own on loopback, and the clients that load them.

Clients are threads with one connection each, which send the next request as soon as the last is answered.
"""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice, repeat
from threading import Thread

from segue.types import InputError

HOST = "127.0.0.1"
NOTE = "segment/note"
TICKS = os.sysconf("SC_CLK_TCK")


def measure_load(
    port: int, bodies: Sequence[bytes], clients: int, seconds: float, *, path: str = NOTE, pid: int | None = None
) -> dict[str, float]:
    """requests_per_s; p50_ms, p95_ms and p99_ms, percentiles of the latency; errors, answers of a status but 200.

    bodies: sent to the endpoint `path` one after another, by each client from another one on. pid: the server's, for
    cpu_ms, its CPU time a request.
    """
    until, used = time.perf_counter() + seconds, 0.0 if pid is None else cpu_seconds(pid)
    times: list[list[float]] = [[] for _ in range(clients)]
    errors = [0] * clients

    def request_until_the_end(client: int) -> None:
        for start, status in _requests(port, path, islice(cycle(bodies), client, None)):
            times[client].append(time.perf_counter() - start)
            errors[client] += status != 200
            if time.perf_counter() > until:
                return

    threads = [Thread(target=request_until_the_end, args=(i,)) for i in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, latencies = time.perf_counter() - start, sorted(t for part in times for t in part)
    cuts = statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else latencies * 99
    return {
        "requests_per_s": round(len(latencies) / elapsed, 2),
        **{f"p{p}_ms": round(1000 * cuts[p - 1], 1) for p in (50, 95, 99)},
        "errors": sum(errors),
        **({} if pid is None else {"cpu_ms": 1000 * (cpu_seconds(pid) - used) / len(latencies)}),
    }


def measure_memory(port: int, process: subprocess.Popen[bytes], body: bytes, requests: int) -> dict[str, float]:
    """Resident memory of the server after a tenth of the requests and after all, and its peak, in MB.

    Raises InputError when a request isn't answered 200.
    """
    early = 0.0
    for number, (_, status) in enumerate(_requests(port, NOTE, repeat(body)), 1):
        if status != 200:
            raise InputError(f"request {number} of {requests} was answered {status}; look at the server's log")
        if number == requests // 10:
            early = memory_mb(process.pid, "VmRSS")
        if number == requests:
            break
    late, peak = (memory_mb(process.pid, field) for field in ("VmRSS", "VmHWM"))
    return {"requests": requests, "rss_mb_early": early, "rss_mb_late": late, "peak_rss_mb": peak}


@contextmanager
def running_server(
    models: Sequence[str], *options: str, threads: int | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server in a process of its own, as (port, process); it is ended afterwards.

    threads: on which it computes; as many as torch likes unless given.
    Raises InputError when it ends by itself or isn't ready within two minutes.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segue", "serve", "--models", *models, "--port", str(port), *options]
    environment = os.environ if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        _wait_until_ready(port, process)
        yield port, process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _requests(port: int, path: str, bodies: Iterator[bytes]) -> Iterator[tuple[float, int]]:
    """Send one request after another on one connection; each time (when it was sent, status of the answer)."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        for body in bodies:
            start = time.perf_counter()
            connection.request("POST", f"/{path}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            yield start, answer.status
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    with open(f"/proc/{pid}/stat") as status:
        user, system = status.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def memory_mb(pid: int | str, field: str) -> float:
    """A field of a process's status in MB: VmRSS, what it has in memory; RssAnon, that of no file; VmHWM, the most."""
    with open(f"/proc/{pid}/status") as status:
        return next(round(int(line.split()[1]) / 1024, 1) for line in status if line.startswith(field))


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            message = process.stderr.read().decode() if process.stderr else ""
            raise InputError(f"the server ended: {message.strip()}")
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
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
