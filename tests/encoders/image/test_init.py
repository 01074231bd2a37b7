"""Image encoders by name."""

from pathlib import Path

import pytest

from segue.encoders.image import build_image_encoder, load_image_encoder
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError


def test_encoders_by_name():
    assert build_image_encoder("small", size=64).size == 64
    with pytest.raises(InputError, match='expected "small", "efficientnet-lite0" or "clip:ID-OR-FOLDER"'):
        build_image_encoder("vgg")


def test_a_changed_preprocessing_comes_back():
    encoder = build_image_encoder("small", size=64)
    encoder.preprocessing = Preprocessing(64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "lanczos", 80)
    assert load_image_encoder(encoder.config(), Path()).preprocessing == encoder.preprocessing
