"""`segue serve`: load models, listen."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from segue.api import bundled, load
from segue.api.label_segmenter import load_label_segmenter
from segue.api.models import find, is_synthetic, method_of
from segue.methods.checkpoint import read_config
from segue.methods.dual_encoder.checkpoint import METHOD
from segue.options import Dtype
from segue.serving.app import Limits, create_app
from segue.serving.connections import Connection, logging_sparingly, room
from segue.serving.limits import HEAD, Hosts
from segue.types import InputError, NotInstalled
from segue.weights import LABEL_MODEL

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    models: Sequence[str],
    *,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    device: str = "auto",
    dtype: Dtype = "auto",
    detector: str | None = None,
    relations: Path | None = None,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Serve these models (folders or bundled names; all bundled ones when there is none) until it is stopped.

    detector: a DETR, or a YOLOX's .onnx file, for describers, and for captioners that were trained with one. relations:
    a folder of `segue train relations`, for describers. allowed_hosts: names by which it may be called, besides this
    machine's.
    Raises InputError for an unknown model, a short token, an address open to others without a token, and a detector
    or relations that no model has a use for.
    """
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError(
            f"token: got {len(token)} characters, expected 8 or more, of ASCII and without spaces, as a header needs"
        )
    if token is None and host not in LOCAL:
        raise InputError(
            f"--host {host}: others can reach it; give a token (SEGUE_TOKEN, --token-file), or serve {LOCAL[0]} only"
        )
    folders = _named(models or _servable())
    if detector is not None and not any(_detects(folder) for folder in folders.values()):
        raise InputError(f"--detector: none of {', '.join(folders)} finds objects by one; leave it out")
    if relations is not None and not any(method_of(folder) == "sgdiff" for folder in folders.values()):
        raise InputError(f"--relations: none of {', '.join(folders)} describes pictures; leave it out")
    loaded = {}
    for name, folder in folders.items():
        try:
            loaded[name] = _loaded(folder, device, dtype, detector, relations)
        except NotInstalled as error:
            if models:
                raise
            warnings.warn(f"{name} is not served: {error}", stacklevel=2)
    app = create_app(loaded, token=token, limits=limits, origins=folders, hosts=_hosts(host, allowed_hosts))
    how = settings(limits)
    print(f"serving {', '.join(loaded)} at http://{host}:{port} (docs: /docs)", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn, done, raises again what ended it
    try:
        with logging_sparingly():
            uvicorn.run(app, host=host, port=port, **how)
    finally:
        signal.signal(signal.SIGTERM, before)
        if app.state.served.stuck:  # a thread in a library that doesn't come back, which Python would wait for
            sys.stderr.flush()
            os._exit(0)


def settings(limits: Limits) -> dict[str, Any]:
    """How uvicorn is to listen: its own bounds, and ours where it has none.

    Raises InputError where the process may open too few files for connections.
    """
    connections, backlog = room(limits.connections)
    if connections < limits.connections:
        message = (
            f"{connections} connections at a time, not {limits.connections}: no more files may be open (`ulimit -n`)"
        )
        warnings.warn(message, stacklevel=2)
    return {
        "log_level": "warning", "ws": "none", "http": Connection, "backlog": backlog, "limit_concurrency": connections,
        "h11_max_incomplete_event_size": HEAD, "timeout_graceful_shutdown": math.ceil(limits.seconds),
    }  # fmt: skip


def _hosts(host: str, allowed: Sequence[str]) -> Hosts:
    """A server for this machine alone is called by its own names, one for others by any address too."""
    others = host not in LOCAL
    own = [*LOCAL, host, *([socket.gethostname()] if others else [])]
    return Hosts(frozenset(map(str.lower, own)), frozenset(map(str.lower, allowed)), addresses=others)


def _named(models: Sequence[str]) -> dict[str, Path]:
    """Each model by its folder's name, with its parent's where two would have the same: runs/mine/best, mine/best."""
    paths = [Path(name) for name in models]
    often = Counter(path.name for path in paths)
    names = [path.name if often[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"--models: {', '.join(twice)} is there twice; give each once, under a name of its own")
    return {name: find(model) for name, model in zip(names, models, strict=True)}


def _servable() -> list[str]:
    """The bundled models, those of photographs and scans before the synthetic ones, as a job's first is its default.

    Of the dual encoders only that which names the pixels of photographs: the others serve other models.
    """
    there = bundled()
    names = [name for name, folder in there.items() if method_of(folder) != METHOD or name == LABEL_MODEL]
    return sorted(names, key=lambda name: is_synthetic(there[name]))


def _loaded(folder: Path, device: str, dtype: Dtype, detector: str | None, relations: Path | None) -> Any:
    if method_of(folder) == METHOD:
        return load_label_segmenter(folder, device=device, dtype=dtype)
    options: dict[str, Any] = {"detector": detector} if detector and _detects(folder) else {}
    options |= {"relations": relations} if relations and method_of(folder) == "sgdiff" else {}
    return load(folder, device=device, dtype=dtype, **options)


def _detects(folder: Path) -> bool:
    """Whether a detector finds a model's objects: a describer's, and a captioner's that was trained with one."""
    method = method_of(folder)
    return method == "sgdiff" or (method == "syntic" and bool(read_config(folder, ["syntic"]).get("detector")))
