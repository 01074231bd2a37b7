import numpy as np

from segue.data.relation_sentences import mirrored_sentence, relation_sentences
from segue.types import Picture, Region, Relation

BOX = (0.0, 0.0, 4.0, 4.0)


def picture(*relations):
    regions = (
        Region("dog", BOX, attributes=("brown",)),
        Region("car", BOX, attributes=("red", "big")),
        Region("umbrella", BOX),
        Region("dog", BOX),
        Region("grass", BOX, thing=False),
    )
    related = tuple(Relation(*r) for r in relations)
    return Picture("p", lambda: np.zeros((8, 8, 3), np.uint8), regions=regions, relations=related)


def test_wordings_colours_and_the_ground_take_turns():
    said = relation_sentences(picture((0, "left of", 1), (0, "left of", 1), (0, "left of", 2), (0, "on", 4)))
    assert said == ("a dog left of a car", "a brown dog to the left of an umbrella on the grass")


def test_relations_without_direction_or_between_likes_say_nothing():
    assert relation_sentences(picture((0, "on", 4), (0, "right of", 3), (1, "behind", 0))) == ()


def test_a_mirrored_picture_has_left_and_right_exchanged():
    assert mirrored_sentence("Left of a dog, a car with a leftover") == "Right of a dog, a car with a leftover"
    assert mirrored_sentence("a cat to the right of a dog left of it") == "a cat to the left of a dog right of it"
    assert mirrored_sentence("a bird above a tree") == "a bird above a tree"
