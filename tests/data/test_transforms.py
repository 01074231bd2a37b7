"""Resizing against its definitions, and what a random view may do."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from golden import same_as_before
from segue.data.transforms import (
    augment,
    flip,
    photometric,
    resize_image,
    resize_mask,
    resize_nearest,
    resize_without_antialiasing,
    warp,
)
from segue.types import Example

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (7, 11, 3), dtype=np.uint8)
MASK = np.zeros((7, 11), bool)
MASK[1:4, 6:10] = True


def test_a_picture_of_the_size_stays_and_others_are_pillows():
    assert resize_image(IMAGE, (7, 11)) is IMAGE
    assert resize_without_antialiasing(IMAGE, (7, 11)) is IMAGE
    assert resize_mask(MASK, (7, 11)) is MASK
    expected = np.asarray(Image.fromarray(IMAGE).resize((5, 3), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_image(IMAGE, (3, 5)), expected)
    expected = np.asarray(Image.fromarray(MASK).resize((22, 14), Image.Resampling.NEAREST))
    assert np.array_equal(resize_mask(MASK, (14, 22)), expected)


@pytest.mark.parametrize("size", [(3, 5), (14, 22), (20, 4), (1, 1), (7, 30)])
def test_without_antialiasing_two_pixels_each_way_are_mixed(size):
    """In whole numbers it is within one of the exact mean of the four nearest."""
    found = resize_without_antialiasing(IMAGE, size)
    assert found.dtype == np.uint8
    places = [(np.arange(w) + 0.5) * (n / w) - 0.5 for n, w in zip(IMAGE.shape[:2], size, strict=True)]
    (top, y), (left, x) = ((np.floor(p).astype(int), p - np.floor(p)) for p in places)
    rows = [np.clip(top + k, 0, 6) for k in (0, 1)]
    columns = [np.clip(left + k, 0, 10) for k in (0, 1)]
    across = [IMAGE[r][:, columns[0]] * (1 - x)[:, None] + IMAGE[r][:, columns[1]] * x[:, None] for r in rows]
    expected = across[0] * (1 - y)[:, None, None] + across[1] * y[:, None, None]
    np.testing.assert_allclose(found, expected, atol=1)
    same_as_before(f"opencv {size}", pixels=found)


def test_nearest_takes_every_nth():
    index = np.arange(24).reshape(4, 6)
    assert resize_nearest(index, (2, 3)).tolist() == [[0, 2, 4], [12, 14, 16]]
    assert resize_nearest(index, (8, 6))[:, 0].tolist() == [0, 0, 6, 6, 12, 12, 18, 18]
    assert resize_nearest(index, (4, 4))[0].tolist() == [0, 1, 3, 4]


def test_a_flip_mirrors_picture_and_mask():
    one = Example(IMAGE, MASK, None, "a")
    assert np.array_equal(flip(one).image, IMAGE[:, ::-1])
    assert np.array_equal(flip(one).mask, MASK[:, ::-1])
    assert flip(replace(one, mask=None)).mask is None
    assert flip(one).image.flags["C_CONTIGUOUS"]


def test_a_quarter_turn_is_exact_and_so_is_a_magnification():
    square = Example(IMAGE[:, :7], MASK[:, 4:11], None, "a")
    turned = warp(square, 90, 1)
    assert np.array_equal(turned.image, np.rot90(square.image, 1)) or np.array_equal(
        turned.image, np.rot90(square.image, -1)
    )
    assert (turned.mask == np.rot90(square.mask, 1)).all() or (turned.mask == np.rot90(square.mask, -1)).all()
    larger = warp(square, 0, 2)
    assert (larger.image[3, 3] == square.image[3, 3]).all()
    assert (larger.image[1, 1] == square.image[2, 2]).all()
    assert larger.mask[1:6, 1:6].sum() > square.mask[2:5, 2:5].sum()
    outside = warp(square, 0, 0.5)
    assert (outside.image[0, 0] == square.image[0, 0]).all()  # the edge goes on
    assert not outside.mask[0].any()  # but a mask ends
    assert warp(replace(square, mask=None), 5, 1).mask is None


def test_random_views_are_what_they_were():
    one = Example(np.kron(IMAGE, np.ones((4, 4, 1), np.uint8)), np.kron(MASK, np.ones((4, 4), bool)), None, "a")
    for seed in range(4):
        made = augment(one, np.random.default_rng(seed))
        same_as_before(f"augment {seed}", image=made.image, mask=made.mask)
        same_as_before(f"photometric {seed}", image=photometric(one.image, np.random.default_rng(seed)))
