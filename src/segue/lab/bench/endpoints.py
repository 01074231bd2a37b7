"""What the server adds to its models: CPU time of a request to each endpoint beside that of the predictor alone.

The predictor is asked in this process with decoded pictures, as many at once as the server gives it. What a request
costs more is its picture, the masks of its answer, base64, JSON, HTTP and the way between threads. Times are CPU time
of the server's process, so that its clients, which share the machine, don't count. Predictor and server take turns, so
that a busy machine slows both alike, and the medians of the rounds count; each request has another picture.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.api import load
from segue.api.label_segmenter import load_label_segmenter
from segue.commands.memory import keep_memory
from segue.data.images import decode_image, index_png_bytes, png_bytes
from segue.lab.bench.inference import one_thread
from segue.lab.bench.loading import measure_load, running_server
from segue.options import Decoding, DrawOptions
from segue.types import Region

PICTURES, ROUNDS = 16, 3
KEPT = {"ms": "cpu", "p50_ms": "p50", "p99_ms": "p99"}  # of what clients measure
SENTENCE = "A dog lies on the grass beside a tree."
Picture = NDArray[np.uint8]
Fields = dict[str, Any]


class Endpoint(NamedTuple):
    """model: a bundled one. sample: of the server, whose picture is sent. field: that of the picture.

    fields: the other fields of a request, of what is known of the sample. alone: asks the predictor (without HTTP) for
    several pictures with these fields. path: of the endpoint, where its name in ENDPOINTS is another.
    """

    model: str
    sample: str
    fields: Callable[[Fields], Fields]
    alone: Callable[[Any, Sequence[Picture], Fields], object]
    field: str = "image"
    path: str = ""


def _describe(model: Any, pictures: Sequence[Picture], fields: Fields) -> object:
    regions = [Region(**one) for one in fields["regions"]]
    return [
        (model.describe(one, box=fields["box"], regions=regions), model.measure_distances([one])) for one in pictures
    ]


def _by_note(model: Any, pictures: Sequence[Picture], fields: Fields) -> object:
    return list(model.segment_many(pictures, [fields["note"]] * len(pictures)))


ENDPOINTS = {
    "segment/note": Endpoint("reclmis-chest", "chest-0", lambda known: {"note": known["note"]}, _by_note),
    "segment/note of reclmis-cxr": Endpoint(
        "reclmis-cxr", "chest-0", lambda known: {"note": known["note"]}, _by_note, path="segment/note",
    ),
    "segment/labels": Endpoint(
        "photos-encoder", "scene-0", lambda known: {"labels": known["labels"]},
        lambda model, pictures, fields: list(model.segment_many(pictures, fields["labels"])),
    ),
    "caption": Endpoint(
        "captions-photos", "scene-0", lambda known: {},
        lambda model, pictures, fields: list(model.caption_many(pictures, options=Decoding(beams=3))),
    ),
    "describe": Endpoint(
        "describe-photos", "scene-0",
        lambda known: {"regions": known["regions"], "box": known["regions"][0]["box"]}, _describe,
    ),
    "draw": Endpoint(
        "crossmodal-scenes", "scene-0", lambda known: {"caption": SENTENCE},
        lambda model, pictures, fields: [model.draw(fields["caption"]) for _ in pictures], field="",
    ),
    "caption-layout": Endpoint(
        "crossmodal-scenes", "scene-0", lambda known: {},
        lambda model, pictures, fields: model.caption_layouts(pictures), field="layout",
    ),
}  # fmt: skip


def measure_endpoint(name: str, *, clients: Sequence[int] = (1, 8, 32), seconds: float = 2.0) -> dict[str, float]:
    """CPU milliseconds a request of one endpoint, one thread.

    alone_1_ms, alone_ms: the predictor with one picture, and with as many at once as the server gives it; job_ms: with
    reading of the pictures and writing of the answer, without HTTP. For each number of clients: clients_N_ms, the
    server's; clients_N_share, alone_ms over it; clients_N_p50_ms and clients_N_p99_ms, latencies.
    errors: of all requests. seconds: for which clients of each number ask in each of ROUNDS rounds.
    """
    from segue.serving import uploads  # needs the extra `serve`
    from segue.serving.jobs import JOBS, Request

    keep_memory()
    endpoint = ENDPOINTS[name]
    path = endpoint.path or name
    job = JOBS[path]
    model = load_label_segmenter(endpoint.model) if path == "segment/labels" else load(endpoint.model)
    fields, files = _asked(endpoint, model)
    read = uploads.layout if endpoint.field == "layout" else uploads.picture
    pictures = [read(data, "picture") for data in files]
    given = [endpoint.field] if endpoint.field else []
    requests = [Request(job.body(**fields, **dict.fromkeys(given, "-")), dict.fromkeys(given, data)) for data in files]
    bodies = [json.dumps(fields | dict.fromkeys(given, base64.b64encode(data).decode())).encode() for data in files]
    turns: dict[str, tuple[int, Callable[[slice], object]]] = {
        "alone_1_ms": (1, lambda some: endpoint.alone(model, pictures[some], fields)),
        "alone_ms": (job.batch, lambda some: endpoint.alone(model, pictures[some], fields)),
        "job_ms": (job.batch, lambda some: job.work(model, requests[some])),
    }
    rounds = list[dict[str, float]]()
    with one_thread(), running_server([endpoint.model], threads=1) as (port, process):
        for turn in range(ROUNDS + 1):
            found = {
                key: _cpu_ms(count, run, max(4, job.batch), turn + kind)
                for kind, (key, (count, run)) in enumerate(turns.items())
            }
            found["errors"] = 0
            for count in clients:
                got = measure_load(port, bodies, count, seconds, path=path, pid=process.pid)
                found |= {f"clients_{count}_{key}": got[f"{p}_ms"] for key, p in KEPT.items()}
                found[f"clients_{count}_share"] = found["alone_ms"] / got["cpu_ms"]
                found["errors"] += got["errors"]
            rounds.append(found)
    return {key: (sum if key == "errors" else statistics.median)(one[key] for one in rounds[1:]) for key in rounds[0]}


def _cpu_ms(count: int, run: Callable[[slice], object], most: int, turn: int) -> float:
    """CPU milliseconds of this process a request, of `most` of which `count` are done at once.

    Each turn has other pictures than the last, since a describer remembers some.
    """
    start = time.process_time()
    for i in range(0, most, count):
        first = (turn * most + i) % PICTURES
        run(slice(first, first + count))
    return 1e3 * (time.process_time() - start) / most


def _asked(endpoint: Endpoint, model: Any) -> tuple[Fields, list[bytes]]:
    """The fields of the requests, and the files of their pictures, all different: the sample's, shifted sideways."""
    from segue.serving.samples import sample

    known, file = sample(endpoint.sample)
    if endpoint.field == "layout":
        first = model.draw(SENTENCE, options=DrawOptions(num=1, steps=4, best_of=1))[0].labels
        greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        return endpoint.fields(known), [index_png_bytes(np.roll(first, i, 1), greys) for i in range(PICTURES)]
    picture = decode_image(file, endpoint.sample)
    return endpoint.fields(known), [png_bytes(np.roll(picture, i, 1)) for i in range(PICTURES)]
