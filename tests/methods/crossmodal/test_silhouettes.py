"""Silhouettes of things: which are kept of the training's layouts, and how boxes are filled with them."""

import numpy as np
import pytest
import torch

from segue.methods.crossmodal.silhouettes import COLUMNS, PER_CLASS, SIDE, SilhouetteConfig, Silhouettes

SKY, GRASS, DOG, CAR, HILLS = range(5)


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


def hills(heights):
    """Hills of these heights from left to right, over grass and under the sky."""
    labels = scene()
    rows = np.arange(48)[:, None]
    labels[(rows < 24) & (rows >= 24 - np.repeat(heights, 48 // len(heights)))] = HILLS
    return labels


def test_what_spans_the_layout_with_an_uneven_top_keeps_skylines():
    whole = hills([6, 12, 3, 9])
    hidden = whole.copy()
    hidden[8:20, 14:20] = DOG  # stands before the highest hill
    with_dog = with_parts((DOG, slice(30, 36), slice(10, 20)))
    beside = hills([6, 12, 0, 9])  # two parts, neither from edge to edge
    found = Silhouettes.collect(np.stack([whole, hidden, beside, with_dog]))
    assert found.skyline_kinds.tolist() == [HILLS]  # and none of grass, whose top is even
    line = found.skylines[0].numpy()
    assert line[[0, COLUMNS * 3 // 8, COLUMNS * 5 // 8, COLUMNS - 1]].tolist() == [128, 255, 64, 191]
    assert found.kinds.tolist() == [DOG, DOG]


def skyline(*heights):
    one = drawn()
    found = Silhouettes(SilhouetteConfig(1, 1))
    found.load_state_dict(one.state_dict() | {
        "skyline_kinds": torch.tensor([HILLS]),
        "skylines": torch.from_numpy(np.repeat(heights, COLUMNS // len(heights)).astype(np.uint8))[None],
    })  # fmt: skip
    return found


@pytest.mark.parametrize("left", [0, 12])
def test_a_box_is_cut_along_the_columns_of_a_skyline_that_it_is_in(left):
    cells = hills([12, 12, 12, 12])
    cells[:, : 2 * left] = scene()[:, : 2 * left]
    boxes = np.array([[SKY, 0, 0, 24, 6], [HILLS, left, 7, 24, 12]])  # a bin is two pixels: rows 14 to 23
    painted = skyline(51, 51, 128, 255).paint(cells, boxes, 24, seed=0)
    tops = (painted == HILLS).sum(0)
    assert tops[-1] == 10  # the box's height
    assert tops[30] == 5
    assert tops[6] == (2 if left == 0 else 0)
    assert (painted[:14] == SKY).all()  # what the cells had above the box
    assert (painted[24:] == GRASS).all()


def test_what_stands_before_a_skyline_does_not_part_it():
    cells = hills([12, 12, 12, 12])
    cells[8:24, 20:28] = DOG
    cells[24:, 20:28] = GRASS
    boxes = np.array([[SKY, 0, 0, 24, 12], [HILLS, 0, 6, 10, 12], [DOG, 11, 4, 13, 12], [HILLS, 14, 6, 24, 12]])
    painted = skyline(255, 255, 255, 255).paint(cells, boxes, 24, seed=0)
    assert np.isin(painted[12:24], (HILLS, DOG)).all()  # and no sky between
    apart = np.array([[SKY, 0, 0, 24, 12], [HILLS, 0, 6, 4, 12], [HILLS, 20, 6, 24, 12]])
    cells = hills([12, 0, 0, 12])
    assert (skyline(255, 255, 255, 255).paint(cells, apart, 24, seed=0)[:, 12:36] == scene()[:, 12:36]).all()


def test_a_box_at_the_top_has_no_skyline():
    cells = scene()
    cells[:24] = HILLS
    assert (skyline(0, 255).paint(cells, np.array([[HILLS, 0, 0, 24, 12]]), 24, seed=0) == cells).all()


def test_silhouettes_without_skylines_are_stored_as_before():
    assert "skylines" not in drawn().state_dict()
    assert "skylines" in skyline(0, 255).state_dict()
