"""The tokenizer of whole words."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models

from methods.cocu.groupvit.tiny_groupvit import CAPTIONS, TINY
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer, with_clip_tokenizer, with_tokenizer
from segue.types import InputError


def test_tokenizer_is_of_whole_words_in_any_order():
    a, b = train_tokenizer(CAPTIONS), train_tokenizer(CAPTIONS[::-1])
    assert a.to_str() == b.to_str()
    assert a.encode("A DOG,\nnaïve").tokens == ["[BOS]", "a", "dog", "[UNK]", "[UNK]", "[EOS]"]
    assert train_tokenizer(CAPTIONS, limit=6).get_vocab_size() == 6
    with pytest.raises(InputError, match="no word"):
        train_tokenizer(["", " \n"])


def test_a_config_takes_size_and_special_tokens_from_its_tokenizer():
    tokenizer = train_tokenizer(CAPTIONS)
    config = with_tokenizer(replace(TINY, vocabulary=999, bos=7, eos=8, pad=9), tokenizer)
    assert config.vocabulary == tokenizer.get_vocab_size() == 4 + 15
    tokens = [tokenizer.id_to_token(i) for i in (config.pad, config.bos, config.eos)]
    assert tokens == ["[PAD]", "[BOS]", "[EOS]"]
    assert config.eos != 2  # which would mean the highest id of a text
    assert replace(config, vocabulary=TINY.vocabulary, bos=TINY.bos, eos=TINY.eos, pad=TINY.pad) == TINY


def test_a_tokenizer_without_the_special_tokens_is_refused():
    foreign = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[EOS]": 2}, unk_token="[UNK]"))
    with pytest.raises(InputError, match=r"tokenizer: has no \[BOS\]"):
        with_tokenizer(TINY, foreign)


def test_a_config_takes_size_and_special_tokens_from_clips_tokenizer():
    def tokenizer(*special):
        return Tokenizer(models.WordLevel({token: i for i, token in enumerate(("a</w>", *special))}, unk_token="a</w>"))

    config = with_clip_tokenizer(TINY, tokenizer("<|startoftext|>", "<|endoftext|>"))
    assert (config.vocabulary, config.bos, config.eos, config.pad) == (3, 1, 2, 2)
    for one in ("<|startoftext|>", "<|endoftext|>"):
        with pytest.raises(InputError, match="expected CLIP's"):
            with_clip_tokenizer(TINY, tokenizer(one))
