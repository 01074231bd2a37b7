import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segue.metrics.layouts import area_divergence, best_of, boundary_f, class_f1, fidelity, relation_accuracy, satisfies
from segue.types import InputError

layouts = arrays(np.uint8, (9, 8), elements=st.sampled_from([0, 1, 2, 255]))


@given(layouts, layouts)
def test_measures_are_symmetric_and_bounded(a, b):
    for measure in (lambda a, b: class_f1(a, b, 3), lambda a, b: area_divergence(a, b, 3), boundary_f):
        value = measure(a, b)
        assert 0 <= value <= 1
        assert value == pytest.approx(measure(b, a))


@given(layouts)
def test_a_layout_is_wholly_faithful_to_itself(a):
    assert fidelity(a, a, 3).vfs == pytest.approx(1)
    assert class_f1(a, a[:, ::-1], 3) == 1
    assert area_divergence(a, a[::-1], 3) == pytest.approx(0)


def test_values_worked_out_by_hand():
    a, b = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    a[:2], b[:2] = 1, 2
    assert class_f1(a, b, 3) == pytest.approx(2 * 1 / 4)
    assert area_divergence(a, b, 3) == pytest.approx(0.5)  # half of the mass is apart
    assert boundary_f(a, b) == 1
    assert class_f1(a, np.full((4, 4), 255, np.uint8), 3) == 0


def test_relations_by_the_nearest_way_to_make_them_true():
    layout = np.zeros((20, 20), np.uint8)
    layout[2:6, 2:6], layout[12:16, 10:14], layout[2:6, 15:19] = 1, 2, 1  # two of class 1, one of class 2
    assert satisfies(layout, 1, "left of", 2)
    assert satisfies(layout, 1, "right of", 2)
    assert satisfies(layout, 1, "above", 2)
    assert not satisfies(layout, 1, "below", 2)
    assert satisfies(layout, 1, "left of", 1)
    assert not satisfies(layout, 2, "left of", 2)
    assert not satisfies(layout, 3, "left of", 2)
    assert relation_accuracy(layout, [(1, "above", 2), (1, "below", 2), (1, "holding", 2)]) == (1, 2)


def test_bad_input_is_reported():
    layout = np.zeros((4, 4), np.uint8)
    with pytest.raises(InputError, match="holds the class 3, expected 0 to 2"):
        class_f1(layout + 3, layout, 3)
    with pytest.raises(InputError, match="resize one first"):
        boundary_f(layout, layout[:2])
    with pytest.raises(InputError, match="one of left of"):
        satisfies(layout, 0, "near", 1)
    with pytest.raises(InputError, match="got 2 drawings, expected at least 4"):
        best_of([0.1, 0.2], 4)
