"""An SGDiff model as a checkpoint folder, and back. See `segue.methods.checkpoint`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.configs import from_json
from segue.methods.checkpoint import (
    build,
    fill_module,
    read_config,
    read_tensors,
    write_checkpoint,
)
from segue.methods.sgdiff.config import SGDiffConfig
from segue.methods.sgdiff.lexicon import Lexicon
from segue.methods.sgdiff.model import SGDiff
from segue.methods.sgdiff.quality import FEATURES
from segue.metrics.acceptance import read_acceptance
from segue.types import InputError
from segue.weights import bundled


def save(
    model: SGDiff, folder: Path, about: dict[str, Any] | None = None, *, half: bool = False, base: str | None = None
) -> None:
    """Write a checkpoint folder, atomically.

    about: recipe, settings and the like, stored in config.json. half: the weights as float16, in half the space.
    base: a bundled model with the same picture side, of which the weights are not stored again. Raises InputError for
    another name.
    """
    tensors = model.state_dict()
    if base is not None:
        theirs = _base_tensors(base, folder)
        tensors = {name: value for name, value in tensors.items() if not _is_equal(value, theirs.get(name))}
    config = {
        "method": "sgdiff",
        "config": asdict(model.config),
        "lexicon": asdict(model.lexicon),
        "acceptance": None if model.acceptance is None else asdict(model.acceptance),
        "base": base,
        "about": about or {},
    }
    write_checkpoint(folder, config, tensors, half=half)


def restore(folder: Path) -> tuple[SGDiff, dict[str, Any]]:
    """The model in eval mode, and its `about`. Raises InputError when the folder is incomplete or its files differ."""
    saved = read_config(
        folder, ["sgdiff"], {"config": dict, "lexicon": dict, "acceptance": dict | None, "base": str | None}
    )
    config, lexicon = from_json(SGDiffConfig, saved["config"], folder), from_json(Lexicon, saved["lexicon"], folder)
    own, base = read_tensors(folder), saved.get("base")
    tensors = own if base is None else _base_tensors(base, folder) | own
    model = build(lambda: SGDiff(config, lexicon), tensors, folder)
    if base is not None:  # what else the base has is of its own captions
        tensors = {name: tensors[name] for name in tensors if name in own or name in model.state_dict()}
    fill_module(model, tensors, folder)
    model.acceptance = read_acceptance(saved.get("acceptance"), len(FEATURES), folder)
    return model.eval(), saved.get("about") or {}


def _base_tensors(base: str, where: Path) -> dict[str, Tensor]:
    """The weights of the bundled model `base`. Raises InputError for another name."""
    if base not in (here := bundled()):
        raise InputError(f"{where}: base: got {base!r:.60}, expected a bundled model: {', '.join(here)}; update Segue")
    return read_tensors(here[base])


def _is_equal(ours: Tensor, theirs: Tensor | None) -> bool:
    return (
        theirs is not None
        and ours.shape == theirs.shape
        and torch.equal(ours.cpu().to(torch.float16), theirs.to(torch.float16))
    )
