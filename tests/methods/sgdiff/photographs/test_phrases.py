"""Which words of a caption name which nodes."""

import numpy as np
import pytest

from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.photographs.phrases import link_phrases

GRAPH = SceneGraph(
    ("person", "dog", "person", "dog", "dog"),
    np.array([[0, 0, 10, 10], [20, 0, 8, 8], [40, 0, 20, 20], [60, 0, 4, 4], [70, 0, 6, 6]], np.float32),
    (),
    (100, 100),
)


def linked(caption, prompt=1):
    return [(caption[start:end], nodes) for start, end, nodes in link_phrases(caption, GRAPH, prompt)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a brown dog runs", [("a brown dog", (1,))]),
        ("two dogs play in the snow", [("two dogs", (1, 4))]),
        ("dogs on grass", [("dogs", (1, 4, 3))]),
        ("a man and a woman with a dog", [("a man", (2,)), ("a woman", (0,)), ("a dog", (1,))]),
        ("a group of people sit", [("a group of people", (2, 0))]),
        ("a horse in a field", []),
        ("a dog chases a dog and another dog", [("a dog", (1,)), ("a dog", (4,)), ("another dog", (3,))]),
    ],
)
def test_nouns_take_as_many_nodes_as_their_number_says(caption, expected):
    assert linked(caption) == expected


def test_the_prompts_node_comes_first():
    assert linked("a dog", prompt=3) == [("a dog", (3,))]
    assert linked("a man", prompt=0) == [("a man", (0,))]
