"""Atomic writes of files and folders (readers see the old version or the new one, never a part), and locks."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")  # where a shell keeps names of open files


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

    The folder of `path` is made where it is missing. A link stays, what it leads to is replaced and keeps its rights.
    A pipe or a device (/dev/stdout too) stays as well: it gets the bytes. Raises PermissionError for a read-only file.
    """
    if _is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / (path.name or "stream")
            yield fresh
            with fresh.open("rb") as source, path.open("ab") as stream:
                shutil.copyfileobj(source, stream)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "read-only, so it is not replaced", str(path))
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
        fresh = Path(folder) / path.name
        yield fresh
        if target.is_file():
            shutil.copymode(target, fresh)
        os.replace(fresh, target)


def _is_stream(path: Path) -> bool:
    """Whether bytes written there go elsewhere: a pipe, a device, or a name of a file that is open already."""
    if str(path.absolute()).startswith(OPEN_FILES):
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def write_text(path: Path, text: str) -> None:
    """Write the text as UTF-8, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, then put it at `path` in place of what was there.

    No portable call swaps two folders: between two renames the old one lies at .NAME.old, from where
    `recover_folder` brings it back. Where `path` is a link, the folder that it leads to is replaced.
    """
    path = Path(os.path.realpath(path))
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
    path = Path(os.path.realpath(path))
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)


def empty_folder(path: Path) -> None:
    """Make an empty folder, whatever is there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
