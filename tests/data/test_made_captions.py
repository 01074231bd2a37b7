import numpy as np
import pytest

from segue.data.made_captions import ALIKE, paraphrases, template_captions

CLASSES = ("sky", "grass", "cow", "bird")


def label_map():
    labels = np.ones((20, 20), np.uint8)
    labels[:8] = 0
    labels[12:16, 2:7] = 2
    labels[0, 0] = 3  # a quarter of a percent
    labels[19, 19] = 255
    return labels


def test_a_label_map_is_told_by_what_it_shows_and_how_it_lies():
    assert template_captions(label_map(), CLASSES) == (
        "a photo of grass, sky and cow",
        "cow, sky and grass in a photo",
        "grass below sky",
        "grass right of cow",
        "sky above cow",
    )


def test_one_class_is_no_list_and_an_unknown_map_has_no_sentence():
    assert template_captions(np.full((4, 4), 2, np.uint8), CLASSES) == ("a photo of cow", "cow in a photo")
    assert template_captions(np.full((4, 4), 255, np.uint8), CLASSES) == ()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cow and a horse", {"a horse and a cow"}),
        ("a bike near the road.", {"a bicycle", "a bike", "close to", "the street"}),
        ("a man with a hat and a dog with a ball", set()),  # the other order would give the hat a ball
        ("a photo of a plane", {"an image", "a picture", "an airplane"}),
        ("a dog on the left of a car", {"a dog to the left of a car"}),
        ("a dog left of a car", set()),
        ("a horse jumps over a fence", set()),  # not above it
        ("a cow", set()),
        ("bikers overtake", set()),  # whole words alone
    ],
)
def test_a_paraphrase_says_the_same_in_other_words(caption, expected):
    found = paraphrases(caption, 20, [0])
    assert caption not in found
    assert len(set(found)) == len(found)
    assert bool(found) == bool(expected)
    assert all(any(part in one for one in found) for part in expected)
    assert found == paraphrases(caption, 20, [0])


def test_no_more_than_asked_for_and_by_the_seed():
    caption = "a large photo of a small bike near the road"
    assert [len(paraphrases(caption, count, [0])) for count in (0, 1, 3)] == [0, 1, 3]
    assert paraphrases(caption, 3, [0]) != paraphrases(caption, 3, [1])


def test_no_word_stands_in_two_groups():
    words = [word for group in ALIKE for word in group]
    assert len(set(words)) == len(words)
