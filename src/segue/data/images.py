"""Pictures and masks: from files to checked arrays and back. (H, W, 3) uint8 RGB, (H, W) bool."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segue.files import replacing
from segue.types import InputError, check_image, check_mask

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".dcm")
UNSUPPORTED_SUFFIXES = (
    ".heic",
    ".heif",
    ".avif",
    ".gif",
    ".jp2",
    ".jxl",
    ".svg",
    ".psd",
    ".cr2",
    ".nef",
    ".arw",
    ".dng",
    ".raf",
)

# what Pillow's readers raise for broken bytes, in the pixels and in the EXIF
BROKEN = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error
)  # fmt: skip


def pictures_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """The picture files of a folder, in order. deep: those of its folders too.

    Warns of pictures in formats that aren't read. Raises InputError when there is none that is.
    """
    found, unread = (
        list_pictures(folder, deep=deep, suffixes=kinds) for kinds in (PICTURE_SUFFIXES, UNSUPPORTED_SUFFIXES)
    )
    unsupported = f"{len(unread)} in formats that are not read, such as {unread[0].name}" if unread else ""
    if not found:
        there = f", but {unsupported}; convert them" if unread else ""
        raise InputError(f"{folder}: no pictures there; expected files ending in {', '.join(PICTURE_SUFFIXES)}{there}")
    if unread:
        whole = len(found) + len(unread)
        warnings.warn(
            f"{folder}: of {whole} pictures {unsupported}, are left out; convert them to PNG or JPEG", stacklevel=2
        )
    return found


def list_pictures(folder: Path, *, deep: bool = False, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[Path]:
    """The picture files of a folder in the order of their paths; empty when there are none, or no such folder.

    deep: those of the folders below it too. Hidden files are passed over: macOS leaves `._name.png` beside name.png.
    """
    found: list[Path] = []
    for where, below, names in os.walk(folder):
        found += [Path(where, n) for n in names if n.lower().endswith(suffixes) and not n.startswith(".")]
        if not deep:
            below.clear()
    return sorted(found)


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, turned upright by its EXIF.

    16-bit and float greys are stretched from their own minimum..maximum to 0..255; transparency is laid on black.
    NIfTI and DICOM are read when they hold a single slice. Of a file with several pages the first is read.
    Raises InputError that names the file when it is missing, empty, broken, too large or not a picture.
    """
    if path.name.lower().endswith(VOLUME_SUFFIXES):
        return _only_slice(path)
    return _rgb(open_picture(path), path)


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """What `read_image` makes of a picture file, from the file's bytes. where: names it in an error.

    Raises InputError as `read_image` does.
    """
    return _rgb(_decoded(io.BytesIO(data), len(data), where), where)


def read_index(path: Path) -> NDArray[np.uint8]:
    """A label map as (H, W) uint8, the numbers as they stand in the file: grey values, or positions in its palette.

    Raises InputError for colours without a palette, and for numbers past 255.
    """
    with open_picture(path) as picture:
        if picture.mode not in ("L", "P", "1") and picture.mode[0] != "I":
            raise InputError(
                f"{path}: mode {picture.mode}, expected a label map of one channel (grey or palette); export the "
                "numbers of the classes, not their colours"
            )
        values = np.asarray(picture)
    if values.max() > 255 or values.min() < 0:
        raise InputError(f"{path}: the numbers reach from {values.min()} to {values.max()}, expected 0..255")
    return values.astype(np.uint8)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask as (H, W) bool. The file holds 0 and 255, or 0 and 1, in one channel or in equal ones.

    A palette of black and white counts by its colours; another by its positions 0 and 1, as in Pascal VOC.
    Raises InputError with the values found when there are others.
    """
    with open_picture(path) as picture:
        values = np.asarray(_without_palette(_upright(picture, path)))
    if values.ndim == 3:
        alpha = values.shape[2] in (2, 4) and (values[..., -1] == values[..., -1].max()).all()
        colours = values[..., :-1] if alpha else values
        if (colours != colours[..., :1]).any():
            raise InputError(
                f"{path}: a colour picture, expected a mask of one channel with 0 and 255; export it as grey"
            )
        values = colours[..., 0]
    found = np.unique(values)
    if not (set(found.tolist()) <= {0, 255} or set(found.tolist()) <= {0, 1}):
        shown = ", ".join(str(v) for v in found[:6]) + (", ..." if len(found) > 6 else "")
        why = " (JPEG blurs the edges of a mask)" if path.suffix.lower() in (".jpg", ".jpeg") else ""
        raise InputError(
            f"{path}: the mask holds the values {shown}{why}, expected 0 and 255, or 0 and 1; threshold it, save as PNG"
        )
    return values > 0


def _without_palette(mask: Image.Image) -> Image.Image:
    """In grey where it has a palette of which only black and white are used: which comes first in it means nothing."""
    if mask.mode != "P":
        return mask
    palette, colours = mask.getpalette() or [], mask.getcolors() or []
    used = [tuple(palette[3 * i : 3 * i + 3]) for _, i in colours if isinstance(i, int)]
    black, white = (0, 0, 0), (255, 255, 255)
    return mask.convert("L") if white in used and set(used) <= {black, white} else mask


def write_image(image: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3) uint8 as a file of the type that the name ends in, whole or not at all.

    Raises InputError for an array of another shape or type, and a name of no type of picture.
    """
    check_image(image)
    _save(Image.fromarray(image), path)


def write_mask(mask: NDArray[np.bool_], path: Path) -> None:
    """Write (H, W) bool as a PNG of 0 and 255, whole or not at all.

    Raises InputError for an array of another shape or type, and a name that doesn't end in .png.
    """
    check_mask(mask)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: a mask is written as .png, which keeps its two values; name it {path.stem}.png")
    _save(Image.fromarray(mask.astype(np.uint8) * 255), path)


def write_index(index: NDArray[np.uint8], path: Path, colours: NDArray[np.uint8]) -> None:
    """Write an (H, W) uint8 map of class numbers as a PNG with a palette, whole or not at all.

    colours: (C, 3) uint8, of the classes 0..C - 1; the other numbers are black. `read_index` reads the numbers back.
    Raises InputError for an array of another shape or type, and a name that doesn't end in .png.
    """
    if index.dtype != np.uint8 or index.ndim != 2 or 0 in index.shape or path.suffix.lower() != ".png":
        raise InputError(
            f"{path}: got an array of shape {index.shape} and type {index.dtype}, expected (H, W) uint8 and a "
            "name that ends in .png, which keeps the numbers"
        )
    _save(_with_palette(index, colours), path)


def index_png_bytes(index: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """What `write_index` writes, as the bytes of a PNG file."""
    buffer = io.BytesIO()
    _with_palette(index, colours).save(buffer, format="PNG")
    return buffer.getvalue()


def _with_palette(index: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(index)
    picture.putpalette(np.concatenate([colours[:256], np.zeros((256 - len(colours[:256]), 3), np.uint8)]).tobytes())
    return picture


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """An (H, W, 3) uint8 picture, or an (H, W) bool mask as 0 and 255, as the bytes of a PNG file."""
    if pixels.dtype == np.bool_:
        check_mask(pixels)
        pixels = pixels.astype(np.uint8) * 255
    else:
        check_image(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _save(picture: Image.Image, path: Path) -> None:
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"{path}: can't tell the type of picture; let the name end in one of {', '.join(PICTURE_SUFFIXES)}"
        )
    with replacing(path) as fresh:
        picture.save(fresh)


def _rgb(picture: Image.Image, where: Path | str) -> NDArray[np.uint8]:
    with picture:
        upright = _upright(picture, where)
    if upright.mode[0] in "IF":  # I;16, I, F
        return np.repeat(_stretch(np.asarray(upright, dtype=np.float64), where)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    return np.array(upright.convert("RGB"))


def _upright(picture: Image.Image, where: Path | str) -> Image.Image:
    """Turned by its EXIF. Raises InputError for an EXIF that can't be read: which side is up is not known then."""
    try:
        return ImageOps.exif_transpose(picture)
    except BROKEN as error:
        raise InputError(f"{where}: its EXIF can't be read ({error}); save the picture again without it") from error


def _stretch(values: NDArray[np.float64], path: Path | str) -> NDArray[np.uint8]:
    """(H, W) uint8, the finite values' minimum..maximum on 0..255; infinities at the ends, what is no number at 0."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{path}: every pixel is infinite or no number (NaN); export the picture again")
    low, high = float(finite.min()), float(finite.max())
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return (scaled * 255).round().astype(np.uint8)


def _only_slice(path: Path) -> NDArray[np.uint8]:
    from segue.data.medical.volumes import read_volume

    slices = read_volume(path).slices
    if len(slices) > 1:
        raise InputError(
            f"{path}: a volume of {len(slices)} slices, expected one picture; "
            "read it with segue.data.medical.volumes.read_volume"
        )
    result: NDArray[np.uint8] = slices[0]
    return result


def open_picture(path: Path) -> Image.Image:
    """The decoded picture of a file. Raises InputError for all that can go wrong."""
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path and its spelling")
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected a picture; name a file in it")
    return _decoded(path, path.stat().st_size, path)


def _decoded(source: Path | io.BytesIO, size: int, path: Path | str) -> Image.Image:
    """size: in bytes. path: names the source in an error."""
    if size == 0:
        raise InputError(f"{path}: an empty file (0 bytes), expected a picture; copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(source)
            picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too large to decode safely ({error}); cut it into tiles") from error
    except BROKEN as error:
        raise InputError(
            f"{path}: can't be read as a picture ({error}); the file is broken or of another type"
        ) from error
    return picture
