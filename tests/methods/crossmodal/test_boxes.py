"""Boxes of layouts, their tokens and picture, and the decoder that draws them from captions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.methods.crossmodal.boxes import (
    END,
    PAD,
    BoxConfig,
    BoxDecoder,
    bands_first,
    box_tokens,
    boxes_of_tokens,
    draw_boxes,
    layout_boxes,
    mirrored_boxes,
    paint_boxes,
    words_in_context,
)
from segue.options import Decoding
from segue.types import InputError

TINY = BoxConfig(classes=5, bins=8, vocabulary=20, max_words=8, max_boxes=4, width=32, heads=4, depth=2)
SEARCH = Decoding(max_tokens=TINY.max_tokens)


def scene():
    """Sky over grass, a dog on both, and a single pixel of another class."""
    labels = np.zeros((32, 32), np.uint8)
    labels[16:] = 1
    labels[12:24, 8:16] = 2
    labels[0, 0] = 4
    return labels


def decoder():
    torch.manual_seed(0)
    return BoxDecoder(TINY).eval()


def captions(n=3):
    ids = torch.randint(3, 20, (n, 8), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[:, 5], ids[:, 6:] = 1, 1, 0
    return ids


def test_the_parts_of_a_layout_get_boxes_the_largest_first_and_specks_none():
    boxes = layout_boxes(scene(), 8, 4)
    assert boxes.tolist() == [[0, 0, 0, 8, 4], [1, 0, 4, 8, 8], [2, 2, 3, 4, 6]]
    assert layout_boxes(scene(), 8, 2).tolist() == boxes[:2].tolist()
    assert layout_boxes(np.full((8, 8), 255, np.uint8), 8, 4).shape == (0, 5)


def test_a_class_has_a_box_for_each_of_its_parts():
    labels = np.zeros((16, 16), np.uint8)
    labels[4:8, 0:4] = labels[4:8, 10:16] = 3
    assert [box[0] for box in layout_boxes(labels, 8, 4).tolist()] == [0, 3, 3]


def test_a_thin_part_s_box_is_not_empty():
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 63] = 2
    kind, left, top, right, bottom = layout_boxes(labels, 8, 4)[1].tolist()
    assert (kind, left, right, top, bottom) == (2, 7, 8, 0, 8)


def test_tokens_and_back():
    boxes = layout_boxes(scene(), 8, 4)
    tokens = box_tokens(boxes, TINY)
    assert tokens.shape == (TINY.max_tokens + 2,)
    assert tokens[0] == END
    assert tokens[16] == END
    assert (tokens[17:] == PAD).all()
    assert (boxes_of_tokens(tokens[1:16].tolist(), TINY) == boxes).all()
    assert boxes_of_tokens([], TINY).shape == (0, 5)


def test_later_boxes_lie_over_earlier_ones():
    painted = paint_boxes(layout_boxes(scene(), 8, 4), 8)
    assert painted[0].tolist() == [0] * 8
    assert painted[3].tolist() == [0, 0, 2, 2, 0, 0, 0, 0]
    assert (paint_boxes(np.empty((0, 5), np.int64), 8) == 255).all()


@pytest.mark.parametrize("options", [SEARCH, Decoding(top_p=1.0, temperature=5.0, max_tokens=TINY.max_tokens)])
def test_whatever_is_drawn_is_a_list_of_boxes(options):
    model = decoder()
    with torch.no_grad():
        model.head.bias[END] = -4
    for boxes, score in draw_boxes(model, captions(), options, [1, 2, 3]):
        assert score < 0
        assert 1 <= len(boxes) <= TINY.max_boxes
        kind, left, top, right, bottom = boxes.T
        assert ((kind >= 0) & (kind < 5)).all()
        assert ((left >= 0) & (left < right) & (right <= 8) & (top >= 0) & (top < bottom) & (bottom <= 8)).all()


def test_as_many_boxes_are_drawn_as_are_asked_for():
    model, hot = decoder(), Decoding(top_p=1.0, temperature=5.0, max_tokens=TINY.max_tokens)
    asked = [[((2,), (2, 2)), ((0, 1), (1, np.inf))], [], [((3,), (0, 0)), ((4,), (1, 1))]]
    with torch.no_grad():
        model.head.bias[END] = 20
    for seed in range(4):
        both, none, one = (
            each.boxes[:, 0].tolist() for each in draw_boxes(model, captions(), hot, [seed, seed, seed], asked)
        )
        assert both.count(2) == 2
        assert set(both) & {0, 1}
        assert none == []
        assert one == [4]
    (alone,) = draw_boxes(model, captions()[:1], hot, [0], asked[:1])
    assert (alone.boxes == draw_boxes(model, captions(), hot, [0, 0, 0], asked)[0].boxes).all()


def test_more_than_there_is_room_for_ends_where_the_room_does():
    asked = [[((2,), (9, 9))]]
    (drawn,) = draw_boxes(decoder(), captions(1), Decoding(top_p=1.0, max_tokens=TINY.max_tokens), [0], asked)
    assert len(drawn.boxes) == TINY.max_boxes


def test_bands_lie_behind_what_they_come_after():
    truck, grass = [2, 2, 1, 7, 6], [1, 0, 3, 8, 4]
    boxes = np.array([[0, 0, 0, 8, 8], truck, grass])
    assert (paint_boxes(boxes, 8)[3] == 1).all()
    ordered = bands_first(boxes, 8)
    assert ordered[:, 0].tolist() == [0, 1, 2]
    assert (paint_boxes(ordered, 8)[3] == [1, 1, 2, 2, 2, 2, 2, 1]).all()


def test_each_caption_has_its_own_seed():
    model, hot = decoder(), Decoding(top_p=1.0, temperature=5.0, max_tokens=TINY.max_tokens)
    drawn = draw_boxes(model, captions(), hot, [1, 2, 3])
    assert (draw_boxes(model, captions()[1:2], hot, [2])[0].boxes == drawn[1].boxes).all()
    assert any(a.score != b.score for a, b in zip(drawn, draw_boxes(model, captions(), hot, [4, 5, 6]), strict=True))


def test_with_the_cache_the_logits_are_those_of_one_pass():
    model, ids = decoder(), captions(1)
    tokens = box_tokens(layout_boxes(scene(), 8, 4), TINY)[None, :16]
    memory, mask = model.encode(ids)
    whole, _ = model.logits(tokens, memory, mask)
    past = None
    for i in range(16):
        step, past = model.logits(tokens[:, i : i + 1], memory, mask, past)
        torch.testing.assert_close(step[:, 0], whole[:, i], rtol=1e-4, atol=1e-5)


def test_a_few_layouts_are_learned():
    model, ids = decoder().train(), captions(2)
    other = np.flip(scene(), 0).copy()
    boxes = [layout_boxes(one, 8, 4) for one in (scene(), other)]
    batch = {"ids": ids[:2], "boxes": torch.stack([box_tokens(one, TINY) for one in boxes])}
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        model.training_step(batch)["loss"].backward()
        optimiser.step()
    drawn = draw_boxes(model.eval(), ids[:2], SEARCH, [0, 0])
    assert all((a.boxes == b).all() for a, b in zip(drawn, boxes, strict=True))


def test_the_loss_is_a_token_s_whatever_the_padding():
    model = decoder()
    boxes = [layout_boxes(scene(), 8, most) for most in (1, 3) * 10]
    batch = {"ids": captions(20), "boxes": torch.stack([box_tokens(one, TINY) for one in boxes])}
    logits, _ = model.logits(batch["boxes"][:, :-1], *model.encode(batch["ids"]))
    real = batch["boxes"][:, 1:] != PAD
    expected = torch.nn.functional.cross_entropy(logits[real], batch["boxes"][:, 1:][real])
    torch.testing.assert_close(model.training_step(batch)["loss"], expected)


def test_left_is_told_from_right_by_the_order_of_the_words():
    left, right, dog, car = 3, 4, 5, 6
    sides = torch.tensor([[1, a, side, b, 1] for side in (left, right) for a, b in ((dog, car), (car, dog))])
    first = [[2, 1, 2, 3, 6], [3, 5, 2, 7, 6]]  # a dog (class 2) left of a car (class 3)
    boxes = [np.array(first) if on_left else mirrored_boxes(np.array(first), 8) for on_left in (1, 0, 0, 1)]
    batch = {"ids": sides, "boxes": torch.stack([box_tokens(one, TINY) for one in boxes])}
    swapped = batch | {"swapped_ids": sides[[2, 3, 0, 1]]}
    torch.manual_seed(0)
    model = BoxDecoder(replace(TINY, word_context=0.7))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        terms = model.training_step(swapped)
        terms["loss"].backward()
        optimiser.step()
    plain = model.training_step(batch)
    assert set(plain) == {"loss"}
    with torch.no_grad():
        torch.testing.assert_close(
            model.training_step(swapped)["loss"] - plain["loss"], 0.1 * terms["sides"], atol=0.02, rtol=0
        )
    drawn = draw_boxes(model.eval(), sides, SEARCH, [0] * 4)
    assert all((a.boxes == b).all() for a, b in zip(drawn, boxes, strict=True))


def test_a_word_knows_its_neighbours_the_nearest_most():
    words, mask = torch.eye(4)[None].repeat(1, 1, 2), torch.tensor([[True, True, True, False]])
    before, after = words_in_context(words, mask, 0.5)[0].chunk(2, -1)
    assert before.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0.5, 1, 1, 0], [0.25, 0.5, 1, 1]]
    assert after.tolist() == [[1, 1, 0.5, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert words_in_context(words, mask, 0.0) is words


def test_mirrored_boxes_are_those_of_the_mirrored_layout():
    labels = scene()
    mirrored = mirrored_boxes(layout_boxes(labels, 8, 4), 8)
    assert mirrored.tolist() == layout_boxes(labels[:, ::-1], 8, 4).tolist() != layout_boxes(labels, 8, 4).tolist()


def test_a_width_that_the_heads_do_not_share_is_refused():
    with pytest.raises(InputError, match="multiple of 4 and of the heads"):
        BoxConfig(classes=5, bins=8, vocabulary=20, max_words=8, width=30, heads=4)
