"""Decoding that leans towards naming an object."""

from itertools import pairwise

import torch

from segue.methods.sgdiff.photographs.hints import hint_of, names_class, start_hinted, step_hinted
from tiny_photographs import CONFIG, tiny_network, tiny_reader


def test_a_hint_raises_its_tokens_until_one_of_its_terms_was_said():
    tokenizer = tiny_reader().captioner.checkpoint.tokenizer
    decoder, prefix = tiny_network(tokenizer).decoder, torch.randn(2, CONFIG.prefix_length, CONFIG.width)
    hint, plain = hint_of("dog", tokenizer), hint_of("dog", tokenizer)
    hint.strength = 4.0
    first, _ = decoder.start(prefix)
    raised, state = start_hinted(decoder, prefix, [hint, plain])
    others = [i for i in range(len(tokenizer)) if i not in hint.begin]
    torch.testing.assert_close(raised[0, hint.begin], first[0, hint.begin] + 4)
    torch.testing.assert_close(raised[0, others], first[0, others])
    torch.testing.assert_close(raised[1], first[1])

    dog = tokenizer.tokenizer.encode("dog", add_special_tokens=False).ids[-1]
    _, cache = decoder.start(prefix)
    plainly, _ = decoder.step(torch.tensor([dog, dog]), cache)
    after, state = step_hinted(decoder, torch.tensor([dog, dog]), state)
    begin = [i for i in hint.begin if i not in hint.following.get(dog, ())]
    torch.testing.assert_close(after[0, begin], plainly[0, begin])
    assert state.named == [True, True]
    assert state.select(torch.tensor([1])).hints == [plain]


def test_a_term_of_several_tokens_is_led_through():
    tokenizer = tiny_reader().captioner.checkpoint.tokenizer
    hint = hint_of("dog", tokenizer)
    ids = tokenizer.tokenizer.encode("dog", add_special_tokens=False).ids
    assert ids[0] in hint.begin
    assert ids[-1] in hint.end
    assert all(after in hint.following[before] for before, after in pairwise(ids))
    assert hint_of("", tokenizer).begin == []


def test_a_class_is_named_by_its_synonyms():
    assert names_class("a puppy on the grass", "dog")
    assert not names_class("a toy on the grass", "dog")
    assert names_class("anything", "")
