"""Fields of JSON records: what is taken, and what is refused by name."""

import math

import pytest

from segue.data.records import read_flag, read_id, read_size, read_text, to_box
from segue.types import InputError


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), (7.0, 7), ("7", 7), ("007", "007"), ("64ab", "64ab"), ("0", 0), (-1, -1), ("9" * 30, "9" * 30)],
)
def test_ids_are_numbers_however_they_are_written_or_texts(value, expected):
    assert read_id({"id": value}, "id") == expected
    assert type(read_id({"id": value}, "id")) is type(expected)


@pytest.mark.parametrize("value", [None, True, "", " ", 1.5, [1], math.nan])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(InputError, match=r"id: got .*, expected a number or a text"):
        read_id({"id": value}, "id")


def test_a_field_that_is_missing_is_named():
    assert read_id({"id": 3}, "image_id", "id") == 3
    with pytest.raises(InputError, match="no image_id nor id"):
        read_id({}, "image_id", "id")
    with pytest.raises(InputError, match=r"got \[1\], expected an object with id"):
        read_id([1], "id")


def test_null_is_never_the_word_none():
    assert read_text({"name": " dog "}, "name") == "dog"
    for value, message in ((None, "got null"), (3, "got 3"), ("", "empty"), (" \n", "empty"), ("\ud800", "half a")):
        with pytest.raises(InputError, match=f"name: got .*{message.removeprefix('got ')}"):
            read_text({"name": value}, "name")


def test_sizes_may_be_texts():
    assert read_size({"width": "12", "height": 8}) == (12, 8)
    assert read_size({}) is read_size({"width": None, "height": None}) is None
    assert read_size({"width": 12}) is None
    for width in (0, -3, "x", 1.5, math.inf):
        with pytest.raises(InputError, match="width"):
            read_size({"width": width, "height": 8})


def test_flags_may_be_texts():
    assert [read_flag({"iscrowd": v}, "iscrowd") for v in (1, True, "1", 0, "0", None)] == [True] * 3 + [False] * 3
    assert read_flag({}, "isthing", True)


@pytest.mark.parametrize(
    "values",
    [
        [],
        None,
        [1, 2, 3],
        [1, 2, 3, None],
        [math.nan, 0, 1, 1],
        [0, 0, math.inf, 1],
        "1234",
        [1, 2, 0, 3],
        [1, 2, 3, -1],
    ],
)
def test_boxes_are_four_finite_numbers_with_a_width_and_a_height(values):
    assert to_box([1, "2", 3, 4.5]) == (1, 2, 3, 4.5)
    with pytest.raises(InputError, match="bbox: got"):
        to_box(values)
