"""`segue doctor`: is everything there that Segue needs, and does it answer?"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

VERSIONS = ("torch", "transformers", "numpy")
MAINTAINERS = {"dev", "docs"}  # extras that users have no need of
MODEL, SEED, LEAST_DICE = "reclmis-chest", 20_002, 0.8  # the model has 0.93 on the phantom of this seed


def doctor(json: bool = False) -> None:
    """Tell versions, extras, GPU and folders, and let a bundled model answer; exit status 1 for a fault of the core.

    An extra that lacks something is no fault, nor is a cache that can't be written. Faults are a package of the core
    that is missing or too old, no temporary folder, and a model that answers wrongly or not at all.

    Args:
        json: print one JSON object.
    """
    from segue.commands.parsing import print_result

    problems: list[str] = []
    extras = _extras(problems)
    facts = {
        "versions": _versions(),
        "extras": extras if json else {name: _shown(name, lacks) for name, lacks in extras.items()},
        "machine": _try(_machine, problems),
        "folders": _folders(problems),
        "self_test": _try(_self_test, problems),
        "problems": problems if json else "; ".join(problems) or "none",
    }
    print_result(facts, json)
    if problems:
        sys.exit(1)


def _try(check: Any, problems: list[str]) -> dict[str, Any]:
    """What a check finds; what stops it goes to `problems`."""
    try:
        found: dict[str, Any] = check()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        message = " ".join(str(error).split())
        problems.append(f"{check.__name__.strip('_')}: {message}")
        return {"failed": message}
    return found


def _versions() -> dict[str, str]:
    from segue import __version__

    others = {name: _version(name) or "missing" for name in VERSIONS}
    return {"segue": __version__, "python": platform.python_version(), **others}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras(problems: list[str]) -> dict[str, list[str]]:
    """The packages that each extra lacks, as it asks for them. What the core lacks goes to `problems`."""
    try:
        names = set(metadata.metadata("segue").get_all("Provides-Extra") or ())
    except metadata.PackageNotFoundError:
        problems.append("segue: not installed, so what it needs is not known; pip install . in its folder")
        return {}
    core = _lacks("")
    problems += [f"{package}: missing or too old; pip install '{package}'" for package in core]
    return {name: [package for package in _lacks(name) if package not in core] for name in sorted(names - MAINTAINERS)}


def _lacks(extra: str) -> list[str]:
    """The packages that the core, or the core with one extra, asks for and that are missing or of another version."""
    from packaging.requirements import Requirement

    requirements = map(Requirement, metadata.requires("segue") or ())
    needed = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})]
    versions = [_version(one.name) for one in needed]
    return [
        f"{one.name}{one.specifier}"
        for one, version in zip(needed, versions, strict=True)
        if version is None or not one.specifier.contains(version, prereleases=True)
    ]


def _shown(extra: str, lacks: list[str]) -> str:
    from segue.types import to_install

    return f"lacks {', '.join(lacks)}: {to_install(extra)}" if lacks else "complete"


def _machine() -> dict[str, Any]:
    """Threads, the GPU, and what computes in bfloat16 fast."""
    import torch

    from segue.nn.devices import has_fast_bf16

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    fast = ["GPU"] * (gpu != "none" and has_fast_bf16("cuda")) + ["CPU"] * has_fast_bf16("cpu")
    return {
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "bf16": ", ".join(fast) or "slow here",
    }


def _folders(problems: list[str]) -> dict[str, str]:
    """The temporary folder, which commands can't do without, and the caches."""
    from segue.files import user_cache

    facts = {"temporary": _temporary(problems)}
    cache = user_cache("data-checks")
    facts["cache"] = "none: no home; data sets are checked each time" if cache is None else _cache(cache)
    return facts


def _temporary(problems: list[str]) -> str:
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "word").write_text("word", encoding="utf-8")
            return str(Path(folder).parent)
    except OSError as error:
        problems.append(f"temporary folder: {error}; name another in TMPDIR")
        return "not writable"


def _cache(folder: Path) -> str:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return str(folder) if os.access(there, os.W_OK) else f"{folder}: not writable; data sets are checked each time"


def _self_test() -> dict[str, Any]:
    """Let the bundled model segment a drawn phantom; raises ValueError where the mask is not the drawn one."""
    from segue.api import load_segmenter
    from segue.metrics.masks import Counts, dice
    from segue.synthetic.chest import draw_chest

    start = time.perf_counter()
    drawn = draw_chest(SEED)
    mask = load_segmenter(MODEL).segment(drawn.image, note=drawn.note).mask
    found = float(dice(Counts.of(mask[None], drawn.mask[None]), empty="one")[0])
    if found < LEAST_DICE:
        raise ValueError(f"{MODEL} outlines a drawn area with a Dice of {found:.2f}, expected {LEAST_DICE} or more")
    return {"model": MODEL, "dice": found, "seconds": time.perf_counter() - start}
