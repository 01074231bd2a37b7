"""Bytes of strangers: what is refused before it is decoded, and that nothing else than InputError ever comes out."""

import base64
import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segue.data.images import index_png_bytes, png_bytes
from segue.serving.uploads import Bounds, check_head, decode_base64, layout, picture
from segue.types import InputError

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
PNG = png_bytes(IMAGE)


def saved(kind, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes whose head promises that many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_known_formats_are_read(kind):
    data = saved(kind)
    check_head(data, "image", Bounds())
    assert picture(data, "image").shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "EPS", "PDF"])
def test_other_formats_are_refused_unread(kind):
    with pytest.raises(InputError, match="image: no picture that can be read; expected PNG, JPEG, WEBP"):
        check_head(saved(kind), "image", Bounds())


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (100_000, 1), (5000, 5000)])
def test_a_bomb_is_refused_by_its_head(width, height):
    with pytest.raises(InputError, match=r"expected at most 16,000,000 in all and 8192 a side|no picture that can"):
        check_head(bomb(width, height), "image", Bounds())


@pytest.mark.parametrize(("width", "height"), [(8192, 1), (1, 8192), (101, 5)])
def test_a_strip_is_refused_because_models_would_blow_it_up(width, height):
    """Brought to a shorter side of 448 pixels, as the labeller does, 8192 x 1 has 1.6 thousand million."""
    with pytest.raises(InputError, match=f"{width}x{height} pixels, expected a longer side of at most 20 times"):
        check_head(bomb(width, height), "image", Bounds())
    check_head(bomb(100, 5), "image", Bounds())


def test_an_animation_is_refused():
    frames = [Image.fromarray(IMAGE), Image.fromarray(255 - IMAGE)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="an animation of 2 frames"):
        check_head(buffer.getvalue(), "image", Bounds())


def test_the_first_of_a_telephones_frames_is_the_picture():
    frames = [Image.fromarray(IMAGE), Image.fromarray(255 - IMAGE)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="MPO", save_all=True, append_images=frames[1:])
    check_head(buffer.getvalue(), "image", Bounds())
    assert picture(buffer.getvalue(), "image").shape == IMAGE.shape


def test_base64_with_and_without_the_head_of_a_data_url():
    text = base64.b64encode(PNG).decode()
    assert decode_base64(text, "image") == decode_base64(f"data:image/png;base64,{text}", "image") == PNG
    lines = base64.encodebytes(PNG).decode()  # as `base64 FILE`, MIME and Java's encoder write it
    for spaced in (lines, lines.replace("\n", "\r\n"), f" {text}\t\n", f"\n DATA:image/png;base64,\n{lines}"):
        assert decode_base64(spaced, "image") == PNG
    for wrong in (
        " \n",
        "é",
        "\u00a0" + text,
        "\u2028" + text,
        "@@@@",
        "abc",
        "data:image/png;base64,",
        "/etc/passwd?",
    ):
        with pytest.raises(InputError, match=r"image: (not base64|empty)"):
            decode_base64(wrong, "image")


def test_a_layout_keeps_its_numbers():
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(layout(index_png_bytes(values, np.zeros((12, 3), np.uint8)), "layout"), values)
    with pytest.raises(InputError, match="layout: JPEG of mode RGB, expected an 8-bit PNG"):
        layout(saved("JPEG"), "layout")
    with pytest.raises(InputError, match="layout: can't be read"):
        layout(saved("PNG", "L")[:60], "layout")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([PNG, saved("JPEG"), saved("WEBP"), saved("PNG", "P")]), st.data())
def test_broken_files_end_in_an_input_error_or_a_picture(data, draw):
    """Cut, flipped and doubled bytes."""
    found = bytearray(data[: draw.draw(st.integers(0, len(data)))])
    for _ in range(draw.draw(st.integers(0, 6)) if found else 0):
        found[draw.draw(st.integers(0, len(found) - 1))] = draw.draw(st.integers(0, 255))
    for read in (picture, layout):
        try:
            check_head(bytes(found), "image", Bounds())
            assert read(bytes(found), "image").dtype == np.uint8
        except InputError:
            pass


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_a_broken_exif_ends_in_an_input_error_or_a_picture(kind, draw):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "hello"
    found = bytearray(exif.tobytes()[: draw.draw(st.integers(6, 60))])
    for _ in range(draw.draw(st.integers(0, 6)) if len(found) > 6 else 0):
        found[draw.draw(st.integers(6, len(found) - 1))] = draw.draw(st.integers(0, 255))
    data = saved(kind, exif=bytes(found))
    check_head(data, "image", Bounds())
    with suppress(InputError):
        assert picture(data, "image").dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_input_error(data):
    with pytest.raises(InputError):
        check_head(data, "image", Bounds())
