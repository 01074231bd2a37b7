"""The small text encoder and its tokenizer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.encoders import NOTES, TextEncoderContract
from segue.encoders.text.small import SmallTextEncoder
from segue.types import InputError


class TestSmallText(TextEncoderContract):
    @pytest.fixture
    def encoder(self, small):
        return small


def test_tokenizer_does_not_depend_on_the_order_of_notes():
    first = SmallTextEncoder.train_tokenizer(NOTES, vocab_size=150)
    again = SmallTextEncoder.train_tokenizer(NOTES[::-1], vocab_size=150)
    assert first.to_str() == again.to_str()
    assert first.get_vocab_size() == 150


@pytest.mark.parametrize("typo", ["andall", "mmiddle", ",all", "higher", "LEFT-lung"])
def test_typos_survive_in_pieces(small, typo):
    pieces = small.token_texts(typo)[1:]
    assert "".join(pieces) == typo
    assert "[UNK]" not in small.tokenizer.encode(typo).tokens


def test_known_words_stay_whole(small):
    assert small.token_texts("Left lung, infected") == ["[CLS]", "Left", "lung", ",", "infected"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300))
def test_no_ascii_is_unknown(tokenizer, text):
    assert "[UNK]" not in tokenizer.encode(text).tokens


def test_what_has_no_words_after_cleaning_is_blank(small):
    with pytest.raises(InputError, match="blank note"):
        small.tokenize(["\x00\x01"])


def test_every_weight_of_small_text_gets_a_gradient(small):
    notes = ["a " * 200]
    with pytest.warns(UserWarning, match="dropped"):
        features = small(*small.tokenize(notes))
    (features * torch.randn(features.shape)).sum().backward()
    assert [name for name, weight in small.named_parameters() if not weight.grad.abs().sum() > 0] == []


def test_small_text_refuses_odd_sizes(tokenizer):
    with pytest.raises(InputError, match="width=10 is not a multiple of heads=4; try width=128"):
        SmallTextEncoder(tokenizer, width=10)
    with pytest.raises(InputError, match="max_tokens=1: expected at least 3"):
        SmallTextEncoder(tokenizer, max_tokens=1)
