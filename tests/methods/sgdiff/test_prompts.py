import numpy as np
import pytest

from methods.sgdiff.test_graph import ROW, graph
from segue.methods.sgdiff.prompts import object_boxes, prompt_box
from segue.types import InputError


def test_prompts_become_boxes():
    made = graph([(10, 10, 40, 40), (20, 20, 5, 5)])
    assert prompt_box(made, box=(1, 2, 3, 4)) == (1, 2, 3, 4)
    assert prompt_box(made, point=(22, 22)) == (20, 20, 5, 5)
    assert prompt_box(made, point=(45, 45)) == (10, 10, 40, 40)
    assert prompt_box(made, point=(50, 10)) == (10, 10, 40, 40)  # on its edge
    assert prompt_box(made, point=(70, 70)) == (70, 70, 1, 1)
    mask = np.zeros((80, 100), np.bool_)
    mask[5:9, 30:33] = True
    assert prompt_box(made, mask=mask) == (30, 5, 3, 4)
    assert prompt_box(made, scribble=[(3, 4), (9, 6), (5, 20)]) == (3, 4, 7, 17)
    assert object_boxes(made) == [(10, 10, 40, 40), (20, 20, 5, 5)]
    assert object_boxes(graph(ROW[:2], stuff=np.array([True, False]))) == [ROW[1]]
    assert object_boxes(graph(ROW[:1], stuff=np.array([True]))) == [ROW[0]]


def test_bad_prompts_are_refused():
    made = graph(ROW)
    for options, message in (
        ({}, "got nothing, expected one of"),
        ({"box": (1, 1, 2, 2), "point": (1, 1)}, "got box, point, expected one"),
        ({"point": (1, 2, 3)}, r"point: got \(1, 2, 3\), expected x and y"),
        ({"point": 5}, "point: got 5"),
        ({"box": 5}, "box: got 5"),
        ({"box": ("a", 1, 1, 1)}, "box: got"),
        ({"scribble": [("a", "b")]}, "expected one or more points"),
        ({"scribble": [1, 2, 3, 4]}, "expected one or more points"),
        ({"point": (200, 2)}, "outside the picture"),
        ({"mask": np.zeros((80, 100), np.bool_)}, "it is empty"),
        ({"mask": np.ones((8, 10), np.bool_)}, "got 10x8 pixels, the picture has 100x80"),
        ({"scribble": []}, "expected one or more points"),
        ({"scribble": [(-9, -9), (-5, -5)]}, "outside the picture"),
    ):
        with pytest.raises(InputError, match=message):
            prompt_box(made, **options)
