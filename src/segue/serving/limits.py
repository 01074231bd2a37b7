"""The outermost layer: no request is read past its limit, every request is counted, every answer is guarded."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("segue.serving")
UNKNOWN = "send the server's token: Authorization: Bearer TOKEN"
BODILESS = ("GET", "HEAD", "OPTIONS")
ASK = {"WWW-Authenticate": "Bearer"}


class BodyLimit:
    """Answers 413 to bodies of more than `most` bytes, whatever their Content-Length says; adds headers; counts.

    A body without the token is not read. `held` bodies at a time are read and answered, one more is told 429; one that
    has not come within `seconds`, 408. What goes wrong inside is logged under the number that the answer tells.
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
    ) -> None:
        self.app, self.most, self.held, self.seconds = app, most, held, seconds
        self.metrics, self.token, self.holding = metrics, token, 0
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                docs = scope["path"] in ("/docs", "/redoc")  # FastAPI's pages load their scripts from elsewhere
                message["headers"] = [*message["headers"], *([] if docs else self.headers)]
            await send(message)

        try:
            if scope["method"] in BODILESS:  # nothing of theirs is read
                await self.app(scope, receive, guarded)
            elif not allowed(_header(scope, b"authorization"), self.token):
                await _refusal(401, UNKNOWN, ASK)(scope, receive, guarded)
            elif self.holding >= self.held:
                told = f"busy: {self.held} requests are being read and answered; ask again in a second"
                await _refusal(429, told, {"Retry-After": "1"})(scope, receive, guarded)
            else:
                self.holding += 1
                try:
                    await self._with_body(scope, receive, guarded)
                finally:
                    self.holding -= 1
        except Exception:  # the last who can answer
            number = f"{time.time_ns():x}"
            LOG.exception("error %s of %s", number, scope["path"])
            if status:
                raise
            await _refusal(500, f"an error of ours, number {number} in the server's log")(scope, receive, guarded)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "") or "page"  # never what a stranger typed: labels are kept for ever
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            read = await asyncio.wait_for(self._read(scope, receive), self.seconds)
        except TimeoutError:
            await _refusal(408, f"no whole body within {self.seconds:g} s; send it faster")(scope, receive, send)
            return
        if read is None:
            told = f"a body of more than {self.most:,} bytes; send a smaller picture"
            await _refusal(413, told)(scope, receive, send)
        else:
            await self.app(scope, _again(read, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message] | None:
        """The messages of the body, None when it is too large; what is declared too large is not read at all."""
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self.most:
            return None
        read, size = [], 0
        while True:
            read.append(await receive())
            size += len(read[-1].get("body", b""))
            if size > self.most:
                return None
            if not read[-1].get("more_body"):
                return read


def allowed(authorization: bytes, token: str | None) -> bool:
    """Whether the header brings the token, where there is one; compared in constant time."""
    scheme, _, given = authorization.partition(b" ")
    return token is None or (scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode()))


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
