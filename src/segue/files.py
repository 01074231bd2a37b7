"""Atomic writes of files and folders (readers see the old version or the new one, never a part), and locks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time work on `path`, which need not exist yet.

    The lock is a file .NAME.lock beside it; it is released when its process ends, however it ends.
    wait: for the process that holds it; without, raises TimeoutError at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=-1 if wait else 0):
        yield


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


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, then put it at `path` in place of what was there.

    No portable call swaps two folders: between two renames the old one lies at .NAME.old, from where
    `recover_folder` brings it back.
    """
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    recover_folder(path)
    empty_folder(new)
    write(new)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Undo a `replace_folder` that was killed half way."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)


def empty_folder(path: Path) -> None:
    """Make an empty folder, whatever is there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
