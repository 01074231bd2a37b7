"""Atomic writes of files and folders (readers see the old version or the new one, never a part), and locks."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LEFT_OVER = ".part"  # ends the names of files and folders that a killed process may leave
_CLEANED: set[Path] = set()
OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")  # where a shell keeps names of open files


def user_cache(name: str) -> Path | None:
    """The folder of a name in the user's cache (XDG_CACHE_HOME, else ~/.cache); None where the user has no home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return home / "segue" / name


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time work on `path`, which need not exist yet.

    The lock is a file .NAME.lock beside it; it is released when its process ends, however it ends.
    wait: for the process that holds it; without, raises TimeoutError at once.
    """
    from filelock import FileLock

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
        with tempfile.TemporaryDirectory() as temporary:
            fresh = Path(temporary) / (path.name or "stream")
            yield fresh
            with fresh.open("rb") as source, path.open("ab") as stream:
                shutil.copyfileobj(source, stream)
        return
    target = _replaceable(path)
    with fresh_folder(target.parent) as folder:
        fresh = folder / path.name
        yield fresh
        if target.is_file():
            shutil.copymode(target, fresh)
        os.replace(fresh, target)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, as `replacing` does, in half of its time: no writer asks for a name."""
    if _is_stream(path):
        with path.open("ab") as stream:
            stream.write(data)
        return
    target = _replaceable(path)
    _make_clean(target.parent)
    fresh = target.with_name(f".{os.getpid()}-{_host()}-{os.urandom(4).hex()}{LEFT_OVER}")
    try:
        fresh.write_bytes(data)
        if target.is_file():
            shutil.copymode(target, fresh)
        os.replace(fresh, target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _replaceable(path: Path) -> Path:
    """What a path leads to. Raises PermissionError for a read-only file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "read-only, so it is not replaced", str(path))
    return target


def _is_stream(path: Path) -> bool:
    """Whether bytes written there go elsewhere: a pipe, a device, or a name of a file that is open already."""
    if str(path.absolute()).startswith(OPEN_FILES):
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


@contextmanager
def fresh_folder(parent: Path) -> Iterator[Path]:
    """An empty folder inside `parent`, which is made where it is missing; it is removed at the end.

    The first in a folder also removes those that killed processes of this machine left there.
    """
    _make_clean(parent)
    with tempfile.TemporaryDirectory(prefix=f".{os.getpid()}-{_host()}-", suffix=LEFT_OVER, dir=parent) as folder:
        yield Path(folder)


def _make_clean(parent: Path) -> None:
    """Make the folder where it is missing; at first also remove what killed processes of this machine left there."""
    parent.mkdir(parents=True, exist_ok=True)
    if parent in _CLEANED:
        return
    _CLEANED.add(parent)
    for left in parent.glob(f".*-{_host()}-*{LEFT_OVER}"):
        pid = left.name[1:].partition("-")[0]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):  # a file, and one of another user stays
                left.unlink()


def _host() -> str:
    """A short word for this machine: another's process may be writing into a shared folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def save_tensors(tensors: dict[str, Any], path: Path) -> None:
    """Write a safetensors file. Raises OSError that names the file when it can't be written, on a full disk too."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:  # it has the system's number in its text alone
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write the text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


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


def put_folder(path: Path, write: Callable[[Path], None]) -> bool:
    """Let `write` fill an empty folder, then put it at `path`, whole or not at all.

    Where `path` is there, it stays as it is; returns whether it holds what `write` would have written. So a command
    that was killed after its last step can run again.
    """
    with fresh_folder(path.parent) as inside:
        new = inside / "new"
        new.mkdir()
        write(new)
        if path.exists():
            return _contents(path) == _contents(new)
        os.replace(new, path)
    return True


def _contents(folder: Path) -> dict[str, str]:
    """The sha256 of the files in a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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
