"""Pictures and layouts from a request's bytes, checked before they are decoded. Nothing is written to disk."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from segue.data.images import BROKEN, decode_image
from segue.types import InputError

WHITE = " \t\r\n\f\v"
FORMATS = ("PNG", "JPEG", "WEBP")


class Bounds(NamedTuple):
    """What a picture may be: pixels in all, pixels of its longer side, and how many times the shorter one that is.

    ratio: models bring the shorter side to some hundred pixels, so a strip of 8192 x 1 would become gigabytes.
    """

    pixels: int = 16_000_000
    side: int = 8192
    ratio: int = 20


def decode_base64(text: str, name: str) -> bytes:
    """The bytes of base64 text, with or without a data URL's head; white space is ignored, as MIME asks (RFC 2045).

    Raises InputError for any other text, and for none.
    """
    text = text.lstrip(WHITE)
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        found = base64.b64decode(text.encode("ascii").translate(None, WHITE.encode()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: not base64 ({error}); send the bytes of a picture file in base64") from error
    if not found:
        raise InputError(f"{name}: empty; send the bytes of a PNG, JPEG or WebP file in base64")
    return found


def check_head(data: bytes, name: str, bounds: Bounds) -> None:
    """Read the head alone. Raises InputError for another format than FORMATS, and for more pixels than allowed."""
    with _head(data, name) as picture:
        width, height = picture.size
        if width * height > bounds.pixels or max(width, height) > bounds.side:
            raise InputError(
                f"{name}: {width}x{height} pixels, expected at most {bounds.pixels:,} in all and {bounds.side} a side; "
                "make it smaller"
            )
        if max(width, height) > bounds.ratio * min(width, height):
            raise InputError(
                f"{name}: {width}x{height} pixels, expected a longer side of at most {bounds.ratio} times the shorter; "
                "cut it into parts"
            )
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format != "MPO":  # a telephone's JPEG, whose further frames are views of the first
            raise InputError(f"{name}: an animation of {frames} frames, expected one picture; send one frame")


def picture(data: bytes, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a file whose head was checked."""
    return decode_image(data, name)


def layout(data: bytes, name: str) -> NDArray[np.uint8]:
    """(H, W) uint8 numbers of an 8-bit PNG of one channel whose head was checked. Raises InputError for another."""
    with _head(data, name) as found:
        if found.format != "PNG" or found.mode not in ("L", "P", "1"):
            raise InputError(
                f"{name}: {found.format} of mode {found.mode}, expected an 8-bit PNG of class positions, grey or with "
                "a palette"
            )
        try:
            return np.array(found).astype(np.uint8)
        except BROKEN as error:
            raise InputError(f"{name}: can't be read as a picture ({error}); the file is broken") from error


def _head(data: bytes, name: str) -> ImageFile.ImageFile:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our bounds are narrower
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise InputError(f"{name}: no picture that can be read; expected {', '.join(FORMATS)}") from error
