"""The candidates of a picture: what its neighbours' captions name."""

import numpy as np

from segue.methods.cocu.curation.expansion import collect_candidates
from segue.methods.cocu.vocabulary import CaptionConcepts

# pictures 0 to 3 name the concepts {1}, {}, {0, 1}, {2}
CONCEPTS = CaptionConcepts(np.array([0, 1, 1, 3, 4]), np.array([1, 0, 1, 2], np.int32))
ANCHORS, NEIGHBOURS = np.array([0, 3]), np.array([[2, 1], [2, -1]])


def test_candidates_are_the_union_of_the_neighbours_concepts():
    found = collect_candidates(ANCHORS, NEIGHBOURS, CONCEPTS)
    assert found.anchor.tolist() == [0, 0, 1, 1]
    assert found.concept.tolist() == [0, 1, 0, 1]  # the anchor's own concept 2 is named by no neighbour
    assert found.in_neighbour.tolist() == [[True, False]] * 4
    assert found.in_caption.tolist() == [False, True, False, False]


def test_each_neighbour_is_told_apart():
    found = collect_candidates(np.array([1]), np.array([[3, 0, 2]]), CONCEPTS)
    assert found.concept.tolist() == [0, 1, 2]
    assert found.in_neighbour.tolist() == [[False, False, True], [False, True, True], [True, False, False]]


def test_without_expansion_a_picture_keeps_its_own_concepts():
    found = collect_candidates(ANCHORS, np.full((2, 2), -1), CONCEPTS, expansion=False)
    assert found.anchor.tolist() == [0, 1]
    assert found.concept.tolist() == [1, 2]
    assert not found.in_neighbour.any()
    assert found.in_caption.all()


def test_without_any_concept_there_is_no_candidate():
    nothing = CaptionConcepts(np.zeros(5, int), np.array([], np.int32))
    found = collect_candidates(ANCHORS, NEIGHBOURS, nothing)
    assert len(found.anchor) == len(found.concept) == len(found.in_caption) == 0
    assert found.in_neighbour.shape == (0, 2)
