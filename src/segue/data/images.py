"""Pictures and masks: from files to checked arrays and back. (H, W, 3) uint8 RGB, (H, W) bool."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from segue.data.greys import to_grey
from segue.data.picture_files import PICTURE_SUFFIXES, PictureWarning, is_volume
from segue.files import write_bytes
from segue.types import InputError, check_image, check_mask

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP")  # what files may hold, whatever their names say
PNG_LEVEL = 3  # of zlib: half the time of its usual 6, files 2 % larger
_PNG, _UP = b"\x89PNG\r\n\x1a\n", 2  # how a file begins; the filter that takes the row above away

# what Pillow's readers raise for broken bytes, in the pixels and in the EXIF
BROKEN = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error
)  # fmt: skip
_WHITE_IS_ZERO = (262, 0)  # PhotometricInterpretation of TIFF
_BITS, _CHANNELS, _SAMPLE_FORMAT, _SIGNED = 258, 277, 339, 2  # tags of TIFF


class Remark(NamedTuple):
    """What reading a picture does that its owner may not expect. kind: "16-bit", "upper-bits", "several-pages",
    "further-channels", "transparent", "turned"."""

    kind: str
    message: str


_REMARKS: ContextVar[list[Remark] | None] = ContextVar("remarks", default=None)


@contextmanager
def remarks() -> Iterator[list[Remark]]:
    """Collect what reading pictures in this block (and thread) leaves out or changes, instead of warnings of it."""
    found: list[Remark] = []
    before = _REMARKS.set(found)
    try:
        yield found
    finally:
        _REMARKS.reset(before)


def remark(where: Path | str, kind: str, message: str) -> None:
    """Collect it, or warn of what is left out; that depth and direction are changed is no loss."""
    if (found := _REMARKS.get()) is not None:
        found.append(Remark(kind, message))
    elif kind not in ("16-bit", "turned"):
        warnings.warn(PictureWarning(f"{where}: {message}", kind), stacklevel=2)


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, turned upright by its EXIF.

    16-bit and float greys are spread by `to_grey`; transparency is laid on black, and of a file with several pages the
    first is read: both with a warning. NIfTI and DICOM are read when they hold a single slice.
    Raises InputError that names the file when it is missing, empty, broken, too large or not a picture.
    """
    if is_volume(path):
        return _only_slice(path)
    with open_picture(path) as picture:
        return _rgb(picture, path)


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """What `read_image` makes of a picture file, from the file's bytes. where: names it in an error.

    Raises InputError as `read_image` does.
    """
    with _decoded(io.BytesIO(data), len(data), where) as picture:
        return _rgb(picture, where)


def read_index(path: Path) -> NDArray[np.uint8]:
    """A label map as (H, W) uint8, see `read_class_numbers`. Raises InputError also for numbers past 255."""
    values = read_class_numbers(path)
    if values.max() > 255 or values.min() < 0:
        raise InputError(f"{path}: the numbers reach from {values.min()} to {values.max()}, expected 0..255")
    return values.astype(np.uint8)


def read_class_numbers(path: Path) -> NDArray[np.integer | np.bool_]:
    """A label map as (H, W) numbers as they stand in the file, of its own type: grey values, or places in its palette.

    It is turned upright by its EXIF, as its picture is.
    Raises InputError for colours without a palette, fractions, and a JPEG, which changes numbers near edges.
    """
    with open_picture(path) as picture:
        if picture.mode not in ("L", "P", "1") and picture.mode[0] != "I":
            raise InputError(
                f"{path}: mode {picture.mode}, expected a label map of one channel (grey or palette); export the "
                "numbers of the classes, not their colours"
            )
        if picture.format in ("JPEG", "MPO"):
            raise InputError(f"{path}: a JPEG, which blurs the numbers of classes at their edges; export it as PNG")
        return np.asarray(upright(picture, path))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask as (H, W) bool. The file holds 0 and 255, or 0 and 1, in one channel or in equal ones.

    A palette of black and white counts by its colours; another by its positions 0 and 1, as in Pascal VOC.
    Raises InputError with the values found when there are others.
    """
    with open_picture(path) as picture:
        values = np.asarray(_without_palette(upright(picture, path)))
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


def write_image(image: NDArray[np.uint8], path: Path, *, quick: bool = False) -> None:
    """Write (H, W, 3) uint8 as a file of the type that the name ends in, whole or not at all.

    quick: a PNG in a third of the time, some percent larger: for pictures to look at.
    Raises InputError for an array of another shape or type, and a name of no type of picture.
    """
    check_image(image)
    if quick and path.suffix.lower() == ".png":
        write_bytes(path, quick_png_bytes(image))
    else:
        _save(Image.fromarray(image), path)


def write_mask(mask: NDArray[np.bool_], path: Path) -> None:
    """Write (H, W) bool as a PNG of 0 and 255, whole or not at all.

    Raises InputError for an array of another shape or type, and a name that doesn't end in .png.
    """
    check_mask(mask)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: a mask is written as .png, which keeps its two values; name it {path.stem}.png")
    _save(Image.fromarray(mask.astype(np.uint8) * 255), path)


def write_numbers(numbers: NDArray[np.integer], path: Path) -> None:
    """Write (H, W) integers from 0 to 65,535 as a 16-bit grey PNG, whole or not at all.

    Raises InputError for other numbers, and a name that doesn't end in .png.
    """
    if path.suffix.lower() != ".png" or numbers.ndim != 2 or numbers.min() < 0 or numbers.max() > 65_535:
        raise InputError(
            f"{path}: got numbers of shape {numbers.shape} from {numbers.min()} to {numbers.max()}; expected (H, W) "
            "from 0 to 65535, and a file that ends in .png"
        )
    _save(Image.fromarray(numbers.astype(np.uint16)), path)


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
    _with_palette(index, colours).save(buffer, format="PNG", compress_level=PNG_LEVEL)
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
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def quick_png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An (H, W, 3) uint8 picture as the bytes of a PNG file whose rows are all kept as what differs from the row above.

    Pillow tries five filters on each row, which takes as long as zlib's lowest level, and saves some percent.
    Raises InputError for an array of another shape or type.
    """
    check_image(image)
    height, width = image.shape[:2]
    pixels, rows = image.reshape(height, -1), np.full((height, 1 + 3 * width), _UP, np.uint8)
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return _PNG + b"".join(
        len(data).to_bytes(4) + name + data + zlib.crc32(data, zlib.crc32(name)).to_bytes(4) for name, data in parts
    )


def _save(picture: Image.Image, path: Path) -> None:
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"{path}: can't tell the type of picture; let the name end in one of {', '.join(PICTURE_SUFFIXES)}"
        )
    buffer = io.BytesIO()
    picture.save(buffer, format=Image.registered_extensions()[path.suffix.lower()], compress_level=PNG_LEVEL)
    write_bytes(path, buffer.getvalue())


def from_pillow(picture: Image.Image, where: str) -> NDArray[np.uint8]:
    """What `read_image` makes of a picture file, from a picture of Pillow, which stays open.

    where: names it in an error. Raises InputError when it can't be decoded.
    """
    try:
        picture.load()
    except BROKEN as error:
        raise InputError(f"{where}: can't be decoded ({error}); the file is broken or closed, open it anew") from error
    return _rgb(picture, where)


def _rgb(picture: Image.Image, where: Path | str) -> NDArray[np.uint8]:
    turned = upright(picture, where)
    if turned.mode[0] in "IF":  # I;16, I, F
        remark(where, "16-bit", f"mode {turned.mode}: the middle 99% of its values are spread over 8 bits")
        grey = to_grey(np.asarray(turned, dtype=np.float64), where)
        return np.repeat((255 - grey if _white_is_zero(picture) else grey)[..., None], 3, axis=2)
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        if share := float((np.asarray(clear)[..., 3] < 255).mean()):
            remark(
                where, "transparent", f"{share:.0%} of it is transparent, laid on black; export it on its own ground"
            )
        turned = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    return np.array(turned.convert("RGB"))


def _orientation(picture: Image.Image, where: Path | str) -> int:
    """By EXIF, 1 when it is upright."""
    with _reading_exif(where):
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))


def upright(picture: Image.Image, where: Path | str) -> Image.Image:
    """Turned by its EXIF. Raises InputError for an EXIF that can't be read: which side is up is not known then."""
    with _reading_exif(where):
        return ImageOps.exif_transpose(picture)


@contextmanager
def _reading_exif(where: Path | str) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise InputError(f"{where}: its EXIF can't be read ({error}); save the picture again without it") from error


def _white_is_zero(picture: Image.Image) -> bool:
    """Whether a TIFF's zeros are white. Pillow turns 8-bit greys round itself, and no deeper ones."""
    tag, white = _WHITE_IS_ZERO
    return picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(tag) == white


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
            picture = Image.open(source, formats=FORMATS)
            pages = getattr(picture, "n_frames", 1)
            cut = picture.mode[0] != "I" and any(";16" in str(tile) for tile in picture.tile)
            further = _further_channels(picture, cut)
            turned = getattr(picture, "tag_v2", {}).get(ExifTags.Base.Orientation, 1)  # of a TIFF, which load() turns
            picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too large to decode safely ({error}); cut it into tiles") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: can't be read as a picture; expected a PNG, JPEG, BMP, TIFF or WebP file: it is broken or of "
            "another type"
        ) from error
    except BROKEN as error:
        raise InputError(
            f"{path}: can't be read as a picture ({error}); the file is broken or of another type"
        ) from error
    except MemoryError as error:
        if not isinstance(source, Path):  # of bytes no more is read than there are
            raise
        raise InputError(f"{path}: asks for more memory than there is; it is broken, or cut it into tiles") from error
    if pages > 1 and picture.format != "MPO":  # a telephone's JPEG, whose further frames are views of the first
        remark(path, "several-pages", f"{pages} pages or frames, only the first is read; save the others as files")
    if further:
        read = _channels_read(picture)
        remark(
            path, "further-channels", f"{read + further} channels, only the first {read} read; save the others as files"
        )
    if cut:  # Pillow has no such colours
        remark(path, "upper-bits", "16 bits a colour, of which the upper 8 are read; save it in grey, or with 8 bits")
    if (turned := max(turned, _orientation(picture, path))) != 1:
        remark(
            path,
            "turned",
            f"its EXIF orientation is {turned}: it is read upright, so boxes and masks must be of the upright picture",
        )
    return picture


def _further_channels(picture: Image.Image, cut: bool) -> int:
    """How many channels of a TIFF Pillow passes over. cut: it knows that its colours have 16 bits.

    Raises ValueError for numbers that Pillow takes for others.
    """
    tags = getattr(picture, "tag_v2", {})
    bits = max(tags.get(_BITS, (8,)))
    if bits > 8 and picture.mode[0] not in "IF" and not cut:
        raise ValueError(f"colours of {bits} bits in planes of their own; save them pixel by pixel, or with 8 bits")
    if bits == 8 and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise ValueError("signed numbers of 8 bits; save it as uint8 or int16")
    return max(int(tags.get(_CHANNELS, 1)) - _channels_read(picture), 0)


def _channels_read(picture: Image.Image) -> int:
    return 3 if picture.mode == "RGBX" else len(picture.getbands())  # an older Pillow's, whose last is dropped
