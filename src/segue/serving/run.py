"""`segue serve`: load models, listen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api import bundled, load
from segue.api.models import find, method_of
from segue.serving.app import Limits, create_app
from segue.types import InputError

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    models: Sequence[str],
    *,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    device: str = "cpu",
    detector: str | None = None,
) -> None:
    """Serve these models (folders or bundled names; all bundled ones when there is none) until it is stopped.

    Raises InputError for an unknown model, an empty token, and an address open to others without a token.
    """
    import uvicorn

    if token is not None and len(token) < 8:
        raise InputError(f"--token: got {len(token)} characters, expected 8 or more")
    if token is None and host not in LOCAL:
        raise InputError(f"--host {host}: others can reach it; give a --token, or serve {LOCAL[0]} only")
    folders = {Path(name).name: find(name) for name in models or _servable()}
    loaded = {name: _loaded(folder, device, detector) for name, folder in folders.items()}
    app = create_app(loaded, token=token, limits=limits, origins=folders)
    print(f"serving {', '.join(loaded)} at http://{host}:{port} (docs: /docs)", file=sys.stderr, flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=30)


def _servable() -> list[str]:
    """The bundled models but image-text pairs, which serve other models and nobody else."""
    return [name for name, folder in bundled().items() if method_of(folder) != "pair"]


def _loaded(folder: Path, device: str, detector: str | None) -> Any:
    options = {"detector": detector} if detector and method_of(folder) == "sgdiff" else {}
    return load(folder, device=device, **options)
