import numpy as np
import pytest

from methods.sgdiff.toys import SIDE, toy_example
from segue.methods.sgdiff.graph import (
    SPATIAL,
    SceneGraph,
    build_graph,
    check_box,
    coarse_subgraph,
    find_prompt_node,
    spatial_relations,
)
from segue.types import InputError, Picture, Region, Relation


def graph(boxes, labels=None, relations=(), size=(100, 80), **more):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return SceneGraph(tuple(labels or ["thing"] * len(boxes)), boxes, tuple(relations), size, **more)


ROW = [(i * 10.0, 10.0, 8.0, 8.0) for i in range(6)]


def test_graph_of_a_picture_leaves_out_crowds_and_boxes_that_show_nothing():
    regions = (
        Region("dog", (0, 0, 5, 5)),
        Region("people", (0, 0, 9, 9), crowd=True),
        Region("cat", (5, 5, 0, 3)),
        Region("sky", (0, 0, 9, 4), thing=False),
        Region("bird", (20, 0, 3, 3)),
    )
    relations = (Relation(0, "on", 3), Relation(1, "near", 0), Relation(0, "near", 4))
    picture = Picture("p", lambda: np.zeros((9, 9, 3), np.uint8), regions=regions, relations=relations)
    made, kept = build_graph(picture, (9, 9))
    assert made.labels == ("dog", "sky")
    assert kept == [0, 3]
    assert made.relations == (Relation(0, "on", 1),)
    assert made.stuff.tolist() == [False, True]


def test_a_picture_without_relations_gets_spatial_ones():
    example = toy_example()
    picture = Picture("p", example.picture.load, regions=example.picture.regions)
    made, _ = build_graph(picture, (SIDE, SIDE))
    assert made.relations == (Relation(0, "left of", 1),)


@pytest.mark.parametrize(
    ("a", "b", "predicate"),
    [
        ((0, 0, 4, 4), (20, 1, 4, 4), "left of"),
        ((20, 0, 4, 4), (0, 1, 4, 4), "right of"),
        ((0, 0, 4, 4), (1, 20, 4, 4), "above"),
        ((0, 20, 4, 4), (1, 0, 4, 4), "below"),
        ((2, 2, 2, 2), (0, 0, 9, 9), "inside"),
        ((0, 0, 9, 9), (2, 2, 2, 2), "around"),
        ((0, 0, 10, 10), (5, 0, 10, 10), "overlapping"),
        ((10, 0, 10, 2), (0, 3, 40, 2), "left of"),  # by their centres
        ((0, 3, 40, 2), (10, 0, 10, 2), "right of"),
        ((0, 10, 2, 10), (3, 0, 2, 40), "above"),
        ((3, 0, 2, 40), (0, 10, 2, 10), "below"),
    ],
)
def test_spatial_predicates(a, b, predicate):
    assert predicate in SPATIAL
    assert spatial_relations(np.array([a, b], np.float32)) == [Relation(0, predicate, 1)]


def test_a_lone_node_has_no_relations():
    assert spatial_relations(np.array([(0, 0, 4, 4)], np.float32)) == []


def test_bad_graphs_are_refused():
    with pytest.raises(InputError, match="without any object"):
        graph([])
    with pytest.raises(InputError, match=r"dangling edge .* there are 6 nodes"):
        graph(ROW, relations=[Relation(0, "on", 6)])
    with pytest.raises(InputError, match="dangling edge"):
        graph(ROW, relations=[Relation(-1, "on", 2)])
    with pytest.raises(InputError, match=r"node 1 \(thing\) has the box"):
        graph([(0, 0, 5, 5), (1, 1, 0, 5)])
    with pytest.raises(InputError, match="node 0"):
        graph([(0, 0, np.nan, 5)])
    with pytest.raises(InputError, match="features of shape"):
        graph(ROW, features=np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="stuff of shape"):
        graph(ROW, stuff=np.zeros(2, np.bool_))
    with pytest.raises(InputError, match="without any object"):
        build_graph(Picture("p", lambda: np.zeros((9, 9, 3), np.uint8)), (9, 9))


def test_the_prompts_node_is_the_best_or_else_the_nearest():
    made = graph(ROW)
    assert find_prompt_node(made, (21, 10, 8, 8)) == 2
    assert find_prompt_node(made, (30, 40, 4, 4)) == 3


def test_coarse_subgraph_takes_class_neighbours_and_stuff():
    labels = ["dog", "cat", "dog", "bird", "sky", "car"]
    stuff = np.array([False] * 4 + [True, False])
    edges = [Relation(0, "near", 3), Relation(1, "on", 0), Relation(3, "near", 5)]
    made = graph(ROW, labels, edges, stuff=stuff)
    assert coarse_subgraph(made, 0, 24) == [0, 2, 1, 3, 4]
    assert coarse_subgraph(made, 0, 3) == [0, 2, 1]


def test_a_cycle_and_loops_are_fine():
    edges = [Relation(0, "a", 1), Relation(1, "a", 2), Relation(2, "a", 0), Relation(0, "a", 0)]
    made = graph(ROW[:3], ["x", "y", "z"], edges)
    assert coarse_subgraph(made, 0, 24) == [0, 1, 2]


def test_five_hundred_nodes_are_cut_to_the_nearest():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 70, (500, 2)), np.full((500, 2), 4.0)], 1)
    made = graph(boxes, relations=spatial_relations(boxes.astype(np.float32)))
    nodes = coarse_subgraph(made, 7, 24)
    assert nodes[0] == 7
    assert len(nodes) == len(set(nodes)) == 24
    away = np.linalg.norm(boxes[:, :2] - boxes[7, :2], axis=1)
    assert sorted(nodes) == sorted(np.argsort(away)[:24].tolist())


def test_a_crowd_of_one_class_leaves_room_for_the_others():
    boxes = np.array([[i, 10, 4, 4] for i in range(30)] + [[40, 10, 4, 4], [44, 10, 4, 4], [0, 30, 60, 20]], float)
    labels, stuff = ["person"] * 30 + ["ball", "dog", "grass"], np.array([False] * 32 + [True])
    made = graph(boxes, labels, [Relation(0, "near", 30), Relation(31, "near", 0)], stuff=stuff)
    assert coarse_subgraph(made, 0, 24) == [*range(21), 30, 31, 32]


def test_boxes_are_cut_to_the_picture_and_checked():
    assert check_box((-5, -5, 20, 30), (100, 80)) == (0, 0, 15, 25)
    for box, message in (
        ((10, 10, 0, 5), "an empty box"),
        ((10, 10, 5, -5), "an empty box"),
        ((200, 10, 5, 5), "outside the picture of 100x80"),
        ((-9, 10, 5, 5), "outside the picture"),
        ((1, 2, 3), "expected four numbers"),
        ((1, 2, float("nan"), 4), "expected four numbers"),
    ):
        with pytest.raises(InputError, match=message):
            check_box(box, (100, 80))
