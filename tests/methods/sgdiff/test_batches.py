from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.sgdiff.toys import EXAMPLES, LEXICON, SIDE, TINY, rngs, toy_batch, toy_example
from segue.data import rle
from segue.methods.sgdiff.batches import Example, collate, pack_graph
from segue.methods.sgdiff.graph import SceneGraph, graph_of
from segue.methods.sgdiff.lexicon import END, UNKNOWN, Lexicon, lexicon_of, word_spans
from segue.types import InputError, Phrase, Picture, Region, Relation


@given(st.lists(st.sampled_from(LEXICON.words), max_size=9))
def test_captions_come_back_from_their_numbers(words):
    caption = " ".join(words)
    text, spans = LEXICON.text(LEXICON.numbers(caption, 10))
    assert text == caption
    assert [text[a:b] for a, b in spans] == words


def test_lexicon_numbers():
    lexicon = Lexicon(("a", "dog"), ("dog",), ("on",))
    assert lexicon.size == 4
    assert lexicon.numbers("A dog, a zebra!", 6) == [2, 3, 2, UNKNOWN, END, END]
    assert lexicon.numbers("a dog a dog", 2) == [2, 3]
    assert (lexicon.class_number("dog"), lexicon.class_number("cat")) == (1, 0)
    assert (lexicon.predicate_number("on"), lexicon.predicate_number("under")) == (1, 0)
    assert lexicon.text([2, UNKNOWN, 0, 3])[0] == "a [unknown]"
    assert lexicon.known(["a dog"]) == [2, 3]
    with pytest.raises(InputError, match="zebra is outside the model's 2 words"):
        lexicon.known(["zebra"])
    with pytest.raises(InputError, match="name each once"):
        Lexicon(("a", "a"), ("dog",))


def test_a_lexicon_does_not_depend_on_the_order_of_pictures():
    pictures = [e.picture for e in EXAMPLES]
    assert lexicon_of(pictures) == lexicon_of(pictures[::-1])
    assert "red" not in lexicon_of(pictures[2:]).words
    assert lexicon_of(pictures, min_count=7).words == ("a", "square")


def test_words_of_any_script_with_their_places():
    assert word_spans("Ein Café-Haus, l'été 3") == [
        ("ein", 0, 3),
        ("café-haus", 4, 13),
        ("l'été", 15, 20),
        ("3", 21, 22),
    ]


def test_targets_of_a_caption_told_from_the_right():
    example = toy_example()
    right = replace(example.picture, phrases=example.picture.phrases[2:])  # only the second caption has phrases
    batch = collate([Example(example.image, right)], LEXICON, TINY, rngs(1), "first")
    assert LEXICON.text(batch["ids"][0].tolist())[0] == "a blue circle right of a red square"
    assert batch["prompt"].tolist() == [0]
    assert batch["classes"][0].tolist() == [LEXICON.class_number("circle"), LEXICON.class_number("square")]
    assert batch["order"].tolist() == [[0, 1]]
    assert batch["relevant"].tolist() == [[True, True]]
    assert batch["tags"][0].tolist() == [1, 2, 2, 0, 0, 1, 2, 2, 0, 0]
    assert batch["pairs"][0].long().tolist() == [[1, 1, 1] + [0] * 7, [0] * 5 + [1, 1, 1, 0, 0]]
    truth = rle.decode(right.regions[1].mask)
    assert float(batch["masks"][0, 0].sum()) * 4 == pytest.approx(truth.sum())
    assert batch["known"].all()
    assert batch["edges"][0].tolist() == [[1, 1, 0], [0, 2, 1]]


def test_batches_can_be_made_again():
    first, again = toy_batch(seed=3, prompt="any"), toy_batch(seed=3, prompt="any")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_any_prompt_is_any_of_the_named():
    prompts = {int(toy_batch(seed=s, examples=EXAMPLES[:1], prompt="any")["classes"][0, 0]) for s in range(20)}
    assert prompts == {1, 2}


def test_things_named_together_are_ordered_from_left_to_right_and_twice_named_once():
    image = np.zeros((20, 60, 3), np.uint8)
    regions = tuple(Region("square", (float(x), 2.0, 6.0, 6.0)) for x in (40, 0, 20))
    phrases = (Phrase(0, 0, 8, (0, 1)), Phrase(0, 9, 12, (2, 0)))
    picture = Picture("p", lambda: image, captions=("a square red",), regions=regions, phrases=phrases)
    batch = collate([Example(image, picture)], LEXICON, TINY, rngs(1), "first")
    order = dict(zip((batch["boxes"][0, :, 0] * 60).round().int().tolist(), batch["order"][0].tolist(), strict=True))
    assert order == {0: 0, 40: 1, 20: 2}
    assert not batch["known"].any()


def test_a_detectors_graph_takes_its_truth_from_the_regions_it_covers():
    example = toy_example()
    boxes = np.array([r.box for r in example.picture.regions] + [(0, 0, 4, 4)], np.float32)
    boxes[:2] += np.float32(0.5)
    relations = tuple(Relation(a, "left of", b) for a in range(3) for b in range(3))
    graph = SceneGraph(("square", "circle", "square"), boxes, relations, (SIDE, SIDE))
    batch = collate([Example(example.image, example.picture, graph)], LEXICON, TINY, rngs(1), "first")
    assert sorted(batch["relevant"][0].tolist()) == [False, True, True]
    assert int(batch["known"].sum()) == 2
    assert batch["order"][0].max() == TINY.places


def test_captions_without_phrases_are_learned_without_their_ties():
    picture = replace(toy_example().picture, phrases=())
    batch = collate([Example(toy_example().image, picture)], LEXICON, TINY, rngs(1))
    assert not batch["tagged"].any()
    assert not batch["relevant"].any()
    assert (batch["ids"] != 0).any()


def test_padding_is_told_apart():
    lone = replace(toy_example().picture, regions=toy_example().picture.regions[:1], relations=(), phrases=())
    batch = collate([EXAMPLES[0], Example(toy_example().image, lone)], LEXICON, TINY, rngs(2))
    assert batch["nodes"].tolist() == [[True, True], [True, False]]
    assert batch["linked"].tolist() == [[True, True], [False, False]]


def test_edges_and_nodes_keep_to_their_limits():
    graph, _ = graph_of(toy_example().picture, (SIDE, SIDE))
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
        collate([Example(example.image, replace(example.picture, captions=(), phrases=()))], LEXICON, TINY, rngs(1))
    with pytest.raises(InputError, match="expected 'first'"):
        collate([example], LEXICON, TINY, rngs(1), "last")
    with pytest.raises(InputError, match="features are 0 numbers, the model was built for 7"):
        collate([example], LEXICON, replace(TINY, feature_width=7), rngs(1))
