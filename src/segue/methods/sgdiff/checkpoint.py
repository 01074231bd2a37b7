"""An SGDiff model as a checkpoint folder, and back. See `segue.methods.checkpoint`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from segue.methods.sgdiff.quality import Acceptance


def save(model: SGDiff, folder: Path, about: dict[str, Any] | None = None, *, half: bool = False) -> None:
    """Write a checkpoint folder, atomically.

    about: recipe, settings and the like, stored in config.json. half: the weights as float16, in half the space.
    """
    config = {
        "method": "sgdiff",
        "config": asdict(model.config),
        "lexicon": asdict(model.lexicon),
        "acceptance": None if model.acceptance is None else asdict(model.acceptance),
        "about": about or {},
    }
    write_checkpoint(folder, config, model.state_dict(), half=half)


def restore(folder: Path) -> tuple[SGDiff, dict[str, Any]]:
    """The model in eval mode, and its `about`. Raises InputError when the folder is incomplete or its files differ."""
    saved = read_config(folder, ["sgdiff"], {"config": dict, "lexicon": dict, "acceptance": dict | None})
    config, lexicon = from_json(SGDiffConfig, saved["config"], folder), from_json(Lexicon, saved["lexicon"], folder)
    tensors = read_tensors(folder)
    model = build(lambda: SGDiff(config, lexicon), tensors, folder)
    fill_module(model, tensors, folder)
    if (acceptance := saved.get("acceptance")) is not None:
        model.acceptance = from_json(Acceptance, acceptance, folder)
    return model.eval(), saved.get("about") or {}
