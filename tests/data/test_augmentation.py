"""The released augmentation: boxes, operations and erasing keep their numbers, and depend on the generator alone."""

import numpy as np
import pytest
from PIL import Image

from segue.data import augmentation
from segue.data.augmentation import RAND_AUGMENT, erase, rand_augment, random_crop


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_crops_have_the_share_and_the_shape_that_was_asked_for():
    boxes = np.array([augmentation._crop_box(400, 600, rng(seed)) for seed in range(2000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares, ratios = widths * heights / 240_000, widths / heights
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 600).all()
    assert (boxes[:, 3] <= 400).all()
    assert 0.079 < shares.min() < 0.1
    assert 0.85 < shares.max() < 0.89  # a third more wide than high at most, in a picture half more wide than high
    assert 0.7 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.51  # 1.5: the middle of a picture that nothing else fits
    assert 0.35 < shares.mean() < 0.45  # the largest are drawn again: they fit no picture of this shape


def test_crops_are_mirrored_half_of_the_times(picture):
    made = [random_crop(picture[:1, :1].repeat(40, 0).repeat(60, 1), 16, rng(s)) for s in range(3)]
    assert all(one.shape == (16, 16, 3) and (one == picture[0, 0]).all() for one in made)
    ramp = np.tile(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 1, 3))
    left_is_darker = [
        one[:, 0].mean() < one[:, -1].mean() for one in (random_crop(ramp, 16, rng(s)) for s in range(300))
    ]
    assert 0.4 < np.mean(left_is_darker) < 0.6


def test_long_pictures_are_cropped_too():
    assert random_crop(np.zeros((3, 900, 3), np.uint8), 8, rng()).shape == (8, 8, 3)
    assert random_crop(np.zeros((1, 1, 3), np.uint8), 8, rng()).shape == (8, 8, 3)


@pytest.mark.parametrize("at", range(15))
def test_each_operation_keeps_the_size_and_changes_the_picture(picture, at):
    image = Image.fromarray(np.clip(picture // 2 + 40, 0, 255))
    out = RAND_AUGMENT[at](image, 0.9, rng(2))
    assert out.size == image.size
    assert out.mode == "RGB"
    assert not np.array_equal(np.asarray(out), np.asarray(image))


def test_operations_at_no_strength_leave_the_picture(picture):
    for at in (3, 7, 8, 9, 10, 11, 12, 13, 14):
        out = RAND_AUGMENT[at](Image.fromarray(picture), 0.0, rng())
        np.testing.assert_allclose(np.asarray(out).astype(int), picture, atol=1)


def test_two_operations_are_each_left_out_half_of_the_times(picture):
    same = [np.array_equal(rand_augment(picture, rng(seed)), picture) for seed in range(400)]
    assert 0.2 < np.mean(same) < 0.35  # a quarter has none, and some of the operations change nothing
    np.testing.assert_array_equal(rand_augment(picture, rng(5)), rand_augment(picture, rng(5)))


def test_a_quarter_is_erased_by_noise_over_a_box():
    pixels = np.full((3, 64, 64), 7, np.float32)
    made = [erase(pixels, rng(seed)) for seed in range(800)]
    erased = [(one != 7).all(0) for one in made if (one != 7).any()]
    assert 0.2 < len(erased) / 800 < 0.3
    shares = np.array([mask.mean() for mask in erased])
    assert 0.015 < shares.min() < 0.05
    assert 0.3 < shares.max() < 0.36
    noise = np.concatenate(
        [one[:, mask].ravel() for one, mask in zip((m for m in made if (m != 7).any()), erased, strict=True)]
    )
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    rows, columns = np.where(erased[0])
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a box
    assert (pixels == 7).all()  # the given array stays
