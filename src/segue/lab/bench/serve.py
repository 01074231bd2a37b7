"""`segue lab bench serve`: requests a second and their latency, on loopback, with batches and without.

Both servers run at once and take turns, so that a busy machine slows both alike. Beside them, what a request to each
endpoint costs the server.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from segue.data.images import png_bytes
from segue.lab.bench.endpoints import ENDPOINTS, measure_endpoint
from segue.lab.bench.loading import measure_load, measure_memory, running_server
from segue.synthetic.chest import draw_chest

MODEL, PHANTOM_SEED = "reclmis-chest", 20_002  # the segmenter, and the seed of the drawn radiograph
MODES = {"batches": ("--gather", "0.005"), "single": ("--gather", "0")}  # options of `segue serve`
CLIENTS, SECONDS, MEMORY_REQUESTS = (1, 8, 32), 8.0, 2000


def bench_serve(
    *,
    model: str = MODEL,
    clients: tuple[int, ...] = CLIENTS,
    seconds: float = SECONDS,
    memory_requests: int = MEMORY_REQUESTS,
    endpoints: tuple[str, ...] = tuple(ENDPOINTS),
) -> dict[str, Any]:
    """Load `segue serve` with requests to segment a drawn radiograph by its note.

    Args:
        model: a segmenter.
        clients: numbers of clients that send requests at a time.
        seconds: how long, for each number of clients.
        memory_requests: requests after which the memory is compared with that after a tenth of them; 0 to leave it out.
        endpoints: whose requests' CPU time is measured beside that of their bundled models alone.
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
                found[name][str(count)] = measure_load(port, [body], count, seconds)
        if memory_requests:
            found["memory"] = measure_memory(*servers["batches"], body, memory_requests)
    found["endpoints"] = {path: measure_endpoint(path, clients=clients, seconds=seconds) for path in endpoints}
    image_size = list(draw_chest(PHANTOM_SEED).image.shape[:2])
    return found | {"model": model, "cores": os.cpu_count(), "picture": image_size}


def request_body() -> bytes:
    """The JSON of a request to segment a drawn radiograph by its note."""
    phantom = draw_chest(PHANTOM_SEED)
    picture = base64.b64encode(png_bytes(phantom.image)).decode()
    return json.dumps({"image": picture, "note": phantom.note}).encode()
