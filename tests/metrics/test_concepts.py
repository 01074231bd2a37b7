import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.metrics.concepts import concept_recovery
from segue.types import InputError


def test_recovery_by_hand():
    found = [["dog", "sky", "car"], ["tree"], []]
    named = [["dog"], [], ["man"]]
    omitted = [["sky", "grass"], ["tree"], ["sand"]]
    assert concept_recovery(found, named, omitted) == {
        "precision": 2 / 3, "recall": 2 / 4, "macro_recall": 2 / 4, "new": 3, "right": 2, "omitted": 4,
    }  # fmt: skip


def test_a_frequent_concept_counts_no_more_than_a_seldom_one():
    found, omitted = [["sky"]] * 4, [["sky"], ["sky"], ["sky"], ["cat"]]
    scores = concept_recovery(found, [[]] * 4, omitted)
    assert (scores["recall"], scores["macro_recall"]) == (3 / 4, 1 / 2)


def test_nothing_found_and_nothing_omitted_have_no_share():
    assert concept_recovery([["dog"]], [["dog"]], [[]])["precision"] is None
    assert concept_recovery([["dog"]], [["dog"]], [[]])["recall"] is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.sets(st.integers(0, 6).map(str))] * 2), min_size=1, max_size=6))
def test_the_truth_recovers_all_and_repeats_change_nothing(rows):
    named = [n for n, _ in rows]
    omitted = [o - n for n, o in rows]
    scores = concept_recovery(omitted, named, omitted)
    assert scores["precision"] in (None, 1)
    assert scores["recall"] in (None, 1)
    assert scores == concept_recovery([[*o, *o] for o in omitted], named, omitted)


def test_lists_of_different_lengths():
    with pytest.raises(InputError, match="1 pictures with found concepts, 2 with named"):
        concept_recovery([[]], [[], []], [[]])
