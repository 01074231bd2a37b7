"""The tokenizer of whole words."""

import pytest

from methods.cocu.groupvit.tiny_groupvit import CAPTIONS
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer
from segue.types import InputError


def test_tokenizer_is_of_whole_words_in_any_order():
    a, b = train_tokenizer(CAPTIONS), train_tokenizer(CAPTIONS[::-1])
    assert a.to_str() == b.to_str()
    assert a.encode("A DOG,\nnaïve").tokens == ["[BOS]", "a", "dog", "[UNK]", "[UNK]", "[EOS]"]
    assert train_tokenizer(CAPTIONS, limit=6).get_vocab_size() == 6
    with pytest.raises(InputError, match="no word"):
        train_tokenizer(["", " \n"])
