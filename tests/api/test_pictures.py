"""Every form in which a caller gives a picture, and what is refused."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from segue.api.pictures import pixels_of
from segue.data.images import PictureWarning, read_image, remarks
from segue.types import InputError

RGB = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=2)
CHW = torch.from_numpy(np.moveaxis(RGB, 2, 0).copy())


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (RGB[..., 0], GREY),
        (RGB[..., :1], GREY),
        (np.float32(RGB) / 255, RGB),
        (RGB / 255, RGB),
        (np.float16(RGB[..., 0] / 255), GREY),
        (RGB.astype(np.uint16) * 256 + 255, RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(RGB[..., 0]), GREY),
        (Image.fromarray(RGB[..., 0] > 127), np.where(GREY > 127, 255, 0)),
        (png(Image.fromarray(RGB)), RGB),
        (CHW, RGB),
        (CHW[:1], GREY),
        (CHW[0], GREY),
        (torch.from_numpy(RGB), RGB),
        (CHW.float().div(255).requires_grad_(), RGB),
        (CHW.gt(127).bfloat16(), np.where(RGB > 127, 255, 0)),
    ],
)
@pytest.mark.filterwarnings("ignore:image. 16 bits a colour")
def test_every_form_is_rgb_bytes(given, expected):
    found = pixels_of(given)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_rgb_bytes_are_given_back_as_they_are():
    assert pixels_of(RGB) is RGB


def test_alpha_is_laid_on_black_with_a_warning_as_of_a_file(tmp_path):
    clear = np.dstack([RGB, np.full((6, 8), 255, np.uint8)])
    np.testing.assert_array_equal(pixels_of(clear), RGB)  # nothing is transparent: no warning
    clear[0, 0, 3], clear[1, 1, 3] = 0, 128
    Image.fromarray(clear).save(tmp_path / "a.png")
    with pytest.warns(PictureWarning, match="4% of it is transparent"):
        expected = read_image(tmp_path / "a.png")
    assert expected[0, 0].tolist() == [0, 0, 0]
    for given in (clear, np.float32(clear) / 255, torch.from_numpy(clear).permute(2, 0, 1), Image.fromarray(clear)):
        with pytest.warns(PictureWarning, match="4% of it is transparent"):
            np.testing.assert_array_equal(pixels_of(given), expected)


def test_a_16_bit_grey_is_spread_as_of_a_file(tmp_path):
    deep = np.linspace(300, 4000, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    expected = read_image(tmp_path / "a.png")
    assert (expected.min(), expected.max()) == (0, 255)
    for given in (
        deep,
        deep[..., None],
        torch.from_numpy(deep),
        Image.fromarray(deep),
        (tmp_path / "a.png").read_bytes(),
    ):
        with remarks() as found:
            np.testing.assert_array_equal(pixels_of(given), expected)
        assert [one.kind for one in found] == ["16-bit"]


def test_16_bit_colours_lose_their_lower_half_with_a_warning():
    with pytest.warns(PictureWarning, match="the upper 8 are read"):
        pixels_of(RGB.astype(np.uint16))


def test_a_picture_of_pillow_is_turned_upright_and_stays_open(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(pixels_of(picture), np.rot90(RGB, -1))
        assert picture.getpixel((0, 0)) == tuple(RGB[0, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RGB.astype(np.float32), r"float32 values from \d+ to \d+, expected floats in \[0, 1\]; divide by 255"),
        (RGB / 255 - 0.5, r"values from -0.5 to 0.\d+, expected floats in \[0, 1\]"),
        (np.full((6, 8), np.nan), "values from nan to nan, expected floats"),
        (np.moveaxis(RGB, 2, 0), r"shape \(3, 6, 8\) and type uint8.*np.moveaxis\(image, 0, 2\)"),
        (RGB[None], "give one picture, or all of them to a method that ends in _many"),
        (CHW[None], "give one picture, or all of them to a method that ends in _many"),
        (RGB.astype(np.int64), r"type int64.*image.astype\(np.uint8\)"),
        (RGB[..., 0] > 127, "type bool"),
        (RGB[..., :2], r"shape \(6, 8, 2\)"),
        (RGB[:0], r"shape \(0, 8, 3\)"),
        (torch.zeros(3, 8, 3), r"tensor of shape \(3, 8, 3\), whose first axis or last may be the channels"),
        (None, "got NoneType, expected a path"),
        ([RGB], "got list, expected a path"),
        (b"", "an empty file"),
        (b"no picture", "can't be read as a picture"),
        ("https://example.org/a.png", "no such file"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        pixels_of(given)


def test_a_picture_of_pillow_that_cannot_be_decoded_is_refused():
    cut = Image.open(io.BytesIO(png(Image.fromarray(RGB))[:80]))
    with pytest.raises(InputError, match="image: can't be decoded"):
        pixels_of(cut)
