"""`segue lab bench serve`: requests a second and their latency, on loopback, with batches and without.

Clients are threads with one connection each, which send the next request as soon as the last is answered. Both servers
run at once and take turns, so that a busy machine slows both alike.
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
from threading import Thread
from typing import Any

from segue.data.images import png_bytes
from segue.synthetic.chest import draw_chest
from segue.types import InputError

HOST = "127.0.0.1"
MODEL, PHANTOM_SEED = "reclmis-chest", 20_002  # the segmenter, and the seed of the drawn radiograph
MODES = {"batches": ("--gather", "0.005"), "single": ("--gather", "0")}  # options of `segue serve`
CLIENTS, SECONDS, MEMORY_REQUESTS = (1, 8, 32), 8.0, 2000


def bench_serve(
    *,
    model: str = MODEL,
    clients: tuple[int, ...] = CLIENTS,
    seconds: float = SECONDS,
    memory_requests: int = MEMORY_REQUESTS,
) -> dict[str, Any]:
    """Load `segue serve` with requests to segment a drawn radiograph by its note.

    Args:
        model: a segmenter.
        clients: numbers of clients that send requests at a time.
        seconds: how long, for each number of clients.
        memory_requests: requests after which the memory is compared with that after a tenth of them; 0 to leave it out.
    """
    body = request_body()
    found: dict[str, Any] = {"batches": {}, "single": {}}
    with (
        running_server([model], *MODES["batches"]) as batches,
        running_server([model], *MODES["single"]) as single,
    ):
        servers = {"batches": batches, "single": single}
        for count in clients:
            for name, (port, _) in servers.items():
                found[name][str(count)] = measure_load(port, body, count, seconds)
        if memory_requests:
            found["memory"] = measure_memory(*servers["batches"], body, memory_requests)
    image_size = list(draw_chest(PHANTOM_SEED).image.shape[:2])
    return found | {"model": model, "cores": os.cpu_count(), "picture": image_size}


def request_body() -> bytes:
    """The JSON of a request to segment a drawn radiograph by its note."""
    phantom = draw_chest(PHANTOM_SEED)
    picture = base64.b64encode(png_bytes(phantom.image)).decode()
    return json.dumps({"image": picture, "note": phantom.note}).encode()


def measure_load(port: int, body: bytes, clients: int, seconds: float) -> dict[str, float]:
    """requests_per_s; p50_ms, p95_ms and p99_ms, percentiles of the latency; errors, answers of a status but 200."""
    until = time.perf_counter() + seconds
    times: list[list[float]] = [[] for _ in range(clients)]
    errors = [0] * clients

    def request_until_the_end(client: int) -> None:
        for start, status in _requests(port, body):
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
    }


def measure_memory(port: int, process: subprocess.Popen[bytes], body: bytes, requests: int) -> dict[str, float]:
    """Resident memory of the server after a tenth of the requests and after all, and its peak, in MB.

    Raises InputError when a request isn't answered 200.
    """
    early = 0.0
    for number, (_, status) in enumerate(_requests(port, body), 1):
        if status != 200:
            raise InputError(f"request {number} of {requests} was answered {status}; look at the server's log")
        if number == requests // 10:
            early = _memory_mb(process.pid, "VmRSS")
        if number == requests:
            break
    late, peak = (_memory_mb(process.pid, field) for field in ("VmRSS", "VmHWM"))
    return {"requests": requests, "rss_mb_early": early, "rss_mb_late": late, "peak_rss_mb": peak}


@contextmanager
def running_server(models: Sequence[str], *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server in a process of its own, as (port, process); it is ended afterwards.

    Raises InputError when it ends by itself or isn't ready within two minutes.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segue", "serve", "--models", *models, "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_until_ready(port, process)
        yield port, process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _requests(port: int, body: bytes) -> Iterator[tuple[float, int]]:
    """Send the request again and again on one connection; each time (when it was sent, status of the answer)."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        while True:
            start = time.perf_counter()
            connection.request("POST", "/segment/note", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            yield start, answer.status
    finally:
        connection.close()


def _memory_mb(pid: int, field: str) -> float:
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
