"""METEOR and SPICE by the jars that pycocoevalcap brings. What can't run is NotComputed and says why, never 0.

Java runs under an English locale whatever the machine's: under a decimal comma METEOR's own numbers break it. It is
closed at the end, whatever happened.
"""

from __future__ import annotations

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
from typing import Any

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


Found = tuple[float, NDArray[np.float64]] | NotComputed  # of the corpus, of each caption (N,)


def meteor(said: Sequence[str], truth: Sequence[Sequence[str]]) -> Found:
    """METEOR 1.5 (English, normalised) of tokenised captions and their references; in [0, 1]."""
    folder = _package()
    if isinstance(folder, NotComputed):
        return folder
    jar = folder / "meteor" / "meteor-1.5.jar"
    if not jar.exists():
        return NotComputed(f"{jar} is not there; install pycocoevalcap again")
    command = ["java", *ENGLISH, "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    options |= {"cwd": jar.parent, "env": _environment(), "encoding": "utf-8", "errors": "replace"}
    try:  # leaving the pipe to a program that has died raises too
        with subprocess.Popen(command, **options) as process:
            try:
                return _dialogue(process, said, truth)
            finally:
                process.kill()
    except (OSError, ValueError) as error:
        return NotComputed(f"METEOR's Java program ended early or answered with no number ({error})")


def _dialogue(process: subprocess.Popen[str], said: Sequence[str], truth: Sequence[Sequence[str]]) -> Found:
    """One line asked, one line answered, so that no pipe fills up; then all the counts for the scores."""
    assert process.stdin is not None
    assert process.stdout is not None
    counts = []
    for text, texts in zip(said, truth, strict=True):
        line = " ||| ".join(["SCORE", *map(_one_line, texts), _one_line(text)])
        print(line, file=process.stdin, flush=True)
        counts.append(_answer(process.stdout.readline()))
    print(" ||| ".join(["EVAL", *counts]), file=process.stdin, flush=True)
    scores = [float(_answer(process.stdout.readline())) for _ in range(len(said) + 1)]
    return scores[-1], np.array(scores[:-1])


def _answer(line: str) -> str:
    if not line:
        raise ValueError("no answer")
    return line.strip()


def _one_line(text: str) -> str:
    """The text without what the jar's protocol means something by."""
    return re.sub(r"[ \n\r]+", " ", text.replace("|||", " ")).strip(" ")


def spice(said: Sequence[str], truth: Sequence[Sequence[str]]) -> Found:
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
    asked = [{"image_id": i, "test": text, "refs": list(truth[i])} for i, text in enumerate(said)]
    with tempfile.TemporaryDirectory() as work:
        given, told = Path(work) / "in.json", Path(work) / "out.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        (Path(work) / "cache").mkdir()
        command = ["java", *ENGLISH, "-Xmx8G", "-jar", "spice-1.0.jar", str(given), "-cache", f"{work}/cache"]
        done = subprocess.run(
            [*command, "-out", str(told), "-subset", "-silent"], cwd=folder, env=_environment(), capture_output=True
        )
        if done.returncode or not told.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return NotComputed(f"SPICE's Java program ended with status {done.returncode}: {' '.join(last)}")
        answers = {row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(told.read_text(encoding="utf-8"))}
    each = np.array([float(answers[i]) for i in range(len(said))])
    return float(each.mean()), each


METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], Found]] = {"METEOR": meteor, "SPICE": spice}


def _package() -> Path | NotComputed:
    """pycocoevalcap's folder, when it and Java are there."""
    found = find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        return NotComputed(f"pycocoevalcap, which brings the jar, is not installed: {to_install('captions')}")
    if shutil.which("java") is None:
        return NotComputed("no program `java` on the path; install a Java runtime (Debian: default-jre-headless)")
    return Path(next(iter(found.submodule_search_locations)))


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
