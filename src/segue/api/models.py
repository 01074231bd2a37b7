"""Where models are: bundled names and checkpoint folders."""

from __future__ import annotations

import json
from pathlib import Path

from segue.methods.checkpoint import bundled
from segue.types import InputError

ENSEMBLE = "ensemble.json"


def find(name_or_path: str | Path) -> Path:
    """The folder of a bundled name or of a path. Raises InputError that lists the bundled names."""
    here = bundled()
    folder = here.get(str(name_or_path), Path(name_or_path))
    if not folder.is_dir():
        raise InputError(
            f"model {str(name_or_path)!r}: neither a folder nor a bundled model; "
            f"bundled are: {', '.join(here) or 'none'}; a folder of yours comes from `segue train`"
        )
    return folder


def method_of(folder: Path) -> str | None:
    """The method that a checkpoint folder names, or None when it names none that can be read."""
    if (folder / ENSEMBLE).exists():
        folder = folder / json.loads((folder / ENSEMBLE).read_text())["members"][0]
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None  # the loader says what is wrong with it
    return config.get("method") if isinstance(config, dict) else None
