"""Text encoders: from notes or captions to one feature vector per token, behind one contract.

`SmallTextEncoder` is trained from scratch with the method that uses it; `ClipTextEncoder` and `MiniLM` are frozen, and
`TextFeatureCache` computes each text's features once. Special tokens (start, end) keep their columns: column j of
the features belongs to `token_texts(text)[j]`.

Shapes: B texts, L tokens (the longest text of the batch), D = width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from segue.encoders.pretrained import PretrainedEncoder, fingerprint
from segue.files import write_text
from segue.types import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from segue.encoders.text.bert import Bert

MAX_WORDS = 2_000
MAX_CHARACTERS = 20 * MAX_WORDS
TOKENIZER_FILE = "tokenizer.json"
TextFeatures = Callable[[Sequence[str]], tuple[Tensor, Tensor]]  # texts -> features (B, L, D) and mask (B, L) bool


class Tokens(NamedTuple):
    """Token ids of a batch of texts, padded on the right to the longest.

    ids: (B, L) int64, 0 on padding. mask: (B, L) bool, True on tokens, False on padding.
    """

    ids: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """What every text encoder offers.

    width: D, the size of a token's feature vector.
    max_tokens: the most tokens of a text, special ones included.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    Raises InputError for max_tokens below 3.
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
        self._warned_of_truncation = False
        self.set_tokenizer(tokenizer)

    def set_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Take the tokenizer over: it truncates to max_tokens and doesn't pad any more."""
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)

    def knows(self, word: str) -> bool:
        """Whether a word in small letters means something to it; a pretrained encoder has seen any."""
        return True

    def tokenize(self, notes: Sequence[str]) -> Tokens:
        """The token ids of each text, on the CPU.

        A text of more than max_tokens is truncated; the encoder warns of the first, with the count of tokens dropped.
        Raises InputError for a text that is no str, blank, or longer than 2,000 words.
        """
        check_notes(notes)
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

    def unread(self, note: str) -> str:
        """The end of a text that is longer than max_tokens, which is not read; "" of a shorter one."""
        row = self.tokenizer.encode(note)
        last = max((end for _, end in row.offsets), default=0)
        return note[last:].strip() if row.overflowing else ""

    def token_texts(self, note: str) -> list[str]:
        """The characters of the text behind each token, as they are spelled there; special tokens by their names.

        Raises InputError for a text that `tokenize` refuses.
        """
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
        if dropped and not self._warned_of_truncation:
            self._warned_of_truncation = True
            warnings.warn(
                f"{dropped} tokens dropped: the note {note[:60]!r}... is longer than the text encoder's "
                f"max_tokens={self.max_tokens}; raise max_tokens or shorten the notes (said once)",
                stacklevel=3,
            )
        return row


class FrozenTextEncoder(PretrainedEncoder, TextEncoder):
    """A pretrained text model that is never trained; see `ClipTextEncoder` and `MiniLM`.

    Always in evaluation mode. Its weights are neither trainable nor in the state dict: a checkpoint records
    where they come from and their fingerprint (sha256), which `load_text_encoder` checks.
    Raises InputError for a tokenizer of another size than the model's, and more tokens than it has positions.
    """

    kind: str
    frozen = True

    def __init__(
        self, model: PreTrainedModel | Bert, tokenizer: Tokenizer, *, source: str, max_tokens: int | None
    ) -> None:
        config: Any = model.config
        longest, sizes = config.max_position_embeddings, (tokenizer.get_vocab_size(), config.vocab_size)
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{source}: the tokenizer has {sizes[0]} tokens and the model {sizes[1]}; put the "
                "model's own tokenizer files beside it"
            )
        if max_tokens is not None and max_tokens > longest:
            raise InputError(
                f"{source}: got max_tokens={max_tokens}, expected at most {longest}: its positions end there"
            )
        super().__init__(tokenizer, width=config.hidden_size, max_tokens=longest if max_tokens is None else max_tokens)
        self.source = source
        # Half-precision weights become float32 exactly; autocast chooses the precision of the computing.
        self.model: Any = model.float().requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.model)
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) last states; padded positions are zeros."""
        states: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states.masked_fill(~mask[..., None], 0.0)

    def config(self) -> dict[str, Any]:
        """Kind, source, max_tokens and the fingerprint of the weights."""
        return {
            "kind": self.kind,
            "source": self.source,
            "max_tokens": self.max_tokens,
            "sha256": self.fingerprint,
        }


def check_notes(notes: Sequence[str]) -> None:
    """Raises InputError for an empty list, a lone str, and a text that is no str, blank, or above 2,000 words."""
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
