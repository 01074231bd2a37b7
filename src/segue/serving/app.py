"""The HTTP application: one endpoint a job, and health, readiness, models, metrics, samples, the page.

Pictures come in JSON, in base64: nothing of a request is ever written to disk or opened as a path or an address.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from segue import __version__
from segue.api import Describer, Illustrator, Segmenter
from segue.api.models import about, is_synthetic
from segue.data.images import png_bytes
from segue.nn.stopping import Stopped
from segue.serving import samples
from segue.serving.batches import Batches, Busy, OutOfMemory, WorkerDied
from segue.serving.jobs import JOBS, Job, Request
from segue.serving.limits import ASK, NO_MEMORY, UNKNOWN, Guard, Hosts, allowed
from segue.serving.schemas import Answer, Ready, Wrong
from segue.serving.uploads import Bounds, check_head, decode_base64
from segue.types import InputError

LOG = logging.getLogger("segue.serving")
BOUNDS = Bounds()
BEARER = HTTPBearer(auto_error=False)
STOP = 10.0  # seconds from the last client's end to the end of what was computed for it
STREAM = "text/event-stream"  # asked for by Accept: how much is done, then the answer
GONE = 499  # nginx's, for the log: nobody reads it
UNREADABLE = "the body can't be read; send a JSON object in UTF-8, flat as /openapi.json tells"
GUARDS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


Key = tuple[str, str]  # a job's path, a model's name


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    body: bytes of a request; twice as many bodies as may wait for one model are held at a time. picture: pixels of a
    picture. waiting: requests that wait for one model. seconds: to send a body, and then from the body to its answer.
    gather: seconds for which a request waits for others to share a batch, where others came before; 0 for none.
    connections: at a time; for one more, that which has asked nothing for the longest is closed.
    """

    body: int = 24_000_000
    picture: Bounds = BOUNDS
    waiting: int = 32
    seconds: float = 60.0
    gather: float = 0.005
    connections: int = 256


DEFAULT = Limits()


def create_app(
    models: Mapping[str, Any],
    *,
    token: str | None = None,
    limits: Limits = DEFAULT,
    origins: Mapping[str, Path] | None = None,
    hosts: Hosts | None = None,
) -> FastAPI:
    """The application over loaded predictors.

    models: name -> what `segue.load` gave. token: what requests must bring as `Authorization: Bearer TOKEN`. origins:
    the models' folders, of which /models tells how they came about. hosts: the names by which the server may be called;
    None for any.
    Raises InputError when no model does any of the jobs.
    """
    served = Served(models, limits)
    if not served.queues:
        raise InputError(f"got the models {', '.join(models) or 'none'}, of which none does a job that is served")

    @asynccontextmanager
    async def living(_app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(served.warm())
        yield
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        await served.close()

    app = FastAPI(
        title="Segue", version=__version__, lifespan=living, description="The road between words and masks, both ways."
    )
    app.state.served = served
    app.add_middleware(
        Guard, most=limits.body, held=2 * limits.waiting, seconds=limits.seconds, metrics=served.metrics,
        headers=GUARDS, token=token, hosts=hosts,
    )  # fmt: skip
    router = APIRouter(dependencies=[Depends(_allowed(token))])
    for path, job in JOBS.items():
        if served.doing(path):
            _add(router, path, job, served)
    _add_facts(router, served, origins or {})
    _add_open(app, served)
    app.include_router(router)
    _add_errors(app)
    app.mount("/", StaticFiles(directory=str(files("segue.serving") / "page"), html=True))
    return app


def _allowed(token: str | None) -> Any:
    async def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        if not allowed(b"Bearer " + given.credentials.encode() if given else b"", token):
            raise HTTPException(401, UNKNOWN, ASK)

    return check


# ------------------------------------------------------------------------------------------------ what is served


class Picture(Response):
    """A PNG file."""

    media_type = "image/png"


class Metrics:
    """Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        about: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("segue_requests", "Requests answered", ["path", "status"], **about)
        self.seconds = Histogram("segue_request_seconds", "From request to answer", ["path"], **about)
        self.batch = Histogram(
            "segue_batch_size", "Requests computed together", ["job"], buckets=(1, 2, 4, 8, 16), **about
        )
        self.waiting = Gauge("segue_waiting", "Requests that wait for a model", ["job", "model"], **about)
        self.restarts = Counter(
            "segue_worker_restarts", "Threads that died computing and were replaced", ["job", "model"], **about
        )


class Served:
    """The models by job, each job of each model with its queue."""

    def __init__(self, models: Mapping[str, Any], limits: Limits) -> None:
        self.models, self.limits, self.stuck = dict(models), limits, False
        self.cold: set[str] = set()  # jobs of which a model refused the warming request
        self.metrics = Metrics()
        self.queues = {
            (path, name): self._queue((path, name), job, model)
            for path, job in JOBS.items()
            for name, model in self.models.items()
            if isinstance(model, job.predictor)
        }
        self.unproven = set(self.queues)  # those that have answered nothing yet, or nothing since they failed
        self.retries: dict[Key, asyncio.Task[None]] = {}

    def _queue(self, key: Key, job: Job, model: Any) -> Batches:
        size = job.batch if self.limits.gather > 0 else 1
        made = Batches(
            partial(job.work, model), size=size, wait=self.limits.gather, bound=self.limits.waiting,
            seen=self.metrics.batch.labels(key[0]).observe, outcome=partial(self._outcome, key),
        )  # fmt: skip
        self.metrics.waiting.labels(*key).set_function(made.queue.qsize)
        self.metrics.restarts.labels(*key)  # shown from the start, as 0
        return made

    @property
    def ready(self) -> bool:
        """Whether every model answers."""
        return not self.unproven

    def doing(self, path: str) -> list[str]:
        """The models that do a job, in the order given."""
        return [name for job, name in self.queues if job == path]

    def chosen(self, path: str, name: str | None) -> str:
        """The model of a request. Raises InputError that lists those there are."""
        there = self.doing(path)
        if name is not None and name not in there:
            raise InputError(f"model {name!r}: expected one of {', '.join(there)}")
        return name or there[0]

    async def warm(self) -> None:
        """One request of each job to each model, so that the first user doesn't wait for what is made once.

        A model that fails at it keeps the server from getting ready. One that refuses it (our grey picture, our words)
        does not, since it may be sound for its own: the server gets ready and names the job as cold.
        """
        for key in self.queues:
            await self._try(key)

    async def _try(self, key: Key) -> None:
        path, name = key
        try:
            await _patiently(self.queues[key], _first(path, self.models[name]))
        except InputError as error:  # our small request does not suit it; others may
            LOG.warning("warming %s of %s: %s", path, name, error)
            self.cold.add(path)
            self.unproven.discard(key)
        except Exception:
            LOG.exception("warming %s of %s failed; the server does not get ready before it answers", path, name)

    def _outcome(self, key: Key, error: Exception | None) -> None:
        """What a request has shown of its model: an answer, that it works; a failure, that it has to be tried again."""
        if isinstance(error, WorkerDied):
            self.metrics.restarts.labels(*key).inc()
        if error is None:
            self.unproven.discard(key)
        elif not isinstance(error, InputError | Stopped | OutOfMemory):  # these are the request's own
            self.unproven.add(key)
            if key not in self.retries or self.retries[key].done():
                self.retries[key] = asyncio.create_task(self._retry(key))

    async def _retry(self, key: Key) -> None:
        """The warming request, each time later, until something is answered."""
        pause = 0.1
        while key in self.unproven:
            await asyncio.sleep(pause)
            await self._try(key)
            pause = min(2 * pause, 30.0)

    async def close(self) -> None:
        """Answer the requests that wait, take no more; `stuck` where a thread does not come to an end."""
        for retry in self.retries.values():
            retry.cancel()
        ended = await asyncio.gather(*(queue.close(STOP) for queue in self.queues.values()))
        self.stuck = not all(ended)


async def _patiently(queue: Batches, request: Request) -> Any:
    """The answer; while others fill the queue, it is asked again."""
    while True:
        try:
            return await queue.ask(request)
        except Busy:
            if queue.closed:
                raise
            await asyncio.sleep(0.1)


def _first(path: str, model: Any) -> Request:
    """A small request that exercises a job."""
    grey = png_bytes(np.full((64, 64, 3), 128, np.uint8))
    given: dict[str, Any] = {"image": "-"}
    if path == "segment/labels":
        given |= {"labels": ["a", "the"]}
    elif isinstance(model, Describer):
        given |= {"box": (8, 8, 32, 32), "regions": [{"label": "man", "box": (8, 8, 32, 32)}], "num": 1}
    elif path == "draw":
        given = {"caption": "a man", "num": 1}
    elif path == "caption-layout":
        given = {"layout": "-"}
    sent = {field: grey for field in JOBS[path].pictures if field in given}
    if isinstance(model, Illustrator) and "layout" in sent:
        sent["layout"] = _blank_layout()
    return Request(JOBS[path].body(**given), sent)


def _blank_layout() -> bytes:
    from segue.data.images import index_png_bytes

    return index_png_bytes(np.zeros((64, 64), np.uint8), np.zeros((1, 3), np.uint8))


# ------------------------------------------------------------------------------------------------ endpoints


def _add(router: APIRouter, path: str, job: Job, served: Served) -> None:
    async def endpoint(body: job.body, http: HttpRequest) -> Any:  # type: ignore[name-defined]
        name = served.chosen(path, body.model)
        request = Request(body, _checked(body, job, served.limits))
        queue, seconds = served.queues[path, name], served.limits.seconds
        if STREAM in http.headers.get("accept", ""):
            return StreamingResponse(_told(http, name, queue, request, seconds), media_type=STREAM)
        return {"model": name, **await _answered(queue, request, http, seconds)}

    router.post(
        f"/{path}", response_model=Answer, name=path, summary=(job.body.__doc__ or "").strip(),
        responses={200: {"content": {STREAM: {}}}, **_wrong(401, 408, 413, 422, 429, GONE, 500, 503, 504)},
    )(endpoint)  # fmt: skip


def _wrong(*codes: int) -> dict[int | str, Any]:
    """What OpenAPI says of refusals: JSON, also where the answer itself is none (a `model` would be of its kind).

    The guard's of a request's head (Host, Origin, too many headers) are any operation's.
    """
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Wrong"}}}
    phrases = {**{status.value: status.phrase for status in HTTPStatus}, GONE: "The client went away"}
    return {code: {"description": phrases[code], "content": body} for code in (400, 403, 431, *codes)}


def _checked(body: BaseModel, job: Job, limits: Limits) -> dict[str, bytes]:
    """The bytes of the request's pictures; the text that they came in is forgotten."""
    found = {}
    for field in job.pictures:
        if (text := getattr(body, field)) is not None:
            found[field] = decode_base64(text, field)
            check_head(found[field], field, limits.picture)
            setattr(body, field, "-")
    return found


async def _answered(queue: Batches, request: Request, http: HttpRequest, seconds: float) -> Any:
    """The answer, unless the client goes away or the time is over: then the request leaves the queue."""
    asking, leaving = asyncio.create_task(queue.ask(request)), asyncio.create_task(_gone(http))
    try:
        done, _ = await asyncio.wait({asking, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asking in done:
            return asking.result()
        if leaving in done:
            raise HTTPException(GONE, "the client went away")
        raise HTTPException(504, _late(seconds))
    finally:
        asking.cancel()
        leaving.cancel()


async def _told(http: HttpRequest, name: str, queue: Batches, request: Request, seconds: float) -> AsyncIterator[str]:
    """Server-sent events: `progress` with the share that is done, now and then, and one `answer`, or one `error`.

    A client that goes away ends this, and the computation with it.
    """
    loop, shares = asyncio.get_running_loop(), asyncio.Queue[float]()

    def tell(share: float) -> None:
        loop.call_soon_threadsafe(shares.put_nowait, share)

    asking, end = asyncio.create_task(queue.ask(request, tell)), loop.time() + seconds
    try:
        while not asking.done():
            listening = asyncio.create_task(shares.get())
            await asyncio.wait({asking, listening}, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                yield _event("progress", {"done": round(listening.result(), 4)})
            listening.cancel()
            if loop.time() >= end and not asking.done():
                raise HTTPException(504, _late(seconds))
        yield _event("answer", Answer(model=name, **asking.result()).model_dump(mode="json"))
    except Exception as error:
        handlers = http.app.exception_handlers
        handler = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
        if handler is None:
            raise
        told = await handler(http, error)
        yield _event("error", {"status": told.status_code, **json.loads(told.body)})
    finally:
        asking.cancel()


def _event(kind: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _late(seconds: float) -> str:
    return f"no answer within {seconds:g} s; ask for less, or again later"


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _add_facts(router: APIRouter, served: Served, origins: Mapping[str, Path]) -> None:
    @router.get("/models", summary="The models, what they do and what they were trained on", responses=_wrong(401))
    async def list_models() -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "jobs": [job for job, model in served.queues if model == name],
                "medical": isinstance(model, Segmenter),
                "synthetic": name in origins and is_synthetic(origins[name]),
                "about": about(origins[name]) if name in origins else {},
            }
            for name, model in served.models.items()
        ]

    @router.get("/samples", summary="Pictures to try a model on", responses=_wrong(401))
    def list_samples() -> list[dict[str, Any]]:
        return [{"name": name, **samples.sample(name)[0]} for name in samples.names()]

    @router.get("/samples/{name}.png", summary="A sample's picture", response_class=Picture, responses=_wrong(401, 404))
    def show_sample(name: str) -> Response:
        if name not in samples.names():
            raise HTTPException(404, f"no sample of that name; there are {', '.join(samples.names())}")
        return Picture(samples.sample(name)[1])

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse, responses=_wrong(401))
    async def read_metrics() -> Response:
        return Response(generate_latest(served.metrics.registry), media_type="text/plain; version=0.0.4")


def _add_open(app: FastAPI, served: Served) -> None:
    """What an orchestrator asks without a token."""

    @app.get("/health", summary="Whether the server lives")
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/ready", summary="Whether the models answer", responses={503: {"model": Wrong}})
    async def ready() -> Ready:
        if served.unproven:
            jobs = ", ".join(sorted({job for job, _ in served.unproven}))
            raise HTTPException(503, f"{jobs}: being warmed, or failed and tried again; ask again in some seconds")
        return Ready(status="ready", cold=sorted(served.cold))


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, error: str, where: list[Any] | None = None, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": error, "where": where or []}, status, headers)

    @app.exception_handler(InputError)
    async def bad_input(_request: HttpRequest, error: InputError) -> JSONResponse:
        return answer(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def bad_request(_request: HttpRequest, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        hint = "" if len(where) > 1 else "; send a JSON object with Content-Type: application/json"
        return answer(422, f"{'.'.join(where[1:]) or 'body'}: {first['msg']}{hint}", where)

    @app.exception_handler(Busy)
    async def busy(_request: HttpRequest, error: Busy) -> JSONResponse:
        return answer(429, f"busy: {error}; ask again in a second", headers={"Retry-After": "1"})

    @app.exception_handler(MemoryError)  # while the request was read
    @app.exception_handler(OutOfMemory)
    async def too_much(request: HttpRequest, error: Exception) -> JSONResponse:
        LOG.warning("out of memory at %r: %s", request.url.path, error)
        return answer(503, NO_MEMORY)

    @app.exception_handler(HTTPException)
    async def refused(_request: HttpRequest, error: HTTPException) -> JSONResponse:
        text = UNREADABLE if error.status_code == 400 else str(error.detail)
        return answer(error.status_code, text, headers=error.headers)
