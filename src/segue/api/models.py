"""Where models are: bundled names and checkpoint folders."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from segue.types import InputError

ENSEMBLE = "ensemble.json"


def bundled() -> dict[str, Path]:
    """The checkpoints that ship inside the package, by name."""
    home = Path(str(resources.files("segue"))) / "checkpoints"
    return {p.name: p for p in sorted(home.iterdir()) if (p / "config.json").exists()} if home.is_dir() else {}


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
