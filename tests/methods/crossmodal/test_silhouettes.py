"""Silhouettes of things: which are kept of the training's layouts, and how boxes are filled with them."""

import numpy as np
import pytest
import torch

from segue.methods.crossmodal.silhouettes import PER_CLASS, SIDE, SilhouetteConfig, Silhouettes

SKY, GRASS, DOG, CAR = range(4)


def scene():
    """Sky over grass, 48 x 48."""
    labels = np.full((48, 48), SKY, np.uint8)
    labels[24:] = GRASS
    return labels


def with_parts(*parts):
    labels = scene()
    for kind, rows, columns in parts:
        labels[rows, columns] = kind
    return labels


def triangle(side):
    return np.tril(np.ones((side, side), np.bool_))


def drawn(kind=DOG):
    """One silhouette of one class: the lower left half of a square."""
    one = Silhouettes(SilhouetteConfig(1))
    one.kinds.fill_(kind)
    one.bits.copy_(torch.from_numpy(np.packbits(triangle(SIDE).ravel()))[None])
    return one


def test_whole_things_are_kept_and_no_backdrops():
    whole = with_parts((DOG, slice(20, 32), slice(10, 34)))
    whole[20:26, 10:22] = SKY  # an L
    cut = with_parts((DOG, slice(20, 32), slice(0, 12)))
    hidden = with_parts((DOG, slice(20, 32), slice(10, 34)), (CAR, slice(24, 32), slice(20, 30)))
    beside = with_parts((DOG, slice(20, 32), slice(10, 34)), (CAR, slice(16, 36), slice(34, 40)))  # may hide the rest
    found = Silhouettes.collect(np.stack([cut, whole, whole, hidden, beside, scene()]))
    assert found.kinds.tolist() == [DOG, DOG]
    assert found.aspects[:2].tolist() == pytest.approx([np.log(2)] * 2)
    mask = np.unpackbits(found.bits[0].numpy()).reshape(SIDE, SIDE)
    half = SIDE // 2
    assert not mask[:half, :half].any()
    assert mask[half:].all()
    assert mask[:, half:].all()


def test_each_class_has_so_many_at_most():
    many = np.stack([with_parts((DOG, slice(20, 32), slice(10, 34)))] * (PER_CLASS + 4))
    assert Silhouettes.collect(many).kinds.tolist() == [DOG] * PER_CLASS


def test_layouts_of_nothing_but_backdrops_have_none():
    assert Silhouettes.collect(np.stack([scene(), np.full((48, 48), 255, np.uint8)])) is None


def test_a_box_gets_a_silhouette_and_what_spans_the_layout_lies_behind_it():
    cells = with_parts((DOG, slice(18, 30), slice(10, 22)))  # a block, with rims outside of its box
    cells[18:30, 8:10] = CAR
    boxes = np.array([[DOG, 5, 10, 10, 15], [SKY, 0, 0, 24, 12], [GRASS, 0, 12, 24, 24]])  # a bin is two pixels
    painted = drawn().paint(cells, boxes, 24, seed=0)
    thing = painted == DOG
    assert thing[20:30, 10:20].sum() == thing.sum()
    assert (thing[20:30, 10:20] == triangle(10)).all() or (thing[20:30, 10:20] == triangle(10)[:, ::-1]).all()
    rest = painted[~thing & (cells == DOG)]
    assert set(rest.tolist()) == {SKY, GRASS}
    assert (painted[:24][~thing[:24] & (cells == DOG)[:24]] == SKY).all()
    assert (painted[cells == CAR] == CAR).all()
    assert (cells[18:30, 10:22] == DOG).all()  # what was given is as before


def test_boxes_of_other_classes_and_those_that_span_the_layout_stay_as_drawn():
    cells = with_parts((CAR, slice(18, 30), slice(10, 22)))
    boxes = np.array([[CAR, 5, 9, 11, 15], [DOG, 0, 12, 24, 24]])
    assert (drawn().paint(cells, boxes, 24, seed=0) == cells).all()
    assert (drawn().paint(cells, np.empty((0, 5), np.int64), 24, seed=0) == cells).all()


def test_the_seed_chooses_among_those_of_like_proportions():
    both = Silhouettes(SilhouetteConfig(8))
    both.kinds.fill_(DOG)
    both.aspects.copy_(torch.tensor([0.0] * 4 + [3.0] * 4))
    both.bits[:4] = torch.from_numpy(np.packbits(triangle(SIDE).ravel()))
    boxes = np.array([[DOG, 5, 10, 10, 15]])
    found = [both.paint(scene(), boxes, 24, seed) for seed in range(8)]
    assert all((one == DOG).any() for one in found)  # the empty ones are far too wide
    assert len({one.tobytes() for one in found}) == 2  # mirrored or not
    assert (both.paint(scene(), boxes, 24, 5) == found[5]).all()
