"""A small text encoder with its own WordPiece tokenizer, trained from scratch with the method that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from segue.encoders.text.contract import TextEncoder, check_notes
from segue.nn.transformer import Block
from segue.options import MaxTokens, Positive
from segue.types import InputError

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]"]


class SmallTextEncoder(TextEncoder):
    """A small transformer, trained with its method: pre-norm, learned positions, padding masked everywhere.

    It has no dropout, so that a step gives the same loss in one process and in several. It reads by a copy of the
    tokenizer.
    Raises InputError for a width that heads doesn't divide.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        width: Positive = 128,
        layers: Positive = 2,
        heads: Positive = 4,
        max_tokens: MaxTokens = 32,
    ) -> None:
        if width % heads:
            raise InputError(f"text encoder: width={width} is not a multiple of heads={heads}; try width={heads * 32}")
        super().__init__(Tokenizer.from_str(tokenizer.to_str()), width=width, max_tokens=max_tokens)
        self.layers = layers
        self.heads = heads
        self.embedding = nn.Embedding(self.tokenizer.get_vocab_size(), width)
        self.position = nn.Parameter(torch.empty(max_tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) features; padded positions are zeros."""
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        features: Tensor = self.norm(x)
        return features.masked_fill(~mask[..., None], 0.0)

    def knows(self, word: str) -> bool:
        """Whether the notes of its training had the word. One letter or digit says nothing: each is a token anyway.

        A word of another script is one token too, that of unknown words.
        """
        pieces = self.tokenizer.encode(word, add_special_tokens=False).tokens
        return len(word) > 1 and len(pieces) == 1 and "[UNK]" not in pieces

    def config(self) -> dict[str, Any]:
        """Kind and sizes; the weights come with the method's state dict."""
        sizes = {name: getattr(self, name) for name in ("width", "layers", "heads", "max_tokens")}
        return {"kind": "small", **sizes}

    @staticmethod
    def train_tokenizer(notes: Sequence[str], vocab_size: int = 512) -> Tokenizer:
        """A lower-casing WordPiece of the notes; the same notes in any order give the same tokenizer.

        Every ASCII letter, digit and mark is in the vocabulary, whatever the notes: a typo is cut into
        smaller pieces, never lost. vocab_size is a limit, exceeded only when the alphabet alone is larger.
        """
        check_notes(notes)
        tokenizer = _word_piece({"[UNK]": 0})
        # The trainer numbers letters in the order of a hash map, and ties between merges follow those
        # numbers: numbering all letters beforehand, as if they were special tokens, makes it deterministic.
        letters = _alphabet(tokenizer, notes)
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS + letters, show_progress=False
        )
        tokenizer.train_from_iterator(notes, trainer)
        return _word_piece(tokenizer.get_vocab())


def _alphabet(tokenizer: Tokenizer, notes: Sequence[str]) -> list[str]:
    seen = set("".join(tokenizer.normalizer.normalize_str(note) for note in notes).replace(" ", ""))
    inside = sorted(seen.difference(PUNCTUATION).union(LETTERS))
    return sorted(PUNCTUATION) + inside + [f"##{letter}" for letter in inside]


def _word_piece(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    # WordPiece takes words of more than 100 characters for unknown; cut into parts they stay known.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(".{64}"), "isolated")]
    )
    if "[CLS]" in vocabulary:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])]
        )
    return tokenizer
