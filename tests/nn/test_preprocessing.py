"""Preprocessing of images: any size to a normalised square."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contract.encoders import pictures
from segue.nn.preprocessing import Preprocessing
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
