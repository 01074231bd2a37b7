"""What a fault in the middle of a command leaves: the table fault x command -> outcome.

    python tools/faults.py                                  # all of them, by small inputs
    python tools/faults.py --only embed export --faults "full disk" SIGKILL
    python tools/faults.py --kept outcomes.jsonl            # goes on where it was stopped
    python tools/faults.py --page docs/reliability.md       # fills the table of the page

Each command first runs undisturbed. Then, for each fault, it runs with the fault in a new folder, and again without:
the second run must end well, with the bytes of the undisturbed run and nothing else beside them. A refusal must be one
line on standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pages import fill_block

VARYING = ("events.out", ".lock", "history.jsonl", "report.json", ".log")  # hold times, or are locks
LIMIT = 3000  # bytes of a file where no small disk can be mounted
BLOCK = 4096  # bytes of a small disk are in blocks of so many
# A table of the lab whose rows take no time, for `segue lab run`; Python imports a sitecustomize when it starts.
SITE = "from segue.lab import registry\nregistry.TABLES['faults'] = 'faults_rows:table'\n"
ROWS = """from segue.lab.engine import Row
import time

def run(work):
    time.sleep(0.2)
    return {"dice": 0.5, "iou": 0.25}

def table():
    return [Row("main", system, 0, run) for system in ("a", "b", "c")]
"""


class Ended(NamedTuple):
    """status: of the process, negative for a signal. error: its standard error."""

    status: int
    error: str


class Reference(NamedTuple):
    """What the undisturbed command wrote (see `contents`), how long it took, and how many bytes it wrote."""

    files: dict[str, str]
    seconds: float
    size: int


Fault = Callable[[list[str], Path, Reference], Ended]  # (the command's words, out, the undisturbed run)


def _inputs(folder: Path) -> None:
    """Pictures and texts for the commands."""
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(6):
        Image.fromarray(draw.integers(0, 255, (48, 64, 3), np.uint8)).save(folder / f"pictures/{i}.png")
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(SITE)
    (folder / "site/faults_rows.py").write_text(ROWS)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    (folder / "texts.txt").write_text("".join(f"a dog and {i} trees\n" for i in range(40)))
    for words in (
        ["data", "make", "chest", "--out", str(folder / "chest"), "--train", "8", "--val", "4", "--test", "4"],
        ["data", "make", "scenes", "--out", str(folder / "scenes"), "--train", "24", "--val", "8", "--test", "8"],
    ):
        if (ended := _run(words)).status:
            sys.exit(f"{' '.join(words)}: {ended.error}")


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {  # (inputs, out) -> the command's words
    "embed": lambda i, out: ["embed", f"{i}/texts.txt", "--out", f"{out}", "--encoder", "scenes-encoder"],
    "segment FOLDER": lambda i, out: ["segment", f"{i}/pictures", "--note", "left lung", "--out", f"{out}"],
    "export": lambda i, out: ["export", "reclmis-chest", "--out", f"{out}"],
    "train": lambda i, out: [
        *("train", "reclmis", "--data", f"{i}/chest", "--out", f"{out}", "--steps", "4", "--batch-size", "2"),
        *("--image-size", "32", "--evaluations", "2"),
    ],
    "curate": lambda i, out: ["curate", f"{i}/scenes", "--out", f"{out}", "--encoder", "scenes-encoder"],
    "caption FOLDER": lambda i, out: ["caption", f"{i}/pictures", "--out", f"{out}/captions.json", "--retrieve"],
    "lab run": lambda i, out: ["lab", "run", "faults", "--results", f"{out}", "--work", f"{i}/work"],
}
RESUMED = ("train",)  # continued by --resume once they have a state


def _run(words: list[str], *, limit: bool = False, closed: bool = False, home: bool = True) -> Ended:
    process = _start(words, limit=limit, closed=closed, home=home)
    error = process.communicate()[1]
    return Ended(process.returncode, error)


def _start(words: list[str], *, limit: bool = False, closed: bool = False, home: bool = True) -> subprocess.Popen[str]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for what it starts in the background
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        if closed:
            os.close(1)

    env = {k: v for k, v in os.environ.items() if home or k not in ("HOME", "XDG_CACHE_HOME", "HF_HOME")}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "segue", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=prepare,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of what a command wrote, but for what varies from run to run, by path."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not any(word in p.name for word in VARYING)]
    return {str(p.relative_to(folder)): hashlib.sha256(_content(p, folder)).hexdigest() for p in files}


def _content(path: Path, folder: Path) -> bytes:
    """The bytes, without the folder's own path, which settings name.

    Of a table of the lab its lines in order, without commit and machine, which are its last columns.
    """
    whole = path.read_bytes().replace(bytes(folder), b"")
    return (
        b"\n".join(sorted(line.rsplit(b",", 2)[0] for line in whole.splitlines())) if path.suffix == ".csv" else whole
    )


def _signal(number: int) -> Fault:
    """Send a signal when the command has begun to write, or else when half of its time is over."""

    def fault(words: list[str], out: Path, whole: Reference) -> Ended:
        process = _start(words)
        end = time.monotonic() + whole.seconds / 2
        while process.poll() is None and time.monotonic() < end and not list(out.parent.iterdir()):
            time.sleep(0.01)
        process.send_signal(number)
        error = process.communicate()[1]
        return Ended(process.returncode, error)

    return fault


def _full_disk(words: list[str], out: Path, whole: Reference) -> Ended:
    """On a disk of half the size that the command needs, made larger afterwards, so that what lies there stays.

    Where none can be mounted, every file is limited to LIMIT bytes.
    """
    size = BLOCK * max(1, whole.size // (2 * BLOCK))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(out.parent)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        return _run(words, limit=True)
    ended = _run(words)
    subprocess.run(["mount", "-o", "remount,size=1g", str(out.parent)], check=True)
    return ended


def _twice(words: list[str], out: Path, whole: Reference) -> Ended:
    both = [_start(words), _start(words)]
    ended = [Ended(process.returncode, error) for process in both for error in (process.communicate()[1],)]
    return max(ended, key=lambda one: abs(one.status))


def _forbidden(words: list[str], out: Path, whole: Reference) -> Ended:
    """Into a folder of the system's, where not even root may write."""
    return _run([word.replace(str(out), "/sys/segue-out") for word in words])


FAULTS: dict[str, Fault] = {
    "full disk": _full_disk,
    "SIGKILL": _signal(signal.SIGKILL),
    "SIGTERM": _signal(signal.SIGTERM),
    "SIGINT": _signal(signal.SIGINT),
    "read-only output": _forbidden,
    "closed stdout": lambda words, out, whole: _run(words, closed=True),
    "no HOME": lambda words, out, whole: _run(words, home=False),
    "two at once": _twice,
}


def outcome(name: str, fault: str, inputs: Path, whole: Reference) -> str:
    """How a command ends under a fault, and after it, in a few words."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "room/out"
        out.parent.mkdir()
        try:
            return _tried(COMMANDS[name](inputs, out), out, FAULTS[fault], whole, resumed=name in RESUMED)
        finally:
            if out.parent.is_mount():
                subprocess.run(["umount", str(out.parent)], check=True)


def _tried(words: list[str], out: Path, fault: Fault, whole: Reference, *, resumed: bool) -> str:
    first = fault(words, out, whole)
    resume = ["--resume"] if resumed and (out / "state/current").exists() else []
    again = _run([*words, *resume])
    if again.status:
        return f"WRONG: again {again.status}, {again.error.strip()[-200:]}"
    if (found := contents(out.parent)) != whole.files:
        changed = {name for name, _ in found.items() ^ whole.files.items()}
        return f"WRONG: other files, {', '.join(sorted(changed)[:3])}"
    return f"{_ending(first)}; again: the same bytes"


def _ending(ended: Ended) -> str:
    lines = [line for line in ended.error.splitlines() if line.startswith("segue: ") and "warning" not in line]
    if ended.status == 0:
        return "ends well"
    if "Traceback" in ended.error:
        return "WRONG: traceback"
    return "one sentence" if len(lines) == 1 else f"status {ended.status}"


def table(names: list[str], faults: list[str], kept: Path | None, *, measure: bool = True) -> str:
    """The outcomes as Markdown; each goes to standard error and the file `kept` as soon as it is known.

    kept: a file of outcomes, one in a line; those that it has are not measured again. measure: those that it lacks.
    """
    there = kept.read_text().splitlines() if kept is not None and kept.exists() else []
    found = {(one["fault"], one["command"]): one["outcome"] for one in map(json.loads, there)}
    with tempfile.TemporaryDirectory() as place:
        inputs, references = Path(place), dict[str, Reference]()
        for fault, name in product(faults, names):
            if (fault, name) in found or not measure:
                continue
            if not references:
                _inputs(inputs)
            if name not in references:
                references[name] = _reference(name, inputs)
            found[fault, name] = said = outcome(name, fault, inputs, references[name])
            print(f"{fault}, {name}: {said}", file=sys.stderr, flush=True)
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps({"fault": fault, "command": name, "outcome": said}) + "\n")
    rows = [
        f"| {fault} | {' | '.join(found.get((fault, name), 'not measured') for name in names)} |" for fault in faults
    ]
    return "\n".join([f"| fault | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", *rows])


def _reference(name: str, inputs: Path) -> Reference:
    with tempfile.TemporaryDirectory() as place:
        out, start = Path(place) / "room/out", time.monotonic()
        out.parent.mkdir()
        ended = _run(COMMANDS[name](inputs, out))
        if ended.status:
            sys.exit(f"{name}: {ended.error}")
        size = sum(path.stat().st_size for path in out.parent.rglob("*") if path.is_file())
        return Reference(contents(out.parent), time.monotonic() - start, size)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--kept", type=Path, help="a file of outcomes, to go on from where a run was stopped")
    parser.add_argument("--no-more", action="store_true", help="show the kept outcomes alone")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    found = table(given.only, given.faults, given.kept, measure=not given.no_more)
    print(found)
    if given.page is not None:
        fill_block(given.page, "faults", found)
    sys.exit("WRONG" in found)


if __name__ == "__main__":
    main()
