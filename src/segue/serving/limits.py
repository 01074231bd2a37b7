"""The outermost layer: no request is read past its limit, every request is counted, every answer is guarded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 to bodies of more than `most` bytes, whatever their Content-Length says; adds headers; counts."""

    def __init__(self, app: ASGIApp, *, most: int, metrics: Any, headers: Mapping[str, str]) -> None:
        self.app, self.most, self.metrics = app, most, metrics
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
            if (read := await self._read(scope, receive)) is None:
                error = {"error": f"a body of more than {self.most:,} bytes; send a smaller picture", "where": []}
                await JSONResponse(error, 413)(scope, receive, guarded)
            else:
                await self.app(scope, _again(read, receive), guarded)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "") or "page"  # never what a stranger typed: labels are kept for ever
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message] | None:
        """The messages of the body, None when it is too large; what is declared too large is not read at all."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
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


def _again(read: list[Message], receive: Receive) -> Receive:
    """Give what was read once more, then go on."""

    async def give() -> Message:
        return read.pop(0) if read else await receive()

    return give
