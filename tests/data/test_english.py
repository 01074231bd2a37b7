from collections import Counter

import pytest

from segue.data.english import article, plural, singular, word_spans


def test_words_of_any_script_with_their_places():
    assert word_spans("Ein Café-Haus, l'été 3") == [
        ("ein", 0, 3),
        ("café-haus", 4, 13),
        ("l'été", 15, 20),
        ("3", 21, 22),
    ]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("man", "men"),
        ("knife", "knives"),
        ("sheep", "sheep"),
        ("bus", "buses"),
        ("bench", "benches"),
        ("sandwich", "sandwiches"),
        ("toothbrush", "toothbrushes"),
        ("puppy", "puppies"),
        ("boy", "boys"),
        ("potted plant", "potted plants"),
        ("computer mouse", "computer mice"),
        ("broccoli", "broccoli"),
        ("policeman", "policemen"),
        ("couch", "couches"),
        ("skis", "skis"),
        ("wine glass", "wine glasses"),
        ("giraffe", "giraffes"),
        ("shelf", "shelves"),
        ("kangaroo", "kangaroos"),
        ("tomato", "tomatoes"),
        ("photo", "photos"),
        ("fireman", "firemen"),
        ("policewoman", "policewomen"),
        ("grandchild", "grandchildren"),
        ("salesperson", "salespeople"),
        ("human", "humans"),
        ("ottoman", "ottomans"),
        ("buffalo", "buffaloes"),
        ("avocado", "avocados"),
        ("wife", "wives"),
        ("moose", "moose"),
        ("scissors", "scissors"),
        ("café", "cafés"),
        ("犬", "犬"),
        ("", ""),
    ],
)
def test_plurals(one, many):
    assert plural(one) == many


def test_the_singular_is_a_word_of_the_corpus():
    counts = Counter(
        {"dog": 1, "dogs": 20, "pants": 3, "buses": 1, "bus": 1, "fireman": 1, "firemen": 1, "leaf": 1, "leaves": 1}
    )
    many = ("dogs", "buses", "firemen", "leaves", "pants", "dog")
    assert [singular(noun, counts) for noun in many] == ["dog", "bus", "fireman", "leaf", "pants", "dog"]
    assert singular("dogs", counts + Counter(dogs=1)) == "dogs"  # a singular more than 20 times rarer is a mistake


def test_articles():
    assert [article(phrase) for phrase in ("orange cat", "red car", "umbrella")] == ["an", "a", "an"]
