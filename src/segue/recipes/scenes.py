"""The embedded data sets, drawn where a recipe first needs them."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from segue.data.sketchbook.scenes.write import make_scenes


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let `make` fill the folder if it is not there; processes that ask together make it once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            print(f"drawing {folder}", flush=True)
            make(folder)
    return folder


def scenes_once(folder: Path) -> Path:
    """The default scenes: 8,000 to train, 500 and 1,000 to score, at 128 pixels."""
    return made_once(folder, lambda out: make_scenes(out, progress=True))
