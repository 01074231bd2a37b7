import pytest

from segue.data.later import LaterPictures, names_of
from segue.types import Picture


def test_pictures_are_made_when_they_are_asked_for():
    asked = []
    known = Picture("b", list, captions=("made before",))
    later = LaterPictures("abcd", lambda at: asked.append(at) or Picture("abcd"[at], list), {1: known})
    assert (len(later), names_of(later), asked) == (4, "abcd", [])
    assert later[-1].name == "d"
    assert later[1] is known
    assert asked == [3]
    assert [one.name for one in later] == [*"abcd"]
    assert [one.name for one in later[1:3]] == ["b", "c"]
    assert [one.name for one in reversed(later)] == [*"dcba"]
    with pytest.raises(IndexError):
        later[4]


def test_names_of_pictures_that_are_there():
    assert names_of([Picture("a", list), Picture("b", list)]) == ["a", "b"]
