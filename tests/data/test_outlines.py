import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data import rle
from segue.data.outlines import Outlines, PolygonMask, is_empty, read_outlines
from segue.types import RLE

NUMBERS = st.floats(-12, 24) | st.integers(-1200, 2400).map(lambda n: n / 100) | st.integers(-12, 24)
POLYGONS = st.lists(st.lists(NUMBERS, min_size=3, max_size=8).map(lambda xs: xs + xs[::-1]), min_size=1, max_size=3)
SQUARE = [[2, 1, 9, 1, 9, 7, 2, 7]]


def outlines(*masks, size=(8, 12)):
    return read_outlines(masks, np.tile(np.array(size), (len(masks), 1)))


def mask_of(found, at=0, size=(8, 12)):
    return PolygonMask(size, found, at, bool(found.filled[at]))


def drawn(masks, size=(8, 12)):
    return rle.from_polygons(masks, size, "")


@given(st.lists(POLYGONS, min_size=1, max_size=4))
def test_they_are_drawn_as_the_polygons_of_the_file(masks):
    found = outlines(*masks)
    assert [mask_of(found, at) for at in range(len(masks))] == drawn(masks)


@given(
    st.lists(
        st.lists(st.lists(st.floats(-30, 70), min_size=6, max_size=6), min_size=1, max_size=2)
        | st.tuples(st.floats(-5, 30), st.floats(-5, 30), st.floats(0, 6), st.floats(0, 6)).map(
            lambda box: [[box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3]]]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_surely_filled_has_a_pixel(masks):
    found = outlines(*masks, size=(40, 35))
    for code, filled, at in zip(drawn(masks, (40, 35)), found.filled, range(len(masks)), strict=True):
        assert rle.area(code) > 0 or not filled
        assert is_empty(mask_of(found, at, (40, 35))) == (rle.area(code) == 0)


def test_a_thick_mask_is_not_drawn_to_know_that_it_has_pixels(monkeypatch):
    traced_twice, thin = [SQUARE[0] * 2], [[2, 1, 9, 1, 9, 1.1, 2, 1.1]]
    found = outlines(SQUARE, traced_twice, thin, [*thin, *SQUARE])
    assert found.filled.tolist() == [True, False, False, True]
    masks = [mask_of(found, at) for at in range(4)]
    assert [is_empty(mask) for mask in masks] == [False, True, True, False]
    monkeypatch.setattr(rle, "area", None)
    assert not is_empty(masks[0])


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([1, 2.25, 3.5], "u2"),
        ([655.35, 2, 3], "u2"),
        ([655.36, 2, 3], "i4"),
        ([-0.01, 2, 3], "i4"),
        ([1 / 3, 2, 3], "f8"),
    ],
)
def test_hundredths_are_kept_as_whole_numbers(numbers, kind):
    found = outlines([numbers * 2], size=(800, 800))
    assert found.numbers.dtype == kind
    assert [one.tolist() for one in found.polygons(0)] == [numbers * 2]


def test_masks_without_polygons_are_between_others():
    found = outlines((), SQUARE, (), [*SQUARE, *SQUARE])
    assert [len(found.polygons(at)) for at in range(4)] == [0, 1, 0, 2]
    assert found.filled.tolist() == [False, True, False, True]
    assert len(outlines((), ()).numbers) == 0


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 1, 5, 1]],
        [[1, 1, 5, 1, 5, 5, 6]],
        [[]],
        [[1, 1, 5, 1, 5, "5"]],
        [[1, 1, 5, 1, 5, None]],
        [[1, 1, 5, 1, 5, float("nan")]],
        [[1, 1, 5, 1, 5, 25]],
        [[1, 1, 5, 1, 5, 2**2000]],
        [[[1, 1], [5, 1], [5, 5], [1, 1], [5, 1], [5, 5]]],
        ["111111"],
        [3],
    ],
)
def test_what_cannot_be_drawn_is_refused(mask):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        outlines(SQUARE, mask)


def test_a_mask_is_as_good_as_its_run_lengths():
    mask, (code,) = mask_of(outlines(SQUARE)), drawn([SQUARE])
    assert mask == code
    assert code == mask
    assert mask != RLE((8, 12), b"")
    assert mask != 3
    assert {mask, code} == {code}
    assert rle.decode(mask).sum() == rle.area(code)
    again = pickle.loads(pickle.dumps(mask))
    assert (type(again), again) == (RLE, code)


def test_the_columns_can_be_pickled():
    found = pickle.loads(pickle.dumps(outlines(SQUARE)))
    assert isinstance(found, Outlines)
    assert mask_of(found) == drawn([SQUARE])[0]
