"""Files that are whole or not there: whoever reads one while it is written, or after a kill, never sees a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name of the same ending to write to, which becomes `path` at the end; an error leaves `path` as it was.

    The folder of `path` is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        yield fresh
        os.replace(fresh, path)


def write_text(path: Path, text: str) -> None:
    """Write the text as UTF-8, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
