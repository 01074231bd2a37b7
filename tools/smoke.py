"""Segue with its core dependencies only: every module that needs no extra is imported, and the main jobs run.

    python -m venv DIR && DIR/bin/python -m pip install -c constraints.txt torch . && DIR/bin/python tools/smoke.py

The jobs run as commands, with the bundled models, on pictures that `segue data make` draws. Exit status 1 and the last
lines of what went wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

EXTRAS = ("diffusers", "faiss", "fastapi", "h5py", "monai", "nibabel", "onnx", "pytest", "ray")  # must not be there
NEED_AN_EXTRA = {"segue.serving": "fastapi"}  # package -> what it needs

CHEST = ("chest", "Test_Folder/img")  # where `segue data make` writes the pictures
SCENES = ("scenes", "images/test")
# job -> (the key of its JSON that must hold something, the command); commands that get another name get it here
JOBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "note": ("mask", ("segment", "{chest}", "--note", "One infected area, upper left lung.", "-o", "mask.png")),
    "labels": (
        "classes",
        ("segment", "{scenes}", "--labels", "dog, sky", "--model", "cocu-scenes", "-o", "labels.png"),
    ),
    "caption": ("captions", ("caption", "{scenes}", "--model", "syntic-scenes")),
    "describe": (
        "prompts",
        (
            "describe",
            "{scenes}",
            "--box",
            "20,20,80,80",
            "--label",
            "dog",
            "--model",
            "describe-scenes",
            "-o",
            "described",
        ),
    ),
    "draw": ("layouts", ("draw", "a dog on the grass", "--num", "1", "-o", "layouts")),
    "caption a layout": ("captions", ("caption-layout", "layouts/layout-0.png")),
}


def import_all() -> list[str]:
    """Import every module of Segue; a sentence for each that can't be, but for those that need an extra."""
    import segue

    faults = []
    names = [module.name for module in pkgutil.walk_packages(segue.__path__, "segue.", onerror=lambda _: None)]
    for name in names:
        if name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            if error.name is None or error.name != NEED_AN_EXTRA.get(".".join(name.split(".")[:2])):
                faults.append(f"import {name}: {error}")
    print(f"{len(names)} modules, {len(faults)} faults")
    return faults


def run(*args: str, folder: Path) -> str:
    """Run one command, and print how long it took; its standard output. A failed command ends the program."""
    start = time.monotonic()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "segue", *args]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    print(f"{time.monotonic() - start:5.1f} s  segue {' '.join(args)}", flush=True)
    if done.returncode != 0:
        sys.exit(f"segue {' '.join(args)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def run_jobs(folder: Path) -> list[str]:
    """Draw pictures in a folder and run each job on them; a sentence for each that answers nothing."""
    pictures = {}
    for what, inside in (CHEST, SCENES):
        run("data", "make", what, "--out", what, "--train", "1", "--val", "1", "--test", "1", folder=folder)
        pictures[what] = str(next((folder / what / inside).iterdir()))
    faults = []
    for job, (key, args) in JOBS.items():
        answer = json.loads(run(*(arg.format(**pictures) for arg in args), "--json", folder=folder))
        if not answer.get(key):
            faults.append(f"{job}: no {key} in the answer {answer}")
    return faults


def main() -> int:
    """Check what is installed, import, run; 1 if anything is wrong."""
    if there := [name for name in EXTRAS if find_spec(name)]:
        sys.exit(f"{', '.join(there)}: installed here, but this must run with the core dependencies only")
    faults = import_all()
    with tempfile.TemporaryDirectory() as folder:
        faults += run_jobs(Path(folder))
    print("\n".join(faults), file=sys.stderr)
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main())
