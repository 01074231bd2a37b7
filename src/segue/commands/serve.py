"""`segue serve`: models over HTTP."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Interval
from typing_extensions import Doc

from segue.commands.memory import keep_memory
from segue.options import Dtype, Options
from segue.types import InputError, to_install

NEEDED = ("fastapi", "prometheus_client", "uvicorn")


@dataclass(frozen=True)
class ServeOptions(Options):
    """What a request may cost the server."""

    max_mb: Annotated[int, Gt(0), Doc("megabytes of a request")] = 24
    max_megapixels: Annotated[int, Gt(0), Doc("megapixels of a picture")] = 16
    waiting: Annotated[int, Gt(0), Doc("requests that may wait for one model; one more is answered 429")] = 32
    seconds: Annotated[float, Gt(0), Doc("from a request to its answer; then 504")] = 60.0
    gather: Annotated[
        float, Ge(0), Doc("seconds for which a request waits for others to share its batch; 0 for no batches")
    ] = 0.005
    connections: Annotated[
        int, Gt(0), Doc("at a time; for one more, that which has asked nothing for the longest is closed")
    ] = 256
    port: Annotated[int, Interval(ge=0, lt=65_536), Doc("to listen on; 0 for any free one")] = 8000


def serve(
    models: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    token: str | None = None,
    token_file: Path | None = None,
    allowed_hosts: tuple[str, ...] = (),
    detector: str | None = None,
    relations: Path | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    limits: ServeOptions = ServeOptions(),
) -> None:
    """Serve models over HTTP, with a page to play with at / and OpenAPI at /docs.

    Args:
        models: bundled names or checkpoint folders; all bundled ones unless given.
        host: address to listen on; others than this machine can only be served with a token.
        token: what requests must bring as `Authorization: Bearer TOKEN`, 8 characters or more. Every user of the
            machine can read it in the list of processes: better the environment's SEGUE_TOKEN, or --token-file.
        token_file: a file with the token in its first line.
        allowed_hosts: names by which the server may be called, such as a proxy's, besides localhost and --host.
        detector: a DETR by its id on the hub or from a folder, or a YOLOX's .onnx file, for describing pictures without
            regions, and for captioners that were trained with one, if it has moved.
        relations: a folder of `segue train relations`, for describing objects that come without relations.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        dtype: what pictures are read in: float32, bf16, or auto: bf16 by notes where that is fast, else float32.
        limits: what a request may cost, and the port.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"serving needs {', '.join(missing)}: {to_install('serve')}")
    from segue.serving import Limits
    from segue.serving import serve as serve_models
    from segue.serving.uploads import Bounds

    keep_memory()
    bounds = Limits(
        limits.max_mb * 1_000_000, Bounds(limits.max_megapixels * 1_000_000), limits.waiting, seconds=limits.seconds,
        gather=limits.gather, connections=limits.connections,
    )  # fmt: skip
    serve_models(
        models, host=host, port=limits.port, token=_token(token, token_file), limits=bounds, device=device, dtype=dtype,
        detector=detector, relations=relations, allowed_hosts=allowed_hosts,
    )  # fmt: skip


def _token(given: str | None, path: Path | None) -> str | None:
    """The token of the command line or of a file, else of the environment; None where none is given."""
    if given is not None and path is not None:
        raise InputError("--token and --token-file: got both, expected one of them; leave --token out")
    if path is not None:
        with path.open("rb") as file:
            first = file.readline(4096)
        return first.decode("utf-8", "replace").strip()
    return os.environ.get("SEGUE_TOKEN") if given is None else given
