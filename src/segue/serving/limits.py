"""The outermost layer: no request is read past its limit, every request is counted, every answer is guarded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLarge(Exception):
    pass


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
        start, status, read = time.perf_counter(), 0, 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise _TooLarge
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                docs = scope["path"] in ("/docs", "/redoc")  # FastAPI's pages load their scripts from elsewhere
                message["headers"] = [*message["headers"], *([] if docs else self.headers)]
            await send(message)

        try:
            if _declared(scope) > self.most:
                raise _TooLarge
            await self.app(scope, counted, guarded)
        except _TooLarge:
            if status:
                raise
            error = {"error": f"a body of more than {self.most:,} bytes; send a smaller picture", "where": []}
            await JSONResponse(error, 413)(scope, receive, guarded)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "") or "page"  # never what a stranger typed: labels are kept for ever
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
