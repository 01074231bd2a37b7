"""Preprocessing of images: any size to a normalised square."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contract.encoders import pictures
from segue.nn.preprocessing import Preprocessing, reduce_image
from segue.types import InputError


def test_preprocessing_refuses():
    with pytest.raises(InputError, match="one of nearest, lanczos, bilinear, bicubic"):
        Preprocessing(interpolation="cubic")
    with pytest.raises(InputError, match="can't crop 64 pixels from a side of 32"):
        Preprocessing(size=64, shorter=32)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), shorter=st.sampled_from([0, 16, 20]))
def test_any_picture_fills_the_square(height, width, shorter):
    image = np.full((height, width, 3), 200, np.uint8)
    x = Preprocessing(16, std=(0.5,) * 3, interpolation="bicubic", shorter=shorter).to_tensor([image])
    assert x.shape == (1, 3, 16, 16)
    torch.testing.assert_close(x, torch.full_like(x, (200 / 255 - 0.5) / 0.5))


def test_bicubic_is_pillows():
    image = pictures(1)[0]
    x = Preprocessing(20, (0.0,) * 3, (1.0,) * 3, "bicubic").to_tensor([image])
    expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC))
    assert np.array_equal((x[0].permute(1, 2, 0) * 255).round().byte().numpy(), expected)


def test_a_picture_of_its_size_is_only_normalised():
    image = pictures(1)[0][:16, :16]
    x = Preprocessing(16, (0.25,) * 3, (0.5, 0.25, 1.0)).to_tensor([image])
    expected = (image.astype(np.float32) / 255 - 0.25) / np.array([0.5, 0.25, 1.0], np.float32)
    np.testing.assert_allclose(x[0].permute(1, 2, 0), expected, atol=1e-6)


def test_the_square_is_cut_from_the_centre():
    """3 x 7 pixels, as they are with a shorter side of 3: columns 3 to 5 are the middle."""
    image = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9)[..., None].repeat(3, 2)
    x = Preprocessing(3, (0.0,) * 3, (1 / 255,) * 3, shorter=5).to_tensor([image])
    assert x[0, 0].round().tolist() == image[1:4, 3:6, 0].tolist()
    wide = Preprocessing(2, (0.0,) * 3, (1 / 255,) * 3, "nearest", shorter=2).to_tensor([image[:4]])
    assert wide.shape == (1, 3, 2, 2)  # 2 x 4 of 4 x 9, and of these the middle
    assert wide[0, 0].round().tolist() == [[12, 14], [30, 32]]


def test_a_large_picture_is_reduced_and_a_small_one_stays():
    image = pictures(1)[0]
    side = min(image.shape[:2])
    assert reduce_image(image, side) is image
    expected = np.asarray(Image.fromarray(image).resize((side - 1, side - 1), Image.Resampling.BICUBIC))
    assert np.array_equal(reduce_image(image, side - 1), expected)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"interpolation": "cubic"}, {"size": 3, "shorter": 2}])
def test_what_can_not_be_is_refused(wrong):
    with pytest.raises(InputError, match="preprocessing"):
        Preprocessing(**wrong)
    assert Preprocessing(size=1, shorter=1).size == 1
