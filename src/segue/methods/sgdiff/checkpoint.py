"""An SGDiff model as a checkpoint folder, and back. See `segue.methods.checkpoint`."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from segue.methods.checkpoint import read_config, read_tensors, write_checkpoint
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.types import InputError


def save(model: SGDiff, folder: Path, about: dict[str, Any] | None = None, *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically.

    about: recipe, settings and the like, stored in config.json. half: the weights as float16, in half the space.
    """
    config = {
        "method": "sgdiff",
        "config": asdict(model.config),
        "lexicon": asdict(model.lexicon),
        "about": about or {},
    }
    tensors = model.state_dict()
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    write_checkpoint(folder, config, tensors)


def restore(folder: Path) -> tuple[SGDiff, dict[str, Any]]:
    """The model in eval mode, and its `about`. Raises InputError when the folder is incomplete or its files differ."""
    saved = read_config(folder, ["sgdiff"])
    model = SGDiff(_from_json(SGDiffConfig, saved, "config", folder), _from_json(Lexicon, saved, "lexicon", folder))
    tensors, wanted = read_tensors(folder), model.state_dict()
    odd = sorted(k for k in wanted if k not in tensors or tensors[k].shape != wanted[k].shape)
    if odd or set(tensors) != set(wanted):
        first = (odd or sorted(set(tensors) - set(wanted)))[0]
        raise InputError(
            f"{folder}: config.json and the weights don't belong together, {first} differs; copy the checkpoint again"
        )
    model.load_state_dict(tensors)
    return model.eval(), saved.get("about", {})


def _from_json(kind: type, saved: dict[str, Any], part: str, folder: Path) -> Any:
    values = saved.get(part)
    known = {f.name for f in fields(kind)}
    if not isinstance(values, dict) or (odd := sorted(set(values) - known)):
        what = "nothing readable" if not isinstance(values, dict) else ", ".join(odd)
        raise InputError(f"{folder}: config.json has {what} under {part!r}; update Segue or copy the checkpoint again")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
