"""A tokenizer of whole words, made from captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from segue.methods.cocu.groupvit.config import GroupViTConfig
from segue.types import InputError


def train_tokenizer(texts: Iterable[str], limit: int = 49408) -> Tokenizer:
    """A tokenizer of the lower-cased words of `texts`, the most frequent ones; the same for any order of the texts.

    An unknown word becomes "[UNK]", by which `inference.embed_names` recognises a name that means nothing to the model.
    limit: size of the vocabulary with the four special tokens. `with_tokenizer` passes the size on to a config.
    Raises InputError when there is no word in the texts.
    """
    special = ["[PAD]", "[BOS]", "[UNK]", "[EOS]"]  # [EOS] must not be 2, see GroupViTConfig.eos
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(special)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    counts: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    if not counts:
        raise InputError("texts: got no word to make a tokenizer from; check the captions")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: max(limit - len(special), 0)]
    tokenizer.model = models.WordLevel({word: i for i, word in enumerate([*special, *ranked])}, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 3)]
    )
    return tokenizer


def with_tokenizer(config: GroupViTConfig, tokenizer: Tokenizer) -> GroupViTConfig:
    """The config with the vocabulary size and the special tokens of a tokenizer from `train_tokenizer`.

    Raises InputError for a tokenizer without those special tokens.
    """
    special: dict[str, Any] = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("pad", "bos", "eos")}
    if missing := [name for name, token in special.items() if token is None]:
        raise InputError(f"tokenizer: has no [{missing[0].upper()}], expected one of train_tokenizer")
    return replace(config, vocabulary=tokenizer.get_vocab_size(), **special)


def with_clip_tokenizer(config: GroupViTConfig, tokenizer: Tokenizer) -> GroupViTConfig:
    """The config with the vocabulary size and the special tokens of CLIP's tokenizer.

    Raises InputError for a tokenizer without those special tokens.
    """
    bos, eos = tokenizer.token_to_id("<|startoftext|>"), tokenizer.token_to_id("<|endoftext|>")
    if bos is None or eos is None:
        raise InputError("tokenizer: has no <|startoftext|> or no <|endoftext|>, expected CLIP's")
    return replace(config, vocabulary=tokenizer.get_vocab_size(), bos=bos, eos=eos, pad=eos)
