"""A server that listens, and a browser that looks at it. Without a browser a test skips."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from optional import skip
from segue.serving.run import settings


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve on a free port of loopback, from a thread, as `segue serve` does; gives the address."""
    how = settings(app.state.served.limits)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **how))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def until_ready(get: Callable[..., Any], address: str = "", alive: Callable[[], Any] = lambda: True) -> Any:
    """The answer of /ready once it is 200, by the `get` of httpx or a test client; `alive` fails at a dead server."""
    for _ in range(1200):
        alive()
        try:
            if (answer := get(f"{address}/ready")).status_code == 200:
                return answer
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    return pytest.fail("the server did not get ready in two minutes")


def alive(server: subprocess.Popen[bytes]) -> None:
    assert server.poll() is None, server.stderr and server.stderr.read().decode()


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium by Playwright; Playwright's own is never downloaded."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        skip("no program `chromium` or no package `playwright` here, for the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
