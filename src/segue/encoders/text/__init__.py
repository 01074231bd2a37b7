"""Text encoders by name, and built again from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segue.configs import from_json, read_tokenizer
from segue.encoders.pretrained import check_fingerprint
from segue.encoders.text.contract import TOKENIZER_FILE, TextEncoder
from segue.types import InputError
from segue.weights import beside

# Each kind is imported when it is built: the pretrained ones need transformers.


def build_text_encoder(name: str, texts: Sequence[str], *, vocabulary: int = 512, max_tokens: int = 32) -> TextEncoder:
    """A text encoder by name: "small" (trained along), "minilm" or "clip:ID-OR-FOLDER"; the pretrained stay frozen.

    texts, vocabulary, max_tokens: for "small" alone, whose tokenizer is trained on the texts.
    Raises InputError for any other name.
    """
    if name == "small":
        from segue.encoders.text.small import SmallTextEncoder

        return SmallTextEncoder(SmallTextEncoder.train_tokenizer(texts, vocabulary), max_tokens=max_tokens)
    if name == "minilm":
        from segue.encoders.text.minilm import MiniLM

        return MiniLM()
    if name.startswith("clip:"):
        from segue.encoders.text.clip import ClipTextEncoder

        return ClipTextEncoder(name.removeprefix("clip:"))
    raise InputError(f'text encoder {name!r}: expected "small", "minilm" or "clip:ID-OR-FOLDER"')


def load_text_encoder(config: dict[str, Any], folder: Path) -> TextEncoder:
    """Build the encoder that `TextEncoder.save(folder)` described.

    A trainable encoder comes with fresh weights: load the method's state dict next. A frozen one is read from
    its source, and InputError is raised when its weights are not those of the time of saving.
    """
    tokenizer = read_tokenizer(Path(folder) / TOKENIZER_FILE)
    options = dict(config)
    kind, sha256 = options.pop("kind", None), options.pop("sha256", None)
    if isinstance(options.get("source"), str):
        options["source"] = beside(Path(folder), options["source"])
    encoder: TextEncoder
    if kind == "small":
        from segue.encoders.text.small import SmallTextEncoder

        return from_json(partial(SmallTextEncoder, tokenizer), options, folder)
    if kind == "clip":
        from segue.encoders.text.clip import ClipTextEncoder

        encoder = from_json(ClipTextEncoder, options, folder)
    elif kind == "minilm":
        from segue.encoders.text.minilm import MiniLM

        options.pop("source", None)
        encoder = from_json(partial(MiniLM, tokenizer), options, folder)
    else:
        raise InputError(f"text encoder: got kind {kind!r:.60}, expected one of 'clip', 'minilm', 'small'")
    check_fingerprint(encoder, options.get("source", kind), sha256)
    encoder.set_tokenizer(tokenizer)
    return encoder
