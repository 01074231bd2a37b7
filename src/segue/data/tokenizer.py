"""A tokenizer for captions, learned from the captions: byte-level BPE in lower case, saved as tokenizer.json.

Bytes leave no character unknown, and the same captions give the same tokens (tokenizers' WordPiece numbers letters in
the order of a hash map). Two tokens are special: [PAD] and [END]; a caption's start is the end of the one before. A
BERT's tokenizer serves too, with its own [CLS] and [SEP], and a CLIP's, whose <|endoftext|> also pads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from segue.configs import read_tokenizer
from segue.files import write_text
from segue.types import InputError

FILE = "tokenizer.json"
PAD, END = "[PAD]", "[END]"
START_OF_BERT, END_OF_BERT, SUPPRESSED = "[CLS]", "[SEP]", ("[UNK]", "[MASK]")
START_OF_CLIP, END_OF_CLIP = "<|startoftext|>", "<|endoftext|>"


class CaptionTokenizer:
    """Captions as numbers and back.

    Raises InputError for a tokenizer without these tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        number = tokenizer.token_to_id
        pad, end, start = number(PAD), number(END), number(END)
        if end is None:
            end, start = number(END_OF_BERT), number(START_OF_BERT)
        if end is None:
            end, start = number(END_OF_CLIP), number(START_OF_CLIP)
            pad = end
        if pad is None or end is None or start is None:
            raise InputError(
                f"tokenizer: it lacks the tokens {PAD} and {END}, or a BERT's or a CLIP's; "
                "make one with CaptionTokenizer.learn(captions)"
            )
        self.tokenizer, self.pad, self.end, self.start = tokenizer, pad, end, start

    @classmethod
    def learn(cls, captions: Iterable[str], *, size: int = 10_000, least: int = 2) -> CaptionTokenizer:
        """Learn pieces of words from captions, read once.

        size: the most tokens; the 256 bytes are always among them. least: pieces rarer than that are not kept.
        Raises InputError when there is no caption.
        """
        counted = _CountingIterable(captions)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=least,
            special_tokens=[PAD, END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(counted, trainer)
        if not counted.number:
            raise InputError("tokenizer: no caption to learn from; check the corpus")
        return cls(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> CaptionTokenizer:
        """Read folder/tokenizer.json. Raises InputError for what `segue.configs.read_tokenizer` refuses."""
        return cls(read_tokenizer(folder / FILE))

    def save(self, folder: Path) -> None:
        """Write folder/tokenizer.json, whole or not at all."""
        write_text(folder / FILE, self.tokenizer.to_str(pretty=True))

    def __len__(self) -> int:
        """V, the tokens there are."""
        return int(self.tokenizer.get_vocab_size())

    @property
    def suppressed_token_ids(self) -> tuple[int, ...]:
        """Tokens that are never generated: padding, start, unknown."""
        others = [self.pad, self.start, *(self.tokenizer.token_to_id(name) for name in SUPPRESSED)]
        return tuple(number for number in others if number not in (None, self.end))

    def encode(self, captions: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Number the captions' tokens, each with its end: tokens (B, L) int64, real (B, L) bool, L <= max_tokens + 1.

        A longer caption is cut to max_tokens before its end is added. Raises InputError for a blank caption.
        """
        for caption in captions:
            if not caption.strip():
                raise InputError(f"caption {caption!r}: nothing to read in it; leave blank captions out")
        rows = [row.ids[:max_tokens] for row in self.tokenizer.encode_batch(list(captions), add_special_tokens=False)]
        length = max((len(row) for row in rows), default=0) + 1
        tokens = torch.full((len(rows), length), self.pad, dtype=torch.int64)
        real = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row) + 1] = torch.tensor([*row, self.end])
            real[i, : len(row) + 1] = True
        return tokens, real

    def spans(self, caption: str, max_tokens: int) -> list[tuple[int, int]]:
        """The characters of each token of `encode` but the end: the first, and the one after the last."""
        spans: list[tuple[int, int]] = self.tokenizer.encode(caption, add_special_tokens=False).offsets
        return spans[:max_tokens]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a caption, up to its end, without broken characters and with the spaces that English puts."""
        tokens = list(tokens)
        if self.end in tokens:
            tokens = tokens[: tokens.index(self.end)]
        return close_gaps(self.tokenizer.decode(tokens, skip_special_tokens=True).replace("\ufffd", ""))


def close_gaps(text: str) -> str:
    """Close the gaps that a tokenizer leaves around punctuation: "a dog ' s ball ." -> "a dog's ball."."""
    text = re.sub(r"\s+([.,;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$#])\s+", r"\1", text)
    text = re.sub(r"(\w)\s*(['’])\s*(s|t|re|ve|ll|d|m)\b", r"\1\2\3", text)
    return re.sub(r"\s+", " ", text).strip()


class _CountingIterable:
    """Hands captions on and counts them."""

    def __init__(self, captions: Iterable[str]) -> None:
        self.captions, self.number = captions, 0

    def __iter__(self) -> Iterable[str]:
        for caption in self.captions:
            self.number += 1
            yield caption
