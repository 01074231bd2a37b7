"""METEOR and SPICE by the Java programs of pycocoevalcap. What can't run is NotComputed and says why, never 0.

Java runs under an English locale whatever the machine's: under a decimal comma METEOR's own numbers break it. METEOR's
program is started at its first use and kept for the next, because a start takes a second or more; it ends with ours.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from segue.types import to_install

ENGLISH = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")


@dataclass(frozen=True)
class NotComputed:
    """A score that could not be computed, and why."""

    why: str

    def __str__(self) -> str:
        return f"not computed: {self.why}"


Scores = tuple[float, NDArray[np.float64]] | NotComputed  # of the corpus, of each caption (N,)


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """METEOR 1.5 (English, normalised) of tokenised captions and their references; in [0, 1]."""
    folder = _package()
    if isinstance(folder, NotComputed):
        return folder
    jar = folder / "meteor" / "meteor-1.5.jar"
    if not jar.exists():
        return NotComputed(f"{jar} is not there; install pycocoevalcap again")
    try:  # leaving the pipe to a program that has died raises too
        return _METEOR.score(jar, captions, references)
    except (OSError, ValueError) as error:
        return NotComputed(f"METEOR's Java program ended early or answered with no number ({error})")


class _Meteor:
    """METEOR's Java program while it runs: one line is sent, one line is answered, so that no pipe fills up."""

    def __init__(self) -> None:
        self.lock, self.command = Lock(), list[str]()
        self.process: subprocess.Popen[str] | None = None

    def score(self, jar: Path, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """The counts of each caption, then the scores of all the counts. Whatever goes wrong ends the program."""
        with self.lock:
            try:
                self._start(jar)
                counts = [
                    self._ask(" ||| ".join(["SCORE", *map(_one_line, texts), _one_line(caption)]))
                    for caption, texts in zip(captions, references, strict=True)
                ]
                first = self._ask(" ||| ".join(["EVAL", *counts]))
                scores = [float(line) for line in [first, *(self._read() for _ in captions)]]
            except BaseException:
                self.close()  # or the next corpus would get the answers of this one
                raise
        return scores[-1], np.array(scores[:-1])

    def _start(self, jar: Path) -> None:
        """Start the program, unless the same one runs."""
        command = [shutil.which("java") or "java", *ENGLISH, "-Xmx2G", "-jar", str(jar)]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        if self.process is not None and self.process.poll() is None and command == self.command:
            return
        self.close()
        self.command = command
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=jar.parent, env=_environment(), encoding="utf-8", errors="replace",
        )  # fmt: skip

    def _ask(self, line: str) -> str:
        assert self.process is not None
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ValueError("no answer")
        return line.strip()

    def close(self) -> None:
        """End the program, if it runs."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()  # closes the pipes and waits for the end


_METEOR = _Meteor()
atexit.register(_METEOR.close)


def _one_line(text: str) -> str:
    """The text without what has a meaning in the program's protocol."""
    return re.sub(r"[ \n\r]+", " ", text.replace("|||", " ")).strip(" ")


def spice(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """SPICE of tokenised captions and their references, in [0, 1], when its CoreNLP models are there."""
    folder = _package()
    if isinstance(folder, NotComputed):
        return folder
    folder /= "spice"
    for jar in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        if not (folder / "lib" / jar).exists():
            return NotComputed(
                f"{jar} is not in {folder / 'lib'}; with a network, pycocoevalcap.spice.get_stanford_models fetches it"
            )
    entries = [{"image_id": i, "test": text, "refs": list(references[i])} for i, text in enumerate(captions)]
    with tempfile.TemporaryDirectory() as work:
        inputs, outputs = Path(work) / "in.json", Path(work) / "out.json"
        inputs.write_text(json.dumps(entries), encoding="utf-8")
        (Path(work) / "cache").mkdir()
        command = ["java", *ENGLISH, "-Xmx8G", "-jar", "spice-1.0.jar", str(inputs), "-cache", f"{work}/cache"]
        done = subprocess.run(
            [*command, "-out", str(outputs), "-subset", "-silent"], cwd=folder, env=_environment(), capture_output=True
        )
        if done.returncode or not outputs.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return NotComputed(f"SPICE's Java program ended with status {done.returncode}: {' '.join(last)}")
        rows = json.loads(outputs.read_text(encoding="utf-8"))
    scores = {row["image_id"]: row["scores"]["All"]["f"] for row in rows}
    each = np.array([float(scores[i]) for i in range(len(captions))])
    return float(each.mean()), each


METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], Scores]] = {"METEOR": meteor, "SPICE": spice}


def _package() -> Path | NotComputed:
    """The folder of pycocoevalcap, when it and Java are there."""
    found = find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        return NotComputed(f"pycocoevalcap, which brings the jar, is not installed: {to_install('captions')}")
    if shutil.which("java") is None:
        return NotComputed("no program `java` on the path; install a Java runtime (Debian: default-jre-headless)")
    return Path(next(iter(found.submodule_search_locations)))


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
