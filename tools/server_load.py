"""Mixed requests, good and bad, to one server: what was answered, its memory and descriptors, and a stop under load.

    python tools/server_load.py                             # 3,000 requests to the bundled models
    python tools/server_load.py --page docs/reliability.md  # fills the page's block

Memory and descriptors are those of the server's process after each third of the requests. Then clients ask on, the
server gets SIGTERM, and each request that was sent whole before must be answered 200. Ends with status 1 if a request
was answered by another status than its kind's, or if descriptors or memory (by more than 5 %) grew in the last third.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from pages import fill_block
from segue.data.images import png_bytes
from segue.lab.bench.loading import HOST, running_server
from segue.lab.bench.serve import request_body

MODELS = ("reclmis-cxr", "captions-photos", "photos-encoder", "describe-photos", "crossmodal-scenes")
ASKERS, CLIENTS, MEGABYTE = 12, 4, 1 << 20


class Kind(NamedTuple):
    """A kind of request: (client) -> its answer, the statuses that are right, and how often it comes."""

    send: Callable[[httpx.Client], httpx.Response | None]
    statuses: tuple[int | None, ...]
    weight: int = 1


def _post(path: str, statuses: tuple[int, ...] = (200,), weight: int = 1, **body: Any) -> Kind:
    return Kind(lambda client: client.post(path, json=body), statuses, weight)


def _raw(path: str, content: bytes, *statuses: int, kind: str = "application/json") -> Kind:
    return Kind(lambda client: client.post(path, content=content, headers={"Content-Type": kind}), statuses)


def _cut_off(client: httpx.Client) -> None:
    """Half of a request, and gone."""
    with socket.create_connection((HOST, client.base_url.port or 0), timeout=10) as cut:
        cut.sendall(b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")


def kinds() -> dict[str, Kind]:
    """Requests of every job, and what clients get wrong."""
    note = json.loads(request_body())
    image = note["image"]
    box = [20, 20, 80, 80]
    return {
        "note": _post("/segment/note", weight=12, **note),
        "names": _post("/segment/labels", weight=2, image=image, labels=["cat", "wall"]),
        "caption": _post("/caption", weight=2, image=image),
        "describe": _post("/describe", image=image, box=box, label="cat", num=1),
        "draw": _post("/draw", caption="a dog on the grass"),
        "models": Kind(lambda client: client.get("/models"), (200,), 2),
        "metrics": Kind(lambda client: client.get("/metrics"), (200,)),
        "not base64": _post("/caption", (422,), image="!!"),
        "no picture": _post("/caption", (422,), image=base64.b64encode(b"no picture").decode()),
        "cut picture": _post("/caption", (422,), image=image[: len(image) // 2 // 4 * 4]),
        "too many pixels": _post("/caption", (413, 422), image=_large()),
        "not JSON": _raw("/caption", b'{"image": ', 400, 422),
        "no body": _raw("/caption", b"", 400, 422),
        "not UTF-8": _raw("/caption", b'{"image": "\xff"}', 400, 422),
        "text": _raw("/caption", b"a", 415, 422, kind="text/plain"),
        "too long": _raw("/caption", b" " * (40 * MEGABYTE), 413),
        "unknown field": _post("/caption", (422,), image=image, size=3),
        "unknown model": _post("/caption", (404, 422), image=image, model="none"),
        "unknown path": Kind(lambda client: client.get("/none"), (404,)),
        "other method": Kind(lambda client: client.delete("/caption"), (405,)),
        "other host": Kind(lambda client: client.get("/models", headers={"Host": "evil.example"}), (400, 403, 421)),
        "cut off": Kind(_cut_off, (None,)),
    }


def _large() -> str:
    return base64.b64encode(png_bytes(np.zeros((12_000, 12_000, 3), np.uint8))).decode()


def ask(port: int, requests: int, seed: int) -> dict[str, Counter[Any]]:
    """Send the requests from CLIENTS threads, on connections that are kept for a while; statuses by kind."""
    every = kinds()
    statuses: dict[str, Counter[Any]] = {name: Counter() for name in every}
    names, weights = list(every), np.array([kind.weight for kind in every.values()], float)
    order = np.random.default_rng(seed).choice(len(names), requests, p=weights / weights.sum()).tolist()

    def work() -> None:
        while order:
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=120) as client:
                for _ in range(20):
                    try:
                        name = names[order.pop()]
                    except IndexError:
                        return
                    answer = every[name].send(client)
                    statuses[name][None if answer is None else answer.status_code] += 1

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def resources(pid: int) -> tuple[float, int]:
    """(resident MB, descriptors) of a process, once no connection is left open."""
    time.sleep(2)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


def stop_under_load(port: int, stop: Callable[[], None]) -> tuple[int, int]:
    """(requests that were sent whole before the stop and not answered yet, those of them that are answered 200)."""
    body, sent, statuses = request_body(), list[socket.socket](), list[int]()
    head = "POST /segment/note HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for _ in range(ASKERS):
        sent.append(socket.create_connection((HOST, port), timeout=120))
        sent[-1].sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    stop()
    for one in sent:
        start = one.recv(12)
        statuses.append(int(start[9:]) if len(start) == 12 else 0)
        one.close()
    return len(sent), statuses.count(200)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    with running_server(MODELS, "--seconds", "600") as (port, process):
        ask(port, 50, given.seed + 3)  # warm
        start = time.monotonic()
        counts, used = list[dict[str, Counter[Any]]](), list[tuple[float, int]]()
        for third in range(3):
            counts.append(ask(port, given.requests // 3, given.seed + third))
            used.append(resources(process.pid))
        minutes = (time.monotonic() - start) / 60
        accepted, answered = stop_under_load(port, lambda: process.send_signal(signal.SIGTERM))
        status = process.wait(120)
    every = kinds()
    by_kind = {name: sum((one[name] for one in counts), Counter[Any]()) for name in every}
    wrong = {n: c for n, c in by_kind.items() if any(status not in every[n].statuses for status in c)}
    right = [counts for name, counts in by_kind.items() if every[name].statuses == (200,)]
    good = sum(counts.total() for counts in right)
    lines = [
        "| measured | |", "|---|---|",
        f"| requests, of {len(every)} kinds, in {minutes:.0f} minutes | {given.requests} |",
        f"| right ones, answered 200 | {sum(counts[200] for counts in right)} of {good} |",
        f"| wrong ones, answered 4xx, or cut off | {given.requests - good} |",
        f"| kinds answered otherwise | {', '.join(wrong) or 'none'} |",
        f"| resident memory after each {given.requests // 3} | {', '.join(f'{mb:.0f} MB' for mb, _ in used)} |",
        f"| descriptors then | {', '.join(str(count) for _, count in used)} |",
        f"| SIGTERM with {accepted} requests accepted: answered 200 | {answered} |",
    ]  # fmt: skip
    text = "\n".join(lines)
    print(text, *(f"{name}: {dict(counts)}" for name, counts in wrong.items()), sep="\n")
    if given.page is not None:
        fill_block(given.page, "server load", text)
    grew = used[2][1] > used[1][1] or used[2][0] > 1.05 * used[1][0]
    sys.exit(bool(wrong or grew or answered < accepted or status))


if __name__ == "__main__":
    main()
