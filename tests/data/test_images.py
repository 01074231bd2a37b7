import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import EpsImagePlugin, Image, ImageFile, UnidentifiedImageError

import segue
from segue.data.images import (
    decode_image,
    png_bytes,
    read_image,
    read_index,
    read_mask,
    remarks,
    write_image,
    write_mask,
)
from segue.data.picture_files import PictureWarning
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


def test_16_bit_is_spread_from_its_own_range(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 100 + 500).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert (image.min(), image.max()) == (0, 255)
    assert (np.diff(image[0, :, 0].astype(int)) > 0).all()


def png(depth, kind, values):
    """A PNG of (H, W, channels) values with so many bits each. kind: its colour type."""
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = (struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_that_16_bit_colours_lose_their_lower_half_is_reported(tmp_path, kind, channels):
    values = np.repeat(np.linspace(0, 4000, 32).reshape(4, 8, 1), channels, 2)
    if kind in (4, 6):
        values[..., -1] = 65535
    (tmp_path / "deep.png").write_bytes(png(16, kind, values))
    with pytest.warns(PictureWarning, match="16 bits a colour, of which the upper 8 are read"):
        deep = read_image(tmp_path / "deep.png")
    assert deep.max() == 4000 >> 8
    (tmp_path / "plain.png").write_bytes(png(8, kind, values // 16))
    with remarks() as found:
        assert read_image(tmp_path / "plain.png").max() == 250 or kind in (4, 6)
    assert "upper-bits" not in [one.kind for one in found]


def test_one_hot_pixel_does_not_darken_a_deep_picture(tmp_path):
    """Minimum and maximum were the window: a burnt-in marker made the scan black, though volumes had percentiles."""
    values = np.arange(2400, dtype=np.uint16).reshape(40, 60)
    values[3, 4] = 65535
    Image.fromarray(values).save(tmp_path / "hot.png")
    seen = read_image(tmp_path / "hot.png")[..., 0]
    low, high = np.percentile(values, (0.5, 99.5))
    assert (seen == ((values - low) / (high - low)).clip(0, 1).__mul__(255).round()).all()
    assert 125 < seen.mean() < 130


def deep_tiff(path, values, white_is_zero):
    """A grey TIFF byte by byte: Pillow writes none whose zeros are white."""
    height, width = values.shape
    kind, start = {"u": 1, "f": 3}[values.dtype.kind], 8 + 2 + 12 * 10 + 4
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 0 if white_is_zero else 1, 273: start}
    tags |= {277: 1, 278: height, 279: values.nbytes, 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(head + values.tobytes())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_zeros_are_white_is_not_read_as_a_negative(tmp_path, dtype):
    """Right at 8 bits, where Pillow turns the greys round, and a negative at 16: as scanned films are."""
    for white_is_zero in (False, True):
        deep_tiff(tmp_path / "film.tif", (GREY + 10).astype(dtype), white_is_zero)
        seen = read_image(tmp_path / "film.tif")[..., 0].astype(int)
        assert np.corrcoef(seen.ravel(), GREY.ravel())[0, 1] == pytest.approx(-1 if white_is_zero else 1, abs=0.01)


@pytest.mark.parametrize(
    ("pixels", "more", "message"),
    [
        (np.stack([GREY.astype(np.uint16) * 257] * 3), {"planarconfig": "separate", "photometric": "rgb"}, "16 bits"),
        (GREY.astype(np.int16).astype(np.int8), {}, "signed numbers"),
    ],
    ids=["16 bits in planes", "signed"],
)
def test_a_tiff_whose_numbers_pillow_takes_for_others_is_refused(tmp_path, pixels, more, message):
    """Planes of 16 bits came out as noise, -1 as white."""
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", pixels, **more)
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("colours", [1, 3])
def test_that_further_channels_of_a_tiff_are_not_read_is_reported(tmp_path, colours):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.stack([GREY] * colours + [255 - GREY], -1)
    kind = "rgb" if colours == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, planarconfig="contig", extrasamples=["unspecified"])
    try:
        Image.open(tmp_path / "a.tif").close()
    except UnidentifiedImageError:  # by a Pillow that knows no such TIFF
        with pytest.raises(InputError, match="can't be read as a picture"):
            read_image(tmp_path / "a.tif")
        return
    with pytest.warns(PictureWarning, match=rf"{colours + 1} channels, only the first {colours} read"):
        assert (read_image(tmp_path / "a.tif")[..., 0] == GREY).all()


@pytest.mark.parametrize("name", ["stack.tif", "moving.png", "moving.webp"])
def test_that_only_the_first_page_is_read_is_reported(tmp_path, name):
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 90, 200)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], lossless=True)
    with pytest.warns(PictureWarning, match=f"{name}: 3 pages or frames, only the first is read"):
        assert (read_image(tmp_path / name) == 10).all()
    with remarks() as found:
        read_image(tmp_path / name)
    assert [remark.kind for remark in found] == ["several-pages"]


@pytest.mark.parametrize("orientation", [3, 6])
def test_that_exif_turned_a_picture_is_a_remark_and_no_warning(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.tif"):
        Image.fromarray(np.stack([GREY] * 3, -1)).save(tmp_path / name, exif=exif)
        with remarks() as found, warnings.catch_warnings():
            warnings.simplefilter("error")
            read_image(tmp_path / name)
        assert [remark.kind for remark in found] == ["turned"]
        assert f"EXIF orientation is {orientation}" in found[0].message


def test_a_file_of_another_type_is_not_tried_whatever_its_name(tmp_path, monkeypatch):
    """PostScript named .png started Ghostscript."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    head = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n"
    (tmp_path / "x.png").write_text(head)
    Image.new("L", (4, 4)).save(tmp_path / "gif.png", "GIF")
    for name in ("x.png", "gif.png"):
        for read in (read_image, read_mask, read_index):
            with pytest.raises(InputError, match="expected a PNG, JPEG, BMP, TIFF or WebP file"):
                read(tmp_path / name)


def test_no_module_asks_pillow_for_every_format():
    """Image.open without formats tries all of Pillow's, also those that start other programs."""
    for path in Path(segue.__file__).parent.rglob("*.py"):
        calls = re.findall(r"Image\.open\(.*", path.read_text(encoding="utf-8"))
        assert all("formats=FORMATS)" in call for call in calls), path


def test_floats_keep_their_order_whatever_else_the_file_holds(tmp_path):
    values = GREY.astype(np.float32) / 7
    values[0, :3] = np.inf, -np.inf, np.nan
    Image.fromarray(values).save(tmp_path / "f.tif")
    seen = read_image(tmp_path / "f.tif")[..., 0]
    assert seen[0, :3].tolist() == [255, 0, 0]
    assert (np.diff(seen.ravel()[3:].astype(int)) > 0).all()
    Image.fromarray(np.full((4, 6), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match=r"nan\.tif: every value is infinite or no number"):
        read_image(tmp_path / "nan.tif")


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK", "P", "YCbCr"])
def test_other_modes_are_read_too(tmp_path, mode):
    Image.fromarray(np.stack([GREY] * 3, -1)).convert("L").convert("RGB").convert(mode).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif").shape == (4, 6, 3)


def test_transparency_is_laid_on_black(tmp_path):
    rgba = np.full((4, 6, 4), 200, np.uint8)
    rgba[:, :3, 3], rgba[:, 3:, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    with pytest.warns(PictureWarning, match=r"clear\.png: 50% of it is transparent, laid on black"):
        image = read_image(tmp_path / "clear.png")
    assert (image[:, :3] == 0).all()
    assert (image[:, 3:] == 200).all()
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "full.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an alpha channel that hides nothing is no loss
        assert (read_image(tmp_path / "full.png") == 200).all()


def test_a_label_map_is_turned_as_its_picture_is(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_index(tmp_path / "a.png"), np.rot90(GREY, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], np.rot90(GREY, -1))


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
def test_an_exif_that_cannot_be_read_is_reported(tmp_path, exif):
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


def test_a_jpeg_mask_is_read_when_its_values_are_right_and_else_refused_with_the_reason(tmp_path):
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


def test_a_picture_that_asks_for_more_memory_than_there_is_is_refused(tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")

    def load(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(InputError, match=r"a\.png: asks for more memory than there is; it is broken"):
        read_image(tmp_path / "a.png")
    with pytest.raises(MemoryError):  # of bytes no more is read than there are: the memory is really full
        decode_image((tmp_path / "a.png").read_bytes(), "a.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (33, 20)])
def test_a_quick_png_of_any_size_is_read_back(size, tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    write_image(image, tmp_path / "a.png", quick=True)
    with Image.open(tmp_path / "a.png") as found:
        found.verify()
    assert (read_image(tmp_path / "a.png") == image).all()


def test_a_quick_png_holds_the_same_pixels_in_a_larger_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 40, (64, 64, 3), dtype=np.uint8)
    write_image(image, tmp_path / "a.png")
    write_image(image, tmp_path / "b.png", quick=True)
    assert (read_image(tmp_path / "b.png") == image).all()
    assert (tmp_path / "b.png").stat().st_size > (tmp_path / "a.png").stat().st_size
