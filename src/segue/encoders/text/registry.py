"""Text encoders built again from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from segue.encoders.text.clip import ClipText
from segue.encoders.text.contract import TOKENIZER_FILE, TextEncoder
from segue.encoders.text.frozen import FrozenText
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.small import SmallText
from segue.types import InputError


def load_text_encoder(config: dict[str, Any], folder: Path) -> TextEncoder:
    """Build the tower that `TextEncoder.save(folder)` described.

    A trainable tower comes with fresh weights: load the method's state dict next. A frozen one is read from
    its source, and InputError is raised when its weights are not those of the time of saving.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(f"{path}: the text tower's tokenizer is missing; copy the whole checkpoint folder")
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    options = dict(config)
    kind, expected = options.pop("kind", None), options.pop("sha256", None)
    if kind == "small":
        return SmallText(tokenizer, **options)
    if kind == "clip":
        tower: FrozenText = ClipText(**options)
    elif kind == "minilm":
        tower = MiniLM(max_tokens=options["max_tokens"])
    else:
        raise InputError(f"text tower: got kind {kind!r}, expected one of 'clip', 'minilm', 'small'")
    if tower.fingerprint != expected:
        raise InputError(
            f"{tower.source}: its weights changed since the checkpoint was saved (sha256 "
            f"{tower.fingerprint[:12]}, expected {str(expected)[:12]}); bring back the version "
            "it was trained with"
        )
    tower._adopt(tokenizer)
    return tower
