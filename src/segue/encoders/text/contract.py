"""Text towers: from notes to one feature vector per token, behind one contract.

`SmallText` is trained from scratch with the method that uses it; `ClipText` and `MiniLM` are frozen, and
`NoteCache` computes each note's features once. Special tokens (start, end) keep their columns: column j of
the features belongs to `words(note)[j]`.

Shapes: B notes, L tokens (the longest note of the batch), D = width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from segue.files import write_text
from segue.types import InputError

MAX_WORDS = 2_000
MAX_CHARACTERS = 20 * MAX_WORDS
_A_CLIP = "openai/clip-vit-base-patch32"


TOKENIZER_FILE = "tokenizer.json"


class Tokens(NamedTuple):
    """A batch of notes as numbers, padded on the right to the longest.

    ids: (B, L) int64, 0 on padding. mask: (B, L) bool, True on real tokens.
    """

    ids: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """What every text tower offers.

    width: D, the size of a token's feature vector.
    max_tokens: the most tokens of a note, special ones included.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    """

    width: int
    max_tokens: int
    frozen: bool = False

    def __init__(self, tokenizer: Tokenizer, *, width: int, max_tokens: int) -> None:
        if max_tokens < 3:
            raise InputError(f"max_tokens={max_tokens}: expected at least 3, to hold start, one word and end")
        super().__init__()
        self.width = width
        self.max_tokens = max_tokens
        self._cut_before = False
        self._adopt(tokenizer)

    def _adopt(self, tokenizer: Tokenizer) -> None:
        # A copy: the caller's own truncation and padding stay as they are.
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)

    def tokenize(self, notes: Sequence[str]) -> Tokens:
        """Number the tokens of each note, on the CPU.

        A note of more than max_tokens is cut; the tower warns of the first, with the count of tokens dropped.
        Raises InputError for a note that is not text, blank, or longer than 2,000 words.
        """
        _check_notes(notes)
        rows = [self._encode(note) for note in notes]
        ids = torch.zeros(len(rows), max(len(row.ids) for row in rows), dtype=torch.int64)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            mask[i, : len(row.ids)] = True
        return Tokens(ids, mask)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) features; padded positions are zeros."""
        raise NotImplementedError

    def words(self, note: str) -> list[str]:
        """The piece of the note behind each token, in the note's spelling; special tokens by their names."""
        _check_note(note)
        row = self._encode(note)
        return [note[a:b] if b > a else token for token, (a, b) in zip(row.tokens, row.offsets, strict=True)]

    def config(self) -> dict[str, Any]:
        """What `load_text_encoder` needs besides the tokenizer; json-able."""
        raise NotImplementedError

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the tokenizer into the folder as tokenizer.json and return `config()`."""
        write_text(Path(folder) / TOKENIZER_FILE, self.tokenizer.to_str(pretty=True))
        return self.config()

    def _encode(self, note: str) -> Encoding:
        row = self.tokenizer.encode(note)
        if all(row.special_tokens_mask):
            raise _blank(note)
        dropped = sum(part.special_tokens_mask.count(0) for part in row.overflowing)
        if dropped and not self._cut_before:
            self._cut_before = True
            warnings.warn(
                f"{dropped} tokens dropped: the note {note[:60]!r}... is longer than the text tower's "
                f"max_tokens={self.max_tokens}; raise max_tokens or shorten the notes (said once)",
                stacklevel=3,
            )
        return row


def _check_notes(notes: Sequence[str]) -> None:
    if isinstance(notes, str) or not len(notes):
        raise InputError(f"notes: got {notes!r:.60}, expected a list of at least one note; wrap one as [note]")
    for note in notes:
        _check_note(note)


def _check_note(note: str) -> None:
    if not isinstance(note, str):
        raise InputError(f"note: got {type(note).__name__}, expected a sentence as str")
    if not note.strip():
        raise _blank(note)
    count = len(note.split())
    if count > MAX_WORDS or len(note) > MAX_CHARACTERS:
        raise InputError(
            f"note: got {count:,} words in {len(note):,} characters, expected at most {MAX_WORDS:,} words "
            f"and {MAX_CHARACTERS:,} characters; a note is a sentence or two on one image: pass only those"
        )


def _blank(note: str) -> InputError:
    return InputError(
        f"note: got {note[:20]!r}, a blank note, expected words; leave it out (None) to segment without a note"
    )
