"""`segue serve`: load models, listen."""

from __future__ import annotations

import math
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api import bundled, load
from segue.api.models import find, method_of
from segue.methods.checkpoint import read_config
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
    relations: Path | None = None,
) -> None:
    """Serve these models (folders or bundled names; all bundled ones when there is none) until it is stopped.

    detector: a DETR, or a YOLOX's .onnx file, for describers, and for captioners that were trained with one. relations:
    a folder of `segue train relations`, for describers.
    Raises InputError for an unknown model, a short token, an address open to others without a token, and a detector
    or relations that no model has a use for.
    """
    import uvicorn

    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError(
            f"--token: got {len(token)} characters, expected 8 or more, of ASCII and without spaces, as a header needs"
        )
    if token is None and host not in LOCAL:
        raise InputError(f"--host {host}: others can reach it; give a --token, or serve {LOCAL[0]} only")
    folders = _named(models or _servable())
    if detector is not None and not any(_detects(folder) for folder in folders.values()):
        raise InputError(f"--detector: none of {', '.join(folders)} finds objects by one; leave it out")
    if relations is not None and not any(method_of(folder) == "sgdiff" for folder in folders.values()):
        raise InputError(f"--relations: none of {', '.join(folders)} describes pictures; leave it out")
    loaded = {name: _loaded(folder, device, detector, relations) for name, folder in folders.items()}
    app = create_app(loaded, token=token, limits=limits, origins=folders)
    print(f"serving {', '.join(loaded)} at http://{host}:{port} (docs: /docs)", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn, done, raises again what ended it
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=math.ceil(limits.seconds))
    finally:
        signal.signal(signal.SIGTERM, before)


def _named(models: Sequence[str]) -> dict[str, Path]:
    """Each model by its folder's name, with its parent's where two would have the same: runs/mine/best, mine/best."""
    paths = [Path(name) for name in models]
    often = Counter(path.name for path in paths)
    names = [path.name if often[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"--models: {', '.join(twice)} is there twice; give each once, under a name of its own")
    return {name: find(model) for name, model in zip(names, models, strict=True)}


def _servable() -> list[str]:
    """The bundled models but dual encoders, which serve other models and nobody else."""
    return [name for name, folder in bundled().items() if method_of(folder) != "dual-encoder"]


def _loaded(folder: Path, device: str, detector: str | None, relations: Path | None) -> Any:
    options: dict[str, Any] = {"detector": detector} if detector and _detects(folder) else {}
    options |= {"relations": relations} if relations and method_of(folder) == "sgdiff" else {}
    return load(folder, device=device, **options)


def _detects(folder: Path) -> bool:
    """Whether a detector finds a model's objects: a describer's, and a captioner's that was trained with one."""
    method = method_of(folder)
    return method == "sgdiff" or (method == "syntic" and bool(read_config(folder, ["syntic"]).get("detector")))
