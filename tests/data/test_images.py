import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from segue.data.images import list_pictures, pictures_in, png_bytes, read_image, read_mask, write_image, write_mask
from segue.types import InputError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def test_grey_palette_and_rgb_read_alike(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "l.png")
    Image.fromarray(GREY).convert("P").save(tmp_path / "p.png")
    Image.fromarray(np.stack([GREY] * 3, -1)).save(tmp_path / "rgb.tif")
    for name in ("l.png", "p.png", "rgb.tif"):
        image = read_image(tmp_path / name)
        assert image.shape == (4, 6, 3)
        assert (image[..., 1] == GREY).all()


def test_16_bit_is_stretched_from_its_own_range(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 100 + 500).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert (image.min(), image.max()) == (0, 255)
    assert (np.diff(image[0, :, 0].astype(int)) > 0).all()


def test_floats_keep_their_order_whatever_else_the_file_holds(tmp_path):
    values = GREY.astype(np.float32) / 7
    values[0, :3] = np.inf, -np.inf, np.nan
    Image.fromarray(values).save(tmp_path / "f.tif")
    seen = read_image(tmp_path / "f.tif")[..., 0]
    assert seen[0, :3].tolist() == [255, 0, 0]
    assert (np.diff(seen.ravel()[3:].astype(int)) > 0).all()
    Image.fromarray(np.full((4, 6), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match=r"nan\.tif: every pixel is infinite or no number"):
        read_image(tmp_path / "nan.tif")


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK", "P", "YCbCr"])
def test_other_modes_are_read_too(tmp_path, mode):
    Image.fromarray(np.stack([GREY] * 3, -1)).convert("L").convert("RGB").convert(mode).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif").shape == (4, 6, 3)


def test_transparency_is_laid_on_black(tmp_path):
    rgba = np.full((4, 6, 4), 200, np.uint8)
    rgba[:, :3, 3], rgba[:, 3:, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    image = read_image(tmp_path / "clear.png")
    assert (image[:, :3] == 0).all()
    assert (image[:, 3:] == 200).all()


def test_exif_turns_the_picture_upright(tmp_path):
    picture = Image.fromarray(np.stack([GREY] * 3, -1))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (6, 4, 3)


BROKEN_EXIF = {
    "a letter": b"M",
    "no TIFF": b"XX*\0\x08\0\0\0",
    "a text where the height must stand": (
        b"MM\0*\0\0\0\x08\0\x02\x01\x01\0\x02\0\0\0\x03\x05i\0\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_an_exif_that_cannot_be_read_is_told(tmp_path, exif):
    buffer = io.BytesIO()
    Image.fromarray(GREY > 100).save(buffer, format="PNG")
    whole = buffer.getvalue()
    part = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "m.png").write_bytes(whole[:33] + part + whole[33:])
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"m\.png: its EXIF can't be read .*; save the picture again without it"):
            read(tmp_path / "m.png")


@pytest.mark.parametrize("high", [1, 255])
def test_a_mask_of_0_and_255_or_of_0_and_1(tmp_path, high):
    Image.fromarray((GREY > 100).astype(np.uint8) * high).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == (GREY > 100)).all()


def test_a_mask_with_other_values_names_them(tmp_path):
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="holds the values 0, 128, 255, expected 0 and 255, or 0 and 1"):
        read_mask(tmp_path / "m.png")


def test_a_coloured_mask_is_refused_and_a_grey_rgb_one_is_not(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[1] = 255
    Image.fromarray(rgb).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png").sum() == 6
    rgb[1, :, 2] = 0
    Image.fromarray(rgb).save(tmp_path / "yellow.png")
    with pytest.raises(InputError, match="a colour picture, expected a mask of one channel"):
        read_mask(tmp_path / "yellow.png")


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_masks_in_other_modes(tmp_path, mode):
    inside = GREY > 100
    Image.fromarray(inside.astype(np.uint8) * 255).convert(mode).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == inside).all()


def test_a_palette_of_black_and_white_counts_by_its_colours_and_another_by_its_positions(tmp_path):
    inside = GREY > 100
    for palette, positions in (((255,) * 3 + (0,) * 3, ~inside), ((0,) * 3 + (128, 0, 0), inside)):  # VOC's is the last
        picture = Image.fromarray(positions.astype(np.uint8))
        picture.putpalette(palette)
        picture.save(tmp_path / "m.png")
        assert Image.open(tmp_path / "m.png").mode == "P"
        assert (read_mask(tmp_path / "m.png") == inside).all()


def test_a_jpeg_mask_is_read_when_its_values_are_right_and_else_told_why(tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "all.jpg", quality=95)
    assert read_mask(tmp_path / "all.jpg").all()
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "edges.jpg", quality=60)
    with pytest.raises(InputError, match=r"edges\.jpg: the mask holds .* \(JPEG blurs the edges of a mask\)"):
        read_mask(tmp_path / "edges.jpg")


def test_png_bytes_are_what_a_file_would_hold():
    image = np.stack([GREY] * 3, -1)
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(image)))) == image).all()
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(GREY > 100)))) == (GREY > 100) * 255).all()
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8"):
        png_bytes(GREY)


def bomb():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad\.png: an empty file \(0 bytes\)"),
        (b"not a picture at all", r"bad\.png: can't be read as a picture"),
        (None, r"bad\.png: can't be read as a picture .*(truncated|broken)"),
        (bomb(), r"bad\.png: too large to decode safely"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    if content is None:  # a picture cut in half
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.png")
        content = (tmp_path / "whole.png").read_bytes()[:3000]
    (tmp_path / "bad.png").write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "bad.png")


def test_pictures_in_formats_that_are_not_read_are_told(tmp_path):
    """A telephone's HEIC among PNGs was left out without a word."""
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "notes.txt", "IMG_1.HEIC", "deep/b.jpg", "deep/c.heic"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"of 2 pictures 1 in formats that are not read, such as IMG_1\.HEIC"):
        assert pictures_in(tmp_path) == [tmp_path / "a.png"]
    with pytest.warns(UserWarning, match="of 4 pictures 2 in formats"):
        assert pictures_in(tmp_path, deep=True) == [tmp_path / "a.png", tmp_path / "deep" / "b.jpg"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"no pictures there; .*, but 1 in formats that are not read, such as IMG_1"):
        pictures_in(tmp_path)


def test_hidden_files_are_no_pictures(tmp_path):
    """macOS leaves `._a.png` beside a.png on other file systems: it is no picture, and stopped whoever met it."""
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "._a.png", "deep/b.JPG", "deep/._b.JPG", "deep/c.txt"):
        (tmp_path / name).touch()
    assert pictures_in(tmp_path) == list_pictures(tmp_path) == [tmp_path / "a.png"]
    assert pictures_in(tmp_path, deep=True) == [tmp_path / "a.png", tmp_path / "deep" / "b.JPG"]
    assert list_pictures(tmp_path / "none") == []
    with pytest.raises(InputError, match="no pictures there"):
        pictures_in(tmp_path / "none")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="a folder, expected a picture"):
        read_image(tmp_path)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_mask_survives_its_file(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp("m") / "m.png"
    write_mask(mask, path)
    assert (read_mask(path) == mask).all()


def test_writing_refuses_what_would_lose_the_mask(tmp_path):
    with pytest.raises(InputError, match=r"a mask is written as \.png"):
        write_mask(GREY > 1, tmp_path / "m.jpg")
    with pytest.raises(InputError, match="can't tell the type of picture"):
        write_image(np.stack([GREY] * 3, -1), tmp_path / "x.doc")
    assert list(tmp_path.iterdir()) == []
