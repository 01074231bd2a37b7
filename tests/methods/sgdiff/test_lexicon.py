import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.sgdiff.toys import EXAMPLES, LEXICON
from segue.methods.sgdiff.lexicon import END, UNKNOWN, Lexicon, build_lexicon
from segue.types import InputError


@given(st.lists(st.sampled_from(LEXICON.words), max_size=9))
def test_captions_come_back_from_their_token_ids(words):
    caption = " ".join(words)
    text, spans = LEXICON.decode(LEXICON.encode(caption, 10))
    assert text == caption
    assert [text[a:b] for a, b in spans] == words


def test_lexicon_ids():
    lexicon = Lexicon(("a", "dog"), ("dog",), ("on",))
    assert lexicon.size == 4
    assert lexicon.encode("A dog, a zebra!", 6) == [2, 3, 2, UNKNOWN, END, END]
    assert lexicon.encode("a dog a dog", 2) == [2, 3]
    assert (lexicon.class_id("dog"), lexicon.class_id("cat")) == (1, 0)
    assert (lexicon.predicate_id("on"), lexicon.predicate_id("under")) == (1, 0)
    assert lexicon.decode([2, UNKNOWN, 0, 3])[0] == "a [unknown]"
    assert lexicon.encode_required(["a dog"]) == [2, 3]
    with pytest.raises(InputError, match="zebra is outside the model's 2 words"):
        lexicon.encode_required(["zebra"])
    with pytest.raises(InputError, match="name each once"):
        Lexicon(("a", "a"), ("dog",))


def test_nouns_are_learned_from_the_ends_of_phrases():
    lexicon = build_lexicon([e.picture for e in EXAMPLES])
    assert lexicon.nouns == (("circle", "circle"), ("square", "square"))
    assert lexicon.classes_of("square") == {"square"}
    assert lexicon.classes_of("red") == frozenset()
    assert Lexicon(("a",), ("Man",), nouns=(["people", "Man"],)).classes_of("people") == {"man"}


def test_a_lexicon_does_not_depend_on_the_order_of_pictures():
    pictures = [e.picture for e in EXAMPLES]
    assert build_lexicon(pictures) == build_lexicon(pictures[::-1])
    assert "red" not in build_lexicon(pictures[2:]).words
    assert build_lexicon(pictures, min_count=7).words == ("a", "square")


def test_nouns_with_their_plurals_are_known_in_the_order_of_the_alphabet():
    words = ("dog", "dogs", "cat", "sheep", "ape", "apes")
    assert Lexicon(("a",), ("dog",), nouns=tuple((word, "dog") for word in words)).noun_words == ("ape", "dog")
