"""Captions and masks of a tiny network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.data.sentence_faults import find_faults
from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.photographs.generator import PhotoGenerator, _ground, paste
from segue.methods.sgdiff.photographs.network import MARGIN, with_margin
from segue.methods.sgdiff.photographs.reading import pack_prompts
from segue.metrics.acceptance import Acceptance
from segue.options import DescribeOptions
from segue.types import InputError
from tiny_photographs import CONFIG, tiny_network, tiny_reader

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
GRAPH = SceneGraph(("dog", "car"), np.array([[0, 0, 30, 40], [30, 10, 20, 20]], np.float32), (), (60, 40))


@pytest.fixture(scope="module")
def reader():
    return tiny_reader()


@pytest.fixture(scope="module")
def generator(reader):
    tokenizer = reader.captioner.checkpoint.tokenizer
    return PhotoGenerator(tiny_network(tokenizer), tokenizer)


def test_as_many_captions_as_asked_for_all_different_and_the_best_first(reader, generator):
    read, options = reader.read(IMAGE), DescribeOptions(num=4)
    first, second = generator.generate(read, GRAPH, [(0, 0, 30, 40), (30, 10, 20, 20)], options)
    for captions in (first, second):
        assert len({one.caption for one in captions}) == 4
        assert [one.score for one in captions] == sorted((one.score for one in captions), reverse=True)
    assert generator.generate(read, GRAPH, [(30, 10, 20, 20)], options)[0][0].caption == second[0].caption


@pytest.mark.parametrize("sampled", ["a dog by a car", "a dog of a"])
def test_a_broken_caption_of_the_search_gives_way_to_a_sound_one(reader, generator, monkeypatch, sampled):
    broken = "a dog on a a car"
    tokens = {text: generator.tokenizer.encode([text], 30)[0][0, :-1].tolist() for text in (broken, sampled)}
    monkeypatch.setattr(generator, "_search", lambda *_: [{broken: tokens[broken]}])
    monkeypatch.setattr(generator, "_decode", lambda *_: [{sampled: tokens[sampled]}])
    (captions,) = generator.captions([reader.read(IMAGE)], [GRAPH], [0], DescribeOptions(num=1))
    (best,) = [text for text, _ in captions]
    assert bool(find_faults(best)) == bool(find_faults(sampled))


def test_the_box_and_the_names_change_the_prefix(reader, generator):
    read, config = reader.read(IMAGE), generator.model.config
    packed = pack_prompts([read, read], [GRAPH, GRAPH], [0, 1], generator.tokenizer, config)
    prefix = generator.model.prefix(packed)
    assert prefix.shape == (2, config.prefix_length, config.width)
    assert not torch.allclose(prefix[0, -1], prefix[1, -1])  # the prompt's node
    renamed = pack_prompts([read], [replace(GRAPH, labels=("sheep", "car"))], [0], generator.tokenizer, config)
    assert not torch.allclose(generator.model.prefix(renamed)[0, -1], prefix[0, -1])


def test_padding_to_other_rows_changes_nothing(reader, generator):
    read, one = reader.read(IMAGE), SceneGraph(("car",), GRAPH.boxes[1:], (), (60, 40))
    alone = generator.model.prefix(pack_prompts([read], [one], [0], generator.tokenizer, CONFIG))
    both = generator.model.prefix(pack_prompts([read, read], [GRAPH, one], [0, 0], generator.tokenizer, CONFIG))
    torch.testing.assert_close(both[1:], alone)


def test_what_a_caption_names_has_a_mask(reader, generator, monkeypatch):
    monkeypatch.setattr(generator, "captions", lambda *_: [[("a dog by a car and a tree", 0.5)]])
    monkeypatch.setattr(generator.model.mask_head, "forward", lambda *_: torch.full((1, 2, 8, 8), 5.0))
    (one,) = generator.generate(reader.read(IMAGE), GRAPH, [(0, 0, 30, 40)], DescribeOptions(num=1))[0]
    assert [(g.phrase, g.label) for g in one.groundings] == [("a dog", "dog"), ("a car", "car")]
    for grounding, (x, y, w, h) in zip(one.groundings, GRAPH.boxes.astype(int), strict=True):
        assert grounding.mask[y : y + h, x : x + w].all()


def test_a_mask_is_pasted_where_its_box_and_margin_are():
    box = torch.tensor([0.25, 0.25, 0.5, 0.5])
    pasted = paste(torch.full((8, 8), 3.0), box, (100, 40)) > 0
    rows, columns = np.nonzero(pasted.numpy())
    low, high = 0.25 - MARGIN / 2, 0.75 + MARGIN / 2
    assert (columns.min(), columns.max() + 1) == pytest.approx((100 * low, 100 * high), abs=1)
    assert (rows.min(), rows.max() + 1) == pytest.approx((40 * low, 40 * high), abs=1)
    torch.testing.assert_close(with_margin(box), torch.tensor([low, low, high - low, high - low]))


@pytest.mark.parametrize("options", [DescribeOptions(length=5), DescribeOptions(include=("dog",))])
def test_what_a_decoder_word_by_word_cannot_promise_is_refused(reader, generator, options):
    with pytest.raises(InputError, match="word by word"):
        generator.generate(reader.read(IMAGE), GRAPH, [(0, 0, 30, 40)], options)


def test_the_mask_head_sees_colours_places_and_the_distance_outside_the_box(generator):
    head = generator.model.mask_head
    n, colours = head.side, torch.rand(2, 3, 3 * head.side**2)  # of two pictures with three boxes each
    found = head._places(colours, torch.rand(2, 3, 4))
    assert found.shape == (6, 6, n, n)
    torch.testing.assert_close(found[:, :3], colours.reshape(6, 3, n, n))
    at = (np.arange(n) + 0.5) / n * 2 - 1
    edge = 1 / (1 + 2 * MARGIN)  # where the box ends, -1 and 1 being the ends of its margin
    outside = np.maximum(np.maximum(abs(at)[None], abs(at)[:, None]) - edge, 0) * 4
    expected = np.stack([np.broadcast_to(at, (n, n)), np.broadcast_to(at[:, None], (n, n)), outside])
    for one in found[:, 3:]:
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-6)


def test_a_score_that_rounding_brought_above_1_is_1():
    assert _ground("a dog", 1.0000001, [], GRAPH, {}).score == 1
    assert _ground("a dog", 0.5, [], GRAPH, {}).score == 0.5


def test_a_fitted_score_is_the_probability_that_people_accept_the_caption(reader, generator):
    fitted = PhotoGenerator(generator.model, generator.tokenizer, Acceptance((2.0,), 1.0))
    read, options = reader.read(IMAGE), DescribeOptions(num=3)
    plain, ours = (one.generate(read, GRAPH, [(0, 0, 30, 40)], options)[0] for one in (generator, fitted))
    assert [one.caption for one in ours] == [one.caption for one in plain]
    expected = [1 / (1 + np.exp(-1 - 2 * np.log(max(one.score, 1e-30)))) for one in plain]
    assert [one.score for one in ours] == pytest.approx(expected)
