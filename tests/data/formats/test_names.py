import pytest

from segue.data.english import plural
from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_THINGS
from segue.data.formats.names import find_class_names, link, plain_class_name, terms
from segue.types import Picture, Region


def regions(*labels):
    return tuple(Region(label, (0, 0, 1, 1)) for label in labels)


def linked(caption, *labels):
    """word -> labels of the regions that it points to."""
    return {caption[p.start : p.end]: [labels[i] for i in p.regions] for p in link(caption, regions(*labels))}


def test_whole_words_only():
    assert linked("A woman and a catalog near a scarf.", "car", "cat") == {}
    assert linked("A woman and a man.", "person") == {"woman": ["person"], "man": ["person"]}
    assert linked("A WOMAN's Dog", "person", "dog") == {"WOMAN": ["person"], "Dog": ["dog"]}


def test_plurals_of_compounds_are_found():
    assert linked("Two firemen and their grandchildren by snowmen.", "fireman", "grandchild", "snowman") == {
        "firemen": ["fireman"],
        "grandchildren": ["grandchild"],
        "snowmen": ["snowman"],
    }


def test_double_words_come_first():
    labels = ("hot dog", "dog", "teddy bear", "bear", "traffic light", "light", "wine glass", "tennis racket")
    assert linked("A hot dog by a dog.", *labels) == {"hot dog": ["hot dog"], "dog": ["dog"]}
    assert linked("Teddy bears and bears.", *labels) == {"Teddy bears": ["teddy bear"], "bears": ["bear"]}
    assert linked("Two traffic lights, a light.", *labels) == {"traffic lights": ["traffic light"], "light": ["light"]}
    assert linked("A hot-dog.", *labels) == {"hot-dog": ["hot dog"]}
    assert linked("A hot dog.", "dog") == {}  # though there is no region for the hot dog
    assert linked("At the train station.", "train") == {}
    assert linked("A man wearing glasses.", "wine glass", "person") == {"man": ["person"]}


def test_a_noun_points_to_all_regions_of_its_class():
    phrases = link("Dogs and a sheep", regions("dog", "sheep", "dog"), position=2)
    assert [(p.caption, p.start, p.end, p.regions) for p in phrases] == [(2, 0, 4, (0, 2)), (2, 11, 16, (1,))]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("sky-other-merged", "sky"),
        ("door-stuff", "door"),
        ("wall-brick", "brick wall"),
        ("grass-merged", "grass"),
        ("floor-wood", "wood floor"),
        ("playingfield", "playingfield"),
        ("person", "person"),
    ],
)
def test_plain_names_of_stuff(label, name):
    assert plain_class_name(label) == name


def test_stuff_is_found_by_what_captions_call_it():
    assert linked("Clouds over a grassy field.", "sky-other-merged", "grass-merged") == {
        "Clouds": ["sky-other-merged"],
        "grassy field": ["grass-merged"],
    }
    assert linked("A brick wall.", "wall-brick", "wall-wood") == {"brick wall": ["wall-brick"]}
    assert linked("A wall.", "wall-brick", "wall-other-merged") == {"wall": ["wall-brick", "wall-other-merged"]}
    assert linked("A dining table.", "dining table", "table-merged") == {"dining table": ["dining table"]}


def test_orange_is_a_fruit_or_a_colour():
    assert linked("An orange cat.", "orange", "cat") == {"cat": ["cat"]}
    assert linked("Orange and white cats.", "orange") == {}
    assert linked("An orange and a banana.", "orange") == {"orange": ["orange"]}
    assert linked("Oranges in a bowl, one orange", "orange") == {"Oranges": ["orange"], "orange": ["orange"]}


def test_labels_that_are_not_cocos():
    assert linked("Two kites above a lighthouse.", "lighthouse", "kite") == {
        "kites": ["kite"],
        "lighthouse": ["lighthouse"],
    }
    assert linked("The women", "woman", "man") == {"women": ["woman"]}


def test_every_class_is_found_by_its_own_name_and_its_plural():
    for label in (*COCO_THINGS, *COCO_PANOPTIC_STUFF):
        for caption in (f"the {plain_class_name(label)}", f"the {plural(plain_class_name(label))}"):
            assert label in [name for *_, names in find_class_names(caption, [label]) for name in names], (
                label,
                caption,
            )
        assert all(term for term in terms(label))


def test_phrases_fit_their_picture():
    caption, there = "A man\u2028with dogs.", regions("dog", "person")
    picture = Picture("a", lambda: None, captions=(caption,), regions=there, phrases=link(caption, there))
    assert [p.regions for p in picture.phrases] == [(1,), (0,)]
