"""The outermost layer: no request is read past its limit, every request is counted, every answer is guarded."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("segue.serving")
UNKNOWN = "send the server's token: Authorization: Bearer TOKEN"
NO_MEMORY = "not enough memory for this request; send a smaller picture, or ask for less"
BODILESS = ("GET", "HEAD", "OPTIONS")
ASK = {"WWW-Authenticate": "Bearer"}
HEADERS, HEAD = 100, 32_768  # lines and bytes of a request's head
DRAINED, LINGER, AT_MOST = 128_000_000, 5.0, 30.0  # bytes, seconds without any, seconds in all


class Hosts(NamedTuple):
    """The names by which a server may be called; a stranger's name that was made to lead to it (DNS rebinding) is none.

    own: this machine's, allowed: those of a proxy before it, all in lower case. addresses: whether any IP address will
    do, which nobody's DNS can forge.
    """

    own: frozenset[str]
    allowed: frozenset[str] = frozenset()
    addresses: bool = False

    def has(self, netloc: str) -> bool:
        """Whether HOST or HOST:PORT is one of them."""
        name = _hostname(netloc)
        return name in self.own | self.allowed or (self.addresses and _is_address(name))


class Guard:
    """Answers 413 to bodies of more than `most` bytes, whatever their Content-Length says; adds headers; counts.

    A body without the token is not kept. `held` bodies at a time are read and answered, one more gets 429; one that
    has not come within `seconds`, 408. A name that is not of `hosts` gets 400, a page of another origin 403, a head
    of too many lines or bytes 431. What goes wrong inside is logged under the number that the answer tells.

    A client that sends its whole body before it reads would lose the answer if the connection were closed on it: what
    comes after an early answer is read and forgotten, up to DRAINED bytes and AT_MOST seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most: int,
        held: int,
        seconds: float,
        metrics: Any,
        headers: Mapping[str, str],
        token: str | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.app, self.most, self.held, self.seconds = app, most, held, seconds
        self.metrics, self.token, self.hosts, self.holding = metrics, token, hosts, 0
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, body = time.perf_counter(), 0, _Body(scope, receive)

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                docs = scope["path"] in ("/docs", "/redoc")  # FastAPI's pages load their scripts from elsewhere
                close = [] if body.whole else [(b"connection", b"close")]
                message["headers"] = [*message["headers"], *close, *([] if docs else self.headers)]
            elif not body.whole and not message.get("more_body"):
                await send({**message, "more_body": True})  # the client has its answer, while we read on
                await body.drain(max(DRAINED, 2 * self.most), min(LINGER, self.seconds))
                message = {"type": "http.response.body"}
            await send(message)

        try:
            refusal = self._refused(scope) or await self._answered(scope, body, guarded)
            if refusal is not None:
                await refusal(scope, body.receive, guarded)
        except Exception as error:  # the last who can answer
            number = f"{time.time_ns():x}"
            LOG.exception("error %s of %r", number, scope["path"])
            if status:
                raise
            short = isinstance(error, MemoryError)
            reason = NO_MEMORY if short else f"an error of ours, number {number} in the server's log"
            await _refusal(503 if short else 500, reason)(scope, body.receive, guarded)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "") or "page"  # never what a stranger typed: labels are kept for ever
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        """The refusal that a request's head alone is reason for; None when nothing is wrong with it."""
        lines = scope["headers"]
        if len(lines) > HEADERS or sum(len(name) + len(value) for name, value in lines) > HEAD:
            return _refusal(431, f"a head of more than {HEADERS} lines or {HEAD:,} bytes; send fewer headers")
        host, origin = (_header(scope, name).decode("latin-1").lower() for name in (b"host", b"origin"))
        if host and self.hosts and not self.hosts.has(host):
            return _refusal(400, "the server is not known by the name in Host; start it with --allowed-hosts NAME")
        if origin and not self._own(origin.partition("://")[2], host):
            return _refusal(403, "a page of another origin; only the server's own page may ask")
        if scope["method"] in BODILESS:
            return None
        if not allowed(_header(scope, b"authorization"), self.token):
            return _refusal(401, UNKNOWN, ASK)
        if self.holding >= self.held:
            message = f"busy: {self.held} requests are being read and answered; ask again in a second"
            return _refusal(429, message, {"Retry-After": "1"})
        declared = _header(scope, b"content-length")
        return self._too_large() if declared.isdigit() and int(declared) > self.most else None

    def _own(self, origin: str, host: str) -> bool:
        """Whether a page is ours: of the name and port that were called, or of a proxy's name."""
        return origin == host or bool(self.hosts and _hostname(origin) in self.hosts.allowed)

    async def _answered(self, scope: Scope, body: _Body, send: Send) -> JSONResponse | None:
        """Let the application answer; the refusal where the body is too large or doesn't come."""
        if scope["method"] in BODILESS:  # nothing of theirs is read
            await self.app(scope, body.receive, send)
            return None
        self.holding += 1
        try:
            try:
                read = await asyncio.wait_for(body.read(self.most), self.seconds)
            except TimeoutError:
                return _refusal(408, f"no whole body within {self.seconds:g} s; send it faster")
            if read is None:
                return self._too_large()
            await self.app(scope, _again(read, body.receive), send)
        finally:
            self.holding -= 1
        return None

    def _too_large(self) -> JSONResponse:
        return _refusal(413, f"a body of more than {self.most:,} bytes; send a smaller picture")


class _Body:
    """A request's body as it comes. whole: whether there is no more of it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.source = receive
        length = _header(scope, b"content-length")
        self.whole = length in (b"", b"0") and not _header(scope, b"transfer-encoding")

    async def receive(self) -> Message:
        """The next message, as an ASGI application asks for it."""
        message = await self.source()
        self.whole = self.whole or not message.get("more_body")
        return message

    async def read(self, most: int) -> list[Message] | None:
        """The messages of the body; None when it is larger than that."""
        read, size = [], 0
        while True:
            read.append(await self.receive())
            size += len(read[-1].get("body", b""))
            if size > most:
                return None
            if not read[-1].get("more_body"):
                return read

    async def drain(self, most: int, linger: float) -> None:
        """Read and forget what still comes: so many bytes at most, and no longer than AT_MOST seconds."""
        end = time.monotonic() + AT_MOST
        with suppress(TimeoutError):
            while not self.whole and most > 0 and time.monotonic() < end:
                message = await asyncio.wait_for(self.receive(), linger)
                most -= len(message.get("body", b""))


def allowed(authorization: bytes, token: str | None) -> bool:
    """Whether the header brings the token, where there is one; compared in constant time."""
    scheme, _, given = authorization.partition(b" ")
    return token is None or (scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode()))


def _hostname(netloc: str) -> str:
    """The name of HOST or HOST:PORT, in lower case; empty where there is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> bytes:
    result: bytes = dict(scope["headers"]).get(name, b"")
    return result


def _refusal(status: int, error: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "where": []}, status, headers)


def _again(read: list[Message], receive: Receive) -> Receive:
    """Give what was read once more, then go on."""

    async def give() -> Message:
        return read.pop(0) if read else await receive()

    return give
