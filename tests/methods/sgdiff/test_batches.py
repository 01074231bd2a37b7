from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.sgdiff.toys import EXAMPLES, LEXICON, SIDE, TINY, rngs, toy_batch, toy_example
from segue.data import rle
from segue.methods.sgdiff.batches import TrainingExample, _caption_targets, collate, pack_graph
from segue.methods.sgdiff.graph import SceneGraph, build_graph
from segue.types import InputError, Phrase, Picture, Region, Relation


def test_targets_of_a_caption_from_the_right():
    example = toy_example()
    right = replace(example.picture, phrases=example.picture.phrases[2:])  # only the second caption has phrases
    batch = collate([TrainingExample(example.image, right)], LEXICON, TINY, rngs(1), "first")
    assert LEXICON.decode(batch["token_ids"][0].tolist())[0] == "a blue circle right of a red square"
    assert batch["prompt_node"].tolist() == [0]
    assert batch["class_ids"][0].tolist() == [LEXICON.class_id("circle"), LEXICON.class_id("square")]
    assert batch["ranks"].tolist() == [[0, 1]]
    assert batch["relevant"].tolist() == [[True, True]]
    assert batch["tags"][0].tolist() == [1, 2, 2, 0, 0, 1, 2, 2, 0, 0]
    assert batch["grounding"][0].long().tolist() == [[1, 1, 1] + [0] * 7, [0] * 5 + [1, 1, 1, 0, 0]]
    truth = rle.decode(right.regions[1].mask)
    assert float(batch["masks"][0, 0].sum()) * 4 == pytest.approx(truth.sum())
    assert batch["mask_known"].all()
    assert batch["edges"][0].tolist() == [[1, 1, 0], [0, 2, 1]]


def test_batches_can_be_made_again():
    first, again = toy_batch(seed=3, prompt="any"), toy_batch(seed=3, prompt="any")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_any_prompt_is_any_of_the_named():
    prompts = {int(toy_batch(seed=s, examples=EXAMPLES[:1], prompt="any")["class_ids"][0, 0]) for s in range(20)}
    assert prompts == {1, 2}


def test_things_named_together_are_ordered_from_left_to_right_and_twice_named_once():
    image = np.zeros((20, 60, 3), np.uint8)
    regions = tuple(Region("square", (float(x), 2.0, 6.0, 6.0)) for x in (40, 0, 20))
    phrases = (Phrase(0, 0, 8, (0, 1)), Phrase(0, 9, 12, (2, 0)))
    picture = Picture("p", lambda: image, captions=("a square red",), regions=regions, phrases=phrases)
    batch = collate([TrainingExample(image, picture)], LEXICON, TINY, rngs(1), "first")
    order = dict(zip((batch["boxes"][0, :, 0] * 60).round().int().tolist(), batch["ranks"][0].tolist(), strict=True))
    assert order == {0: 0, 40: 1, 20: 2}
    assert not batch["mask_known"].any()


def test_a_detectors_graph_takes_its_truth_from_the_regions_it_covers():
    example = toy_example()
    boxes = np.array([r.box for r in example.picture.regions] + [(0, 0, 4, 4)], np.float32)
    boxes[:2] += np.float32(0.5)
    relations = tuple(Relation(a, "left of", b) for a in range(3) for b in range(3))
    graph = SceneGraph(("square", "circle", "square"), boxes, relations, (SIDE, SIDE))
    batch = collate([TrainingExample(example.image, example.picture, graph)], LEXICON, TINY, rngs(1), "first")
    assert sorted(batch["relevant"][0].tolist()) == [False, True, True]
    assert int(batch["mask_known"].sum()) == 2
    assert batch["ranks"][0].max() == TINY.max_ranked


def test_captions_without_phrases_are_learned_without_their_groundings():
    picture = replace(toy_example().picture, phrases=())
    batch = collate([TrainingExample(toy_example().image, picture)], LEXICON, TINY, rngs(1))
    assert not batch["has_phrases"].any()
    assert not batch["relevant"].any()
    assert (batch["token_ids"] != 0).any()


def test_padding_is_masked():
    lone = replace(toy_example().picture, regions=toy_example().picture.regions[:1], relations=(), phrases=())
    batch = collate([EXAMPLES[0], TrainingExample(toy_example().image, lone)], LEXICON, TINY, rngs(2))
    assert batch["node_mask"].tolist() == [[True, True], [True, False]]
    assert batch["edge_mask"].tolist() == [[True, True], [False, False]]


def test_edges_and_nodes_keep_to_their_limits():
    graph, _ = build_graph(toy_example().picture, (SIDE, SIDE))
    packed = pack_graph(graph, [1, 0], LEXICON, replace(TINY, max_edges=1))
    assert packed["edges"].tolist() == [[1, 1, 0]]
    assert pack_graph(graph, [1], LEXICON, TINY)["edges"].shape == (0, 3)


def test_of_too_many_edges_the_prompts_own_stay():
    others = [Relation(i, "left of", i + 1) for i in range(1, 6)]
    boxes = np.array([[4 * i, 4, 4, 4] for i in range(7)], np.float32)
    graph = SceneGraph(("square",) * 7, boxes, (*others, Relation(6, "right of", 0)), (SIDE, SIDE))
    for most in (1, 3):
        packed = pack_graph(graph, range(7), LEXICON, replace(TINY, max_edges=most))
        assert packed["edges"][:, [0, 2]].tolist() == [[6, 0], [1, 2], [2, 3]][:most]


def test_bad_examples_are_refused():
    example = toy_example()
    with pytest.raises(InputError, match="no caption to learn from"):
        collate(
            [TrainingExample(example.image, replace(example.picture, captions=(), phrases=()))], LEXICON, TINY, rngs(1)
        )
    with pytest.raises(InputError, match="expected 'first'"):
        collate([example], LEXICON, TINY, rngs(1), "last")
    with pytest.raises(InputError, match="features are 0 numbers, the model was built for 7"):
        collate([example], LEXICON, replace(TINY, feature_width=7), rngs(1))


def test_a_word_that_ends_where_a_phrase_begins_is_outside():
    phrase = Phrase(0, 1, 13, (0,))  # with the space before it
    found = _caption_targets("a red square right", [phrase], [0, None], LEXICON, 5)
    assert found["tags"].tolist() == [0, 1, 2, 0, 0]
    assert found["grounding"].tolist() == [[False, True, True, False, False], [False] * 5]
