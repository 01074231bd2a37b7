"""What sentences say of layouts, and how much of it boxes fulfil."""

import numpy as np
import pytest

from layout_examples import CAPTION, CAR, DOG, GRASS
from segue.api.sentence_check import CaptionContent, caption_content, fulfilled, wanted
from segue.synthetic.scenes.scene import CLASSES

CAT = CLASSES.index("cat")
FIELD, LEFT, RIGHT = [GRASS, 0, 0, 32, 32], [2, 10, 8, 18], [20, 10, 26, 18]  # edges are left, top, right, bottom


def test_the_content_of_a_caption():
    content = caption_content(CAPTION, CLASSES)
    assert set(content.named) >= {(DOG,), (CAR,), (GRASS,)}
    assert content.relations == (((DOG,), "left of", (CAR,)),)
    assert content.counts == (((DOG,), (1, 1)), ((CAR,), (1, 1)))
    assert caption_content("two dogs next to a car", CLASSES).relations == ()
    assert caption_content("two dogs next to a car", CLASSES).counts[0] == ((DOG,), (2, 2))


@pytest.mark.parametrize(
    ("sentence", "named", "relations", "counts"),
    [
        ("A puppy is on the left side of two cars on a road", "dog, car, road", [("dog", "left of", "car")], [1, 2, 1]),
        ("a boat with a bird above it", "boat, bird", [("bird", "above", "boat")], [1, 1]),
        (
            "dogs over a car, right of the boat", "dog, car, boat",
            [("dog", "above", "car"), ("car", "right of", "boat")], [1],
        ),
        ("above it a dog below", "dog", [], [1]),
        ("a dog above a car, a dog above a car", "dog, car", [("dog", "above", "car")], [1, 1]),
        ("it rains", "", [], []),
    ],
)  # fmt: skip
def test_a_sentence_of_other_classes_is_read_by_their_names(sentence, named, relations, counts):
    classes = ("road", "dog", "car", "boat", "bird")
    content = caption_content(sentence, classes)
    assert [classes[kind] for (kind,) in content.named] == list(filter(None, named.split(", ")))
    assert [(classes[a[0]], name, classes[b[0]]) for a, name, b in content.relations] == relations
    assert [number for _, number in content.counts] == [(number, number) for number in counts]


@pytest.mark.parametrize(
    ("sentence", "boxes", "said", "counts"),
    [
        (CAPTION, [FIELD, [DOG, *LEFT], [CAR, *RIGHT]], 1, 1),
        (CAPTION, [FIELD, [DOG, *RIGHT], [CAR, *LEFT]], 3 / 4, 1),
        (CAPTION, [FIELD, [DOG, *LEFT], [DOG, *RIGHT]], 2 / 4, 0),
        (CAPTION, [], 0, 0),
        ("two dogs on the grass", [FIELD, [DOG, *LEFT]], 1, 0),
        ("a dog above a cat", [[DOG, 0, 0, 9, 10], [CAT, 5, 10, 9, 20]], 1, 1),
        ("a dog below a cat", [[DOG, 0, 0, 9, 10], [CAT, 5, 10, 9, 20]], 2 / 3, 1),
        ("a person", [[CLASSES.index("child"), *LEFT]], 1, 1),
        ("nothing that it knows", [FIELD], 1, 1),
    ],
)
def test_how_much_of_a_sentence_boxes_fulfil(sentence, boxes, said, counts):
    made = np.array(boxes, np.int64).reshape(-1, 5)
    assert fulfilled(caption_content(sentence, CLASSES), made) == pytest.approx((said, counts))


def test_what_a_caption_names_and_counts_is_wanted():
    assert set(wanted(caption_content("two dogs on the grass", CLASSES))) == {
        ((DOG,), (1, np.inf)), ((GRASS,), (1, np.inf)), ((DOG,), (2, 2)),
    }  # fmt: skip
    assert wanted(CaptionContent()) == []
