"""Concepts in captions: whole words, plurals, captions of every kind; nouns of a corpus."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.methods.cocu.vocabulary import (
    Vocabulary,
    find_concepts,
    noun_vocabulary,
    plural,
    read_vocabulary,
    split_words,
)
from segue.types import InputError


def named(caption, *concepts):
    vocabulary = Vocabulary(concepts)
    return {vocabulary.concepts[i] for i in vocabulary.find(caption)}


def test_only_whole_words_count():
    assert named("a woman on a manmade lawn", "man", "woman", "lawn") == {"woman", "lawn"}
    assert named("A MAN, standing.", "man") == {"man"}
    assert named("the man's hat", "man", "hat") == {"man", "hat"}
    assert named("a T-shirt", "t-shirt", "shirt") == {"t-shirt"}


def test_concepts_of_up_to_four_words():
    concepts = ("traffic light", "light", "red traffic light", "one two three four")
    assert named("a red\ntraffic  light", *concepts) == {"traffic light", "light", "red traffic light"}
    assert named("one two three four five", *concepts) == {"one two three four"}
    assert named("one two three", *concepts) == set()
    assert named("traffic", *concepts) == set()


def test_plurals_are_their_concept():
    assert named("two dogs, three buses and some knives", "dog", "bus", "knife") == {"dog", "bus", "knife"}
    assert named("people on traffic lights", "person", "traffic light") == {"person", "traffic light"}
    assert named("two dogs", "dog", "dogs") == {"dogs"}  # one that is listed is itself
    some = {"baby": "babies", "boy": "boys", "watch": "watches", "fox": "foxes", "fireman": "firemen", "wolf": "wolves"}
    some |= {"grandchild": "grandchildren", "sheep": "sheep", "potato": "potatoes", "leaf": "leaves"}
    assert {word: plural(word) for word in some} == some
    assert plural("犬") == "犬"


def test_unicode():
    assert split_words("Ein CAFÉ, 犬 und Straße") == ["ein", "café", "犬", "und", "straße"]
    assert named("a cafe\u0301", "café") == {"café"}


def test_captions_of_every_kind():
    captions = ["a dog\nand a cat\r\n", "", None, (), ("a cat", "a dog", "dogs"), "nothing", "dog " * 500]
    offsets, numbers = find_concepts(captions, Vocabulary(["dog", "cat"]))
    assert offsets.tolist() == [0, 2, 2, 2, 2, 4, 4, 5]
    assert numbers.tolist() == [0, 1, 0, 1, 0]


def test_concepts_of_some_pictures_keep_their_order():
    found = find_concepts(["a dog and a cat", None, "a cat", "a dog"], Vocabulary(["dog", "cat"]))
    position, concept = found.of_rows(np.array([3, 1, 0, 3]))
    assert position.tolist() == [0, 2, 2, 3]
    assert concept.tolist() == [0, 0, 1, 0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["man", "men", "woman", "red", "light", "lights", "a"]), max_size=8))
def test_search_equals_a_naive_one(said):
    concepts = ["man", "woman", "red light", "light", "light a man"]
    caption = " ".join(said)
    forms = {"man": "man|men", "woman": "woman|women", "red light": "red lights?", "light": "lights?"}
    forms["light a man"] = "light a (man|men)"
    naive = {c for c in concepts if re.search(rf"(^| )({forms[c]})( |$)", caption)}
    assert named(caption, *concepts) == naive


def test_vocabularies_that_cannot_be():
    for concepts, match in (
        ([], "got no concept"),
        (["dog", " "], "expected one to 4 words"),
        (["a b c d e"], "got 5 words"),
        (["!?"], "expected one to 4 words"),
        ([3], "concept 3"),
    ):
        with pytest.raises(InputError, match=match):
            Vocabulary(concepts)


def test_a_hundred_thousand_concepts():
    start = time.process_time()
    vocabulary = Vocabulary(["Dog", "dog", *(f"thing{i}" if i % 2 else f"red thing{i}" for i in range(100_000))])
    assert len(vocabulary) == 100_001
    assert {vocabulary.concepts[i] for i in vocabulary.find("a red thing4 with thing7, a dog")} == {
        "red thing4", "thing7", "dog",
    }  # fmt: skip
    assert time.process_time() - start < 10


def test_vocabulary_files(tmp_path):
    (tmp_path / "v.txt").write_text("\ufeffdog\n\ntraffic light\n", encoding="utf-8")
    assert read_vocabulary(tmp_path / "v.txt").concepts == ("dog", "traffic light")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="got no concept"):
        read_vocabulary(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_vocabulary(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="no such file"):
        read_vocabulary(tmp_path / "none.txt")


def test_nouns_of_a_corpus():
    captions = [
        "a brown dog is running on the grass",
        "two dogs sit under a tree near the traffic light",
        "the dog runs to a red car",
        "a red car, parked by the traffic lights",
        "a man in a car looks at the dog",
        "the traffic is heavy",
        "a light in the tree",
        "a group of dogs",
        "a group of men",
        "people walking in the traffic",
        None,
        ("a man and a dog", "the car on grass"),
    ]
    found = noun_vocabulary(captions, at_least=2)
    assert {"dog", "car", "tree", "man", "traffic", "light", "grass", "traffic light"} == set(found.concepts)
    assert found.concepts[0] == "dog"
    assert len(noun_vocabulary(captions, at_least=2, limit=3)) == 3
    with pytest.raises(InputError, match="no noun is named 5 times"):
        noun_vocabulary(["a dog", None, ""])


def test_fifty_thousand_captions_a_second():
    vocabulary = Vocabulary([f"thing{i}" for i in range(2000)] + [f"red thing{i}" for i in range(500)])
    captions = [f"a thing{i % 3000} next to a red thing{i % 700} on the thing{i % 11}" for i in range(20_000)]
    start = time.process_time()
    find_concepts(captions, vocabulary)
    assert len(captions) / (time.process_time() - start) > 25_000  # half of it: the machine may be busy
