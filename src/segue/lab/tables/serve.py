"""`segue lab run serve`: the load that a server takes, and its memory over many requests, as rows.

Each number of clients is measured three times, with batches and without in turn. See `segue.lab.bench.serve`.
"""

from __future__ import annotations

from functools import partial

from segue.lab.bench.endpoints import ENDPOINTS, measure_endpoint
from segue.lab.bench.loading import measure_load, measure_memory, running_server
from segue.lab.bench.serve import CLIENTS, MEMORY_REQUESTS, MODEL, MODES, SECONDS, request_body
from segue.lab.engine import Row, Work

REPEATS = (0, 1, 2)  # in the place of seeds


def serve_table() -> list[Row]:
    """Load by number of clients, with batches and without, three times; each endpoint; and the memory."""
    rows = [
        Row(f"{clients} clients", mode, repeat, partial(_load, mode, clients))
        for repeat in REPEATS
        for clients in CLIENTS
        for mode in MODES
    ]
    rows += [Row("endpoints", name, repeat, partial(_endpoint, name)) for repeat in REPEATS for name in ENDPOINTS]
    return [*rows, Row("memory", "batches", 0, _memory)]


def _load(mode: str, clients: int, work: Work) -> dict[str, float]:
    with running_server([MODEL], *MODES[mode]) as (port, _):
        return measure_load(port, [request_body()], clients, SECONDS)


def _endpoint(name: str, work: Work) -> dict[str, float]:
    return measure_endpoint(name, clients=CLIENTS)


def _memory(work: Work) -> dict[str, float]:
    with running_server([MODEL], *MODES["batches"]) as server:
        return measure_memory(*server, request_body(), MEMORY_REQUESTS)
