"""Broken files for every reader: each case ends in an answer or in one InputError of one line.

    python tools/fuzz.py --minutes 10                  # all readers of tools/fuzz_inputs.py, by turns
    python tools/fuzz.py --minutes 1 --seed 3 --only DICOM NIfTI
    python tools/fuzz.py --case 3:DICOM:17             # one case again, with its traceback

A case takes a true input and breaks one of its files, by a random generator of (seed, reader, number): the same case
again gives the same bytes. It is read in a process of its own, in 10 seconds of the processor, a minute on the clock
and 1 GB beyond what Python and the libraries take. Files outside the input's folder may not be opened, but for those of
Python and of the libraries, and no program may be started but Python. Anything else than an answer or an InputError is
printed, and its files kept in --keep. Ends with status 1 if there was any.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from fuzz_inputs import INPUTS, Input
from segue.types import InputError

TOUCHES = ("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")
STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "socket.connect")
SECONDS, CPU_SECONDS, BYTES = 60, 10, 1 << 30
ANSWERED, REFUSED, OTHER = "answered", "InputError", "other"
NUMBERS = (b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"2147483648", b"-0.5", b"\xff\xff\xff\xff", b"")
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**9, 10**30, float("nan"), float("inf"), "", "x", "../../../etc/passwd", "a\0b",
    "é" * 999, [], {}, [[]], [None], {"a": 1}, [10**12], "9" * 30,
)  # fmt: skip


# ------------------------------------------------------------------------------------------- breaking files


def broken(data: bytes, name: str, draw: random.Random) -> bytes:
    """Other bytes for a file: of JSON often other values, of packed files often other contents."""
    if name.endswith(".json") and draw.random() < 0.7:
        return json.dumps(_other_value(json.loads(data), draw)).encode()
    if name.endswith(".xlsx") and draw.random() < 0.8:
        return _repacked(data, draw)
    if name.endswith(".gz") and draw.random() < 0.7:
        return gzip.compress(_other_bytes(gzip.decompress(data), draw))
    if name.endswith(".safetensors"):
        return (
            _other_bytes(data[:4000], draw) + data[4000:] if draw.random() < 0.8 else data[: draw.randrange(len(data))]
        )
    return _other_bytes(data, draw)


def _other_bytes(data: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.choice((1, 1, 2, 4, 32, 1000)))
        change = draw.randrange(6)
        middle = (
            bytes(byte ^ 1 << draw.randrange(8) for byte in data[at:end]),
            draw.randbytes(end - at),
            b"",
            data[at:end] * 2,
            draw.choice(NUMBERS),
            data[at:end] + draw.choice(NUMBERS),
        )[change]
        data = data[:at] + middle + data[end:]
    return data[: draw.randrange(len(data) + 1)] if draw.random() < 0.1 else data


def _other_value(value: Any, draw: random.Random) -> Any:
    """The value with one of its parts replaced, removed or doubled."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice(HOSTILE)
    key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
    if draw.random() < 0.15:
        return (
            {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[:key] + value[key + 1 :]
        )
    if isinstance(value, list) and draw.random() < 0.1:
        return [*value, value[key]]
    fresh = dict(value) if isinstance(value, dict) else list(value)
    fresh[key] = _other_value(value[key], draw)
    return fresh


def _repacked(data: bytes, draw: random.Random) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = draw.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, _other_bytes(old.read(name), draw) if name == chosen else old.read(name))
    return out.getvalue()


def make_case(inputs: Input, seed: int, reader: str, number: int, folder: Path) -> None:
    """The broken input of a case, in an empty folder."""
    draw = random.Random(f"{seed}:{reader}:{number}")
    inputs.write(folder)
    path = draw.choice(sorted(path for path in folder.glob(inputs.broken) if path.is_file()))
    path.write_bytes(broken(path.read_bytes(), path.name, draw))


# ------------------------------------------------------------------------------------------- reading them


def run_case(read: Callable[[Path], object], folder: Path) -> tuple[str, str]:
    """(outcome, what was raised) of reading a folder in a process of its own."""
    report = folder.with_suffix(".report")
    child = os.fork()
    if child == 0:
        _read_and_leave(read, folder, report)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            text = report.read_text() if report.exists() else ""
            report.unlink(missing_ok=True)
            code = os.waitstatus_to_exitcode(status)
            return (ANSWERED, REFUSED, OTHER)[code] if code in (0, 1) else OTHER, text or f"ended with {code}"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return OTHER, f"more than {SECONDS} seconds"


def _read_and_leave(read: Callable[[Path], object], folder: Path, report: Path) -> None:
    code = 2
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        warnings.simplefilter("ignore")
        limit = _address_space() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        end = math.ceil(time.process_time()) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (end, end))
        outside = _watch(folder)
        code, text = _outcome(read, folder)
        if outside:
            code, text = 2, f"outside of its folder: {outside[:3]}"
        if code:
            report.write_text(text)
    finally:
        os._exit(code)


def _outcome(read: Callable[[Path], object], folder: Path) -> tuple[int, str]:
    try:
        read(folder)
    except InputError as error:
        text = str(error)
        return (2, f"an InputError of several lines: {text}") if "\n" in text or len(text) > 3000 else (1, text)
    except BaseException:  # noqa: BLE001 - a panic of a library in Rust is no Exception
        return 2, traceback.format_exc()
    return 0, ""


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _watch(folder: Path) -> list[str]:
    """What is opened, made, removed or started outside of the folder from now on, of that which Python can see."""
    found: list[str] = []
    own = [str(folder), *(str(Path(place).resolve()) for place in sys.path if place), sys.prefix, sys.base_prefix]
    allowed = (
        *own,
        "/proc/",
        "/dev/null",
        "/dev/urandom",
        os.path.join(tempfile.gettempdir(), "torchinductor_"),  # torch makes it for itself
        "/usr/",
        "/lib",
        "/etc/mime.types",
        "/sys/",
    )

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in TOUCHES:
            if isinstance(given[0], str | bytes | os.PathLike):
                path = os.path.realpath(os.fsdecode(given[0]).replace("\0", "?"))
                if not path.startswith(allowed):
                    found.append(f"{event} {path}")
        elif event in STARTS and given[0] != sys.executable:
            found.append(f"{event} {given[0]}")

    sys.addaudithook(hook)
    return found


# ------------------------------------------------------------------------------------------- all of them


def fuzz(readers: list[str], minutes: float, seed: int, keep: Path) -> dict[str, Counter[str]]:
    """Cases of all readers by turns until the time is over; counts of outcomes by reader."""
    counts: dict[str, Counter[str]] = {reader: Counter() for reader in readers}
    end, number = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        for reader in readers:
            outcome, text = _case(seed, reader, number, keep)
            counts[reader][outcome] += 1
            if outcome == OTHER:
                print(f"--- {seed}:{reader}:{number}\n{text.strip()[-1500:]}", flush=True)
        number += 1
    return counts


def _case(seed: int, reader: str, number: int, keep: Path) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="segue-fuzz-") as place:
        folder = Path(place) / "input"
        folder.mkdir()
        make_case(INPUTS[reader], seed, reader, number, folder)
        outcome = run_case(INPUTS[reader].read, folder)
        if outcome[0] == OTHER:
            shutil.copytree(folder, keep / f"{seed}-{reader}-{number}".replace(" ", "_"), dirs_exist_ok=True)
    return outcome


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--case", help="SEED:READER:NUMBER of one case, to run again")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    if given.case:
        seed, reader, number = given.case.split(":")
        print(*_case(int(seed), reader, int(number), given.keep), sep="\n")
        return
    counts = fuzz(given.only, given.minutes, given.seed, given.keep)
    print(f"| {'reader':30} | {ANSWERED} | {REFUSED} | {OTHER} |\n|{'-' * 32}|---|---|---|")
    for reader, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"| {reader:30} | {found[ANSWERED]} | {found[REFUSED]} | {found[OTHER]} |")
    sys.exit(any(found[OTHER] for found in counts.values()))


if __name__ == "__main__":
    main()
