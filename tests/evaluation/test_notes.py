"""Scores of a segmenter on images with notes."""

import numpy as np
import pytest

from segue.api import load_segmenter
from segue.evaluation.notes import evaluate, reverse_clauses, reword_notes, shuffle_notes, shuffle_words
from segue.options import SegmentOptions
from segue.types import Example, InputError


def test_shuffled_notes_are_the_same_notes_on_other_images():
    notes = ["a", "b", "c", "a", "d", None, "b"]
    shuffled = shuffle_notes(notes, seed=1)
    assert sorted(map(str, shuffled)) == sorted(map(str, notes))
    assert all(new != original for new, original in zip(shuffled, notes, strict=True))


def example(mask):
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    return Example(image, mask, "left lung", "a")


def test_options_reach_the_predictor_and_an_example_needs_a_mask(tiny_model):
    model = load_segmenter(tiny_model)
    truth = example(np.ones((40, 56), np.bool_))
    loose, strict = (
        evaluate(model, [truth], empty="one", options=SegmentOptions(threshold=t))["dice"] for t in (1e-6, 1 - 1e-6)
    )
    assert (loose, strict) == (1.0, 0.0)
    with pytest.raises(InputError, match="1 examples have no mask, such as a"):
        evaluate(model, [example(None)], empty="one")


def test_notes_are_said_in_other_words():
    notes = ["Bilateral pulmonary infection, two infected areas, all left lung and upper right lung.", None]
    assert reword_notes(notes) == [
        "two-sided lung opacities, 2 affected regions, the whole left lung and top right lung.",
        None,
    ]
    assert reverse_clauses(notes) == [
        "all left lung and upper right lung, two infected areas, Bilateral pulmonary infection.",
        None,
    ]
    [mixed, none] = shuffle_words(notes, seed=1)
    assert none is None
    assert mixed != notes[0]
    assert sorted(mixed.split()) == sorted(notes[0].split())
