"""Objects that touch are told apart at their necks, whatever their size."""

import numpy as np
import pytest

from segue.data.instances import split_touching
from segue.types import InputError, Segmentation

Y, X = np.mgrid[:120, :160]


def ellipse(y, x, a, b, angle=0.0):
    u, v = (Y - y) * np.cos(angle) + (X - x) * np.sin(angle), (X - x) * np.cos(angle) - (Y - y) * np.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


@pytest.mark.parametrize("radius", [4, 9, 20])
@pytest.mark.parametrize(("apart", "count"), [(0.5, 1), (1.5, 2), (1.9, 2), (2.5, 2)])
def test_two_discs_are_two_unless_they_overlap_by_half(radius, apart, count):
    first, second = ellipse(60, 50, radius, radius), ellipse(60, 50 + round(apart * radius), radius, radius)
    numbers = split_touching(first | second)
    assert numbers.max() == count
    assert np.array_equal(numbers > 0, first | second)
    if count == 2:  # each keeps what the other has no part in, the left one is met first
        assert (numbers[first & ~second] == numbers[60, 50]).mean() > 0.95
        assert (numbers[second & ~first] == numbers[60, 50 + round(apart * radius)]).mean() > 0.95


@pytest.mark.parametrize("axes", [(2, 3), (5, 9), (8, 24), (15, 60)])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8])
def test_an_oval_is_one(axes, angle):
    assert split_touching(ellipse(60, 80, *axes, angle)).max() == 1


def test_a_row_of_touching_discs_is_numbered_from_the_top():
    mask = np.logical_or.reduce([ellipse(15 + 18 * i, 80, 10, 10) for i in range(5)])
    numbers = split_touching(mask)
    assert [int(numbers[15 + 18 * i, 80]) for i in range(5)] == [1, 2, 3, 4, 5]


def test_objects_at_the_edge_single_pixels_and_nothing():
    mask = np.zeros((9, 9), bool)
    assert split_touching(mask).max() == 0
    mask[0, 0] = mask[8, 8] = mask[4, 4:6] = True
    assert split_touching(mask).max() == 3
    assert split_touching(np.ones((9, 9), bool)).max() == 1
    with pytest.raises(InputError, match=r"expected an \(H, W\) bool array"):
        split_touching(mask.astype(float))


def test_a_segmentation_has_its_instances():
    probability = np.where(ellipse(60, 40, 9, 9) | ellipse(60, 55, 9, 9), 0.9, 0.1).astype(np.float32)
    numbers = Segmentation(probability).instances
    assert (numbers.dtype, numbers.shape, int(numbers.max())) == (np.int32, (120, 160), 2)
