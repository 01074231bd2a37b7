"""Examples of relations: which are found, missed and further, on a picture with numbered boxes."""

import re

import numpy as np

from segue.data.visualize import COLOURS, number_boxes
from segue.evaluation.reports.relations import MOST, relation_examples
from segue.methods.sgdiff.graph import SceneGraph
from segue.types import Picture, Relation

IMAGE = np.full((40, 60, 3), 9, np.uint8)
BOXES = np.array([[2, 2, 20, 20], [30, 4, 10, 10], [40, 20, 15, 15]], np.float32)
TRUE = (Relation(0, "near", 1), Relation(2, "<under>", 1), Relation(1, "on", 2))


def shown(predicted, first=20):
    graph = SceneGraph(("dog", "cat", "car"), BOXES, TRUE, (60, 40))
    return relation_examples(lambda _: predicted, [(Picture("p7", lambda: IMAGE), graph)], first)


def test_relations_are_found_missed_or_further():
    html = shown([Relation(0, "near", 1), Relation(1, "below", 0), Relation(2, "<under>", 1)], first=2)
    assert "1 of 3 relations found" in html
    assert re.search(r"found: 1 dog <b>near</b> 2 cat<br>", html)
    assert "missed: 3 car <b>&lt;under&gt;</b> 2 cat; 2 cat <b>on</b> 3 car" in html
    assert "further: 2 cat <b>below</b> 1 dog" in html
    assert "1 of 1 validation pictures" in html
    assert "missed" not in shown(list(TRUE)).partition("<img")[2]


def test_a_long_list_is_cut():
    assert f"{len(BOXES) + 2} more" not in shown([])
    many = [Relation(0, f"p{i}", 1) for i in range(MOST + 4)]
    assert "; 4 more" in shown(many)


def test_boxes_are_drawn_with_their_numbers():
    drawn = number_boxes(IMAGE, BOXES, 120)
    assert drawn.shape == (80, 120, 3)
    for i, (x, y, w, h) in enumerate(BOXES * 2):
        assert tuple(drawn[int(y + h) - 1, int(x + w) - 1]) == COLOURS[i]  # the lower corner
        assert tuple(drawn[int(y) + 18, int(x)]) == COLOURS[i]  # behind the number
    assert (drawn == 9).all(-1).mean() > 0.5
