"""Text files and their lines, streamed, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from segue.types import InputError

MAX_LINE_BYTES = 1 << 20
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such a file begins


def read_lines(path: Path, max_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a UTF-8 text file or a .gz of one. Lines end with "\\n" or "\\r\\n" and nothing else.

    Raises InputError, with the line's number, for bytes that are no text in UTF-8 and for a line of more than
    `max_bytes`; and for a file that is missing, cut or broken, or whose lines all end with "\\r" alone.
    """
    with _opened(path) as file:
        number = 0
        while raw := _guarded(path, lambda: file.readline(max_bytes + 2)):
            number += 1
            if number == 1 and b"\n" not in raw and raw.count(b"\r") > raw.endswith(b"\r"):
                raise InputError(f"{path}: lines end with CR alone, as on old Macs; save it with LF or CRLF")
            line = raw.removesuffix(b"\n").removesuffix(b"\r")
            if len(line) > max_bytes:
                raise InputError(f"{path}, line {number}: longer than {max_bytes:,} bytes; is it a text file?")
            yield number, _decoded(line, f"{path}, line {number}", "utf-8-sig" if number == 1 else "utf-8")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 text file or a .gz of one. Raises InputError as `read_lines` does."""
    with _opened(path) as file:
        return _decoded(_guarded(path, file.read), str(path), "utf-8-sig")


def _decoded(raw: bytes, where: str, encoding: str = "utf-8") -> str:
    if raw[:2] in UTF_16 or b"\0" in raw:
        raise InputError(f"{where}: not UTF-8 but UTF-16, or no text; save it as UTF-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not UTF-8 ({error.reason} at byte {error.start}); "
            "convert it, for instance with iconv -f LATIN1 -t UTF-8"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path and its spelling") from error
    except OSError as error:
        raise InputError(f"{path}: can't be opened ({error.strerror}); expected a text file") from error


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read to its end ({error}); the file is cut or broken") from error
