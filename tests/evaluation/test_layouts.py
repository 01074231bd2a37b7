"""Scores of layouts and their captions, on drawings and captions made by hand."""

import numpy as np
import pytest

from layout_examples import CAPTION, DOG, EXAMPLES, LEFT, RIGHT, layout
from segue.evaluation.layouts import (
    score_best_of,
    score_caption_cycle,
    score_drawing,
    score_layout_captions,
    score_layout_cycle,
)
from segue.metrics import java
from segue.synthetic.scenes.scene import CLASSES


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """METEOR's Java takes seconds to start; it is tested by itself."""
    monkeypatch.setattr(java, "meteor", lambda said, truth: (0.5, np.full(len(said), 0.5)))


def test_a_drawing_is_scored_by_truth_and_by_caption():
    def draw_as(first):
        return lambda captions, images, seed: [layout() if "field" in c else first for c in captions]

    good, wrong = (score_drawing(draw_as(one), EXAMPLES, [], CLASSES) for one in (LEFT, RIGHT))
    assert good["miou"] == good["vfs"] == good["named_recall"] == good["relation_accuracy"] == 1
    assert wrong["relation_accuracy"] == 0
    assert wrong["class_f1"] == wrong["named_recall"] == 1
    assert wrong["miou"] < 1


def test_best_of_more_is_no_worse():
    drawn = [RIGHT, layout(), LEFT, RIGHT]
    best = score_best_of(lambda c, i, seed: [drawn[seed // 1000]] * len(c), EXAMPLES[:1], len(CLASSES), (1, 4))
    assert best["miou_best_4"] == 1
    assert best["miou_best_1"] < 1


def test_captions_of_layouts_are_scored_against_all_captions():
    same = score_layout_captions(lambda layouts, images: [CAPTION, "a field"], EXAMPLES)
    other = score_layout_captions(lambda layouts, images: ["a cat", "a cat"], EXAMPLES)
    assert same["bleu4"] > 0.5 > other["bleu4"]
    assert same["cider"] > other["cider"]


def test_cycles_measure_what_is_consistent():
    def keep(captions, images, seed):
        return [LEFT if "dog" in c else layout() for c in captions]

    def describe(layouts, images):
        return [CAPTION if (one == DOG).any() else "a field" for one in layouts]

    assert set(score_caption_cycle(keep, describe, EXAMPLES, CLASSES).values()) == {1.0}
    assert set(score_layout_cycle(keep, describe, EXAMPLES, CLASSES).values()) == {1.0}

    def swapped(layouts, images):
        return ["a car to the right of a dog"] * len(layouts)

    assert (
        score_caption_cycle(keep, swapped, EXAMPLES[:1], CLASSES)["relation_recall"] == 1
    )  # the same, as the car has it
    assert (
        score_caption_cycle(lambda c, i, s: [RIGHT] * len(c), describe, EXAMPLES[:1], CLASSES)["relation_accuracy"] == 0
    )
