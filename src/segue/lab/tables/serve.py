"""`segue lab run serve`: the load that a server takes, and its memory over many requests, as rows.

Each number of clients is measured three times, with batches and without in turn. See `segue.lab.bench.serve`.
"""

from __future__ import annotations

from functools import partial

from segue.lab.bench.serve import (
    CLIENTS,
    MEMORY_REQUESTS,
    MODEL,
    MODES,
    SECONDS,
    measure_load,
    measure_memory,
    request_body,
    running_server,
)
from segue.lab.engine import Row, Work

REPEATS = (0, 1, 2)  # in the place of seeds


def serve_table() -> list[Row]:
    """Load by number of clients, with batches and without, three times; and the memory over 2,000 requests."""
    rows = [
        Row(f"{clients} clients", mode, repeat, partial(_load, mode, clients))
        for repeat in REPEATS
        for clients in CLIENTS
        for mode in MODES
    ]
    return [*rows, Row("memory", "batches", 0, _memory)]


def _load(mode: str, clients: int, work: Work) -> dict[str, float]:
    with running_server([MODEL], *MODES[mode]) as (port, _):
        return measure_load(port, request_body(), clients, SECONDS)


def _memory(work: Work) -> dict[str, float]:
    with running_server([MODEL], *MODES["batches"]) as server:
        return measure_memory(*server, request_body(), MEMORY_REQUESTS)
