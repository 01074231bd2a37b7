"""A server that listens, and a browser that looks at it. Without a browser a test is skipped, but fails in CI."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

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


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium by Playwright; Playwright's own is never downloaded."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        _missing("no program `chromium` or no package `playwright` here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _missing(what: str) -> None:
    if os.environ.get("CI") or os.environ.get("SEGUE_CI"):
        pytest.fail(f"{what}, and CI must test the page: apt-get install chromium, pip install playwright")
    pytest.skip(f"{what}; the page is not tested")
