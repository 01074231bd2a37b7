"""DICOM in: pixels as a viewer shows them, by pydicom's own functions, and where they lie. Needs the extra `medical`.

In the standard's order (PS3.3, C.7.6.3 and C.11): palette or colour space; modality LUT or rescaling; padding; VOI LUT,
window or percentiles; presentation LUT, MONOCHROME1. An element that is there and empty counts as absent.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.greys import to_grey
from segue.data.medical.packages import import_package
from segue.data.picture_files import PictureWarning, is_dicom
from segue.types import InputError

# What pydicom raises on files that are broken, besides exceptions of its own.
_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
    AssertionError, struct.error, zlib.error,
)  # fmt: skip
_GREYS = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom makes RGB of them
_TABLES = ("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence")
_MAY_BE_EMPTY = (
    *_TABLES, "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "PresentationLUTShape", "PixelPaddingValue", "PixelPaddingRangeLimit", "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ShutterShape",
)  # fmt: skip
_PALETTE = ("RedPaletteColorLookupTable", "GreenPaletteColorLookupTable", "BluePaletteColorLookupTable")
_DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


@dataclass(frozen=True)
class Series:
    """Files that are one volume, or one file that stands alone. uid: of the series."""

    uid: str
    files: tuple[Path, ...]


def find_series(files: Sequence[Path]) -> tuple[list[Series], list[Path]]:
    """The DICOM files by their series, each in the order of the first file, and the files that are no DICOM picture.

    A file without a position (a radiograph) stands alone, whatever its series.
    """
    found: dict[str, list[Path]] = {}
    others = []
    for file in files:
        uid = _series_of(file) if is_dicom(file) else None
        if uid is None:
            others.append(file)
        else:
            found.setdefault(uid or str(file), []).append(file)
    return [Series(uid, tuple(some)) for uid, some in found.items()], others


def _series_of(file: Path) -> str | None:
    """The series of a file, empty when it stands alone; None for what holds no picture, such as a DICOMDIR.

    What can't be read stands alone: whoever reads it says why.
    """
    try:
        with _reading(file):
            data = import_package("pydicom").dcmread(file, stop_before_pixels=True)
            alone = not data.get("ImagePositionPatient") or not data.get("SeriesInstanceUID")
            return None if "Rows" not in data else "" if alone else str(data.SeriesInstanceUID)
    except InputError:
        return ""


def read_dicom(
    files: Sequence[Path], where: Path, window: tuple[float, float] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(I, J, K) uint8 greys or (I, J, K, 3) colours, I along the rows' direction, and the affine, in millimetres (RAS).

    files: one, or those of one series, in any order. where: names them in an error. window: (level, width); without
    one the first slice's VOI LUT or window is taken for all, else percentiles (`to_grey`).
    Raises InputError for what is no single slice a file, and for files that no grid holds.
    """
    with _reading(where):
        slices = sorted((_read(file) for file in files), key=lambda one: one.height)
        first = slices[0]
        _check_alike(slices, where)
        _tell(slices, where, own_window=window is None and not first.colour)
        pixels = np.stack([one.pixels for one in slices], -2 if first.colour else -1).swapaxes(0, 1)
        shown = pixels.astype(np.uint8) if first.colour else _shown(pixels, first.data, where, window)
        return shown, _affine(slices, where)


@dataclass(frozen=True)
class _Slice:
    """pixels: (rows, columns) float32 after the modality LUT, NaN where padded; or (rows, columns, 3) uint8 RGB.

    across, down: directions of a row and of a column; position: of the first pixel; all in DICOM's LPS.
    spacing: (between rows, between columns).
    """

    file: Path
    data: Any
    pixels: NDArray[Any]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    position: NDArray[np.float64]
    spacing: tuple[float, float]

    @property
    def colour(self) -> bool:
        return self.pixels.ndim == 3

    @property
    def height(self) -> float:
        """The position along the slice's normal."""
        return float(np.cross(self.across, self.down) @ self.position)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Name the file in whatever pydicom raises."""
    pydicom = import_package("pydicom")
    try:
        yield
    except InputError:
        raise
    except (*_ERRORS, pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{file}: can't be read as DICOM ({reason}); copy it again, or convert it to uncompressed DICOM or NIfTI"
        ) from error


def _read(file: Path) -> _Slice:
    pydicom = import_package("pydicom")
    with _reading(file):
        data = pydicom.dcmread(file)
        _check_single(data, file)
        for name in _MAY_BE_EMPTY:
            if name in data and data[name].is_empty:
                delattr(data, name)
        _widen_tables(data)
        pixels = _pixels(data, file)
        across, down, position = _place(data, file)
        return _Slice(file, data, pixels, across, down, position, _spacing(data, file))


def _check_single(data: Any, file: Path) -> None:
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        kind = getattr(data.get("SOPClassUID"), "name", "of unknown kind")
        raise InputError(f"{file}: a DICOM file without a picture ({kind}), expected one slice")
    if (frames := int(data.get("NumberOfFrames") or 1)) > 1:
        raise InputError(
            f"{file}: a multi-frame file of {frames} frames, expected one slice a file; make NIfTI of it by dcm2niix"
        )


def _widen_tables(data: Any) -> None:
    """Tables of entries of other sizes as 16-bit ones, where pydicom 3.0 goes wrong.

    Its positions have the entries' type: in an 8-bit table those above 255 wrap. It takes packed entries for words, and
    no modality LUT of 12 bits. The range of a VOI or presentation LUT is spread over 16 bits, which means the same.
    """
    for name in _TABLES:
        for item in data.get(name, ())[:1]:
            count, first, bits = item.LUTDescriptor
            if bits <= 8 or name == "ModalityLUTSequence":
                scale = 1 if name == "ModalityLUTSequence" else 65535 / (2**bits - 1)
                entries = np.rint(_entries(item.LUTData, count or 2**16) * scale).astype(int)
                item.add_new("LUTData", "US", entries.tolist())
                item.LUTDescriptor = [count, first, 16]
    for name in _PALETTE:
        table, count = data.get(f"{name}Data"), (data.get(f"{name}Descriptor") or [0])[0] or 2**16
        if table and len(table) < 2 * count:
            setattr(data, f"{name}Data", np.frombuffer(table[:count], np.uint8).astype("<u2").tobytes())


def _entries(table: Any, count: int) -> NDArray[np.float64]:
    """The entries of a LUT, one in each 16-bit word or two."""
    words = np.frombuffer(table, "<u2") if isinstance(table, bytes) else np.atleast_1d(np.array(table, "<u2"))
    found = words if len(words) >= count else words.view(np.uint8)
    return found[:count].astype(np.float64)


def _pixels(data: Any, file: Path) -> NDArray[Any]:
    """What `_Slice.pixels` holds."""
    pixels = import_package("pydicom.pixels")
    stored, kind = pixels.pixel_array(data), str(data.PhotometricInterpretation)
    if kind == "PALETTE COLOR" and stored.ndim == 2:
        colours = pixels.apply_color_lut(stored, data)[..., :3]
        return _eight_bits(colours, int(data.RedPaletteColorLookupTableDescriptor[2]))
    if kind in _COLOURS and stored.ndim == 3:
        return _eight_bits(stored, int(data.BitsStored))
    if kind not in _GREYS or stored.ndim != 2:
        raise InputError(f"{file}: {kind} pixels of shape {stored.shape}, expected greys, a palette, RGB or YBR_FULL")
    padding = _padding(data, stored)
    if ("RescaleSlope" in data) != ("RescaleIntercept" in data):
        data.RescaleSlope, data.RescaleIntercept = data.get("RescaleSlope", 1), data.get("RescaleIntercept", 0)
    whole = stored.astype(np.int64) if stored.dtype.kind in "iu" else stored
    values = np.asarray(pixels.apply_modality_lut(whole, data), np.float32)
    return np.where(padding, np.float32(np.nan), values)


def _eight_bits(colours: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Colours of `bits` a channel as uint8; of 16 where some value does not fit into `bits`."""
    top = 2**bits - 1 if colours.max() < 2**bits else 2**16 - 1
    scaled: NDArray[np.uint8] = (colours.astype(np.float64) / top * 255).round().astype(np.uint8)
    return scaled


def _padding(data: Any, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a grey picture is padded: PixelPaddingValue, or the values from it to PixelPaddingRangeLimit."""
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    if stored.dtype.kind == "f":
        kind = "DoubleFloat" if "DoubleFloatPixelData" in data else "Float"
        names = (f"{kind}PixelPaddingValue", f"{kind}PixelPaddingRangeLimit")
    if names[0] not in data:
        return np.zeros(stored.shape, bool)
    ends = [data[name].value for name in names if name in data]
    if stored.dtype.kind != "f":  # written as signed or as unsigned, whatever the pixels are
        ends = [int(np.array(int(end) % 2 ** (8 * stored.itemsize)).astype(stored.dtype)) for end in ends]
    padded: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return padded


def _shown(
    values: NDArray[np.float32], data: Any, where: Path, window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Greys of one series as uint8, by the first slice's elements; padding is black, as background is."""
    padded = np.isnan(values)
    if window is not None:
        grey = to_grey(values, where, (window[0] - window[1] / 2, window[0] + window[1] / 2))
    elif _has_table(data) or _own_window(data):
        slices = np.moveaxis(values, -1, 0)
        grey = np.stack([_by_voi(np.nan_to_num(one), data) for one in slices], -1)
    else:
        grey = to_grey(values, where)
    grey = _presented(data)[grey]
    grey[padded] = 0
    return grey


def _by_voi(values: NDArray[np.float32], data: Any) -> NDArray[np.uint8]:
    """By the VOI LUT or the first window, whose range of answers fills 0..255."""
    apply = import_package("pydicom.pixels").apply_voi_lut
    if _has_table(data):
        item = data.VOILUTSequence[0]
        low, high = 0.0, 2.0 ** item.LUTDescriptor[2] - 1
        shown = apply(np.rint(values).astype(np.int64), data)
    else:
        with np.errstate(over="ignore"):  # far outside a sigmoid
            low, high = (float(end) for end in apply(np.array([-1e30, 1e30]), data))
            shown = apply(values, data)
    return to_grey(np.asarray(shown, np.float32), "", (low, high)) if high > low else _turned(shown, low, high)


def _turned(shown: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """With a negative slope pydicom's range is upside down, and so are its answers."""
    return to_grey(-np.asarray(shown, np.float32), "", (-low, -high))


def _has_table(data: Any) -> bool:
    return any("LUTData" in item and "LUTDescriptor" in item for item in data.get("VOILUTSequence", ())[:1])


def _own_window(data: Any) -> tuple[float, float, str] | None:
    """(level, width, function), None without one or with one that the standard does not allow."""
    if "WindowCenter" not in data or "WindowWidth" not in data:
        return None
    level, width = (float(np.atleast_1d(data[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    function = str(data.get("VOILUTFunction", "LINEAR")).upper()
    narrow = width < 1 if function == "LINEAR" else width <= 0
    return None if narrow or not np.isfinite([level, width]).all() else (level, width, function)


def _presented(data: Any) -> NDArray[np.uint8]:
    """The 256 greys as they are presented: by a presentation LUT, else MONOCHROME1 turns them round."""
    greys = np.arange(256)
    shape = str(data.get("PresentationLUTShape", "IDENTITY")).strip().upper()
    if "PresentationLUTSequence" not in data and shape == "IDENTITY":
        return (greys[::-1] if data.PhotometricInterpretation == "MONOCHROME1" else greys).astype(np.uint8)
    item = data.get("PresentationLUTSequence", (None,))[0]
    top = 255.0 if item is None else 2.0 ** item.LUTDescriptor[2] - 1
    return to_grey(import_package("pydicom.pixels").apply_presentation_lut(greys, data) * 1.0, "", (0.0, top))


def _tell(slices: list[_Slice], where: Path, *, own_window: bool) -> None:
    """Warn of what a viewer would show and this reader does not."""
    data, messages = slices[0].data, []
    windows = {_own_window(one.data) for one in slices}
    if own_window and len(windows) > 1 and not _has_table(data):
        messages.append(f"its slices have {len(windows)} different windows; all are shown by the first one's")
    if own_window and windows == {None} and "WindowWidth" in data and "WindowCenter" in data and not _has_table(data):
        messages.append(f"its window of width {data.WindowWidth} is no window; percentiles are taken")
    if "ShutterShape" in data:
        messages.append("its display shutter is not applied")
    if any((group, 0x3000) in data for group in range(0x6000, 0x6020, 2)):
        messages.append("its overlays are not drawn")
    if data.get("PixelPresentation") in ("COLOR", "MIXED"):
        messages.append("its supplemental palette is not used")
    if data.get("PresentationIntentType") == "FOR PROCESSING":
        messages.append("its values are for processing, not for viewing")
    for message in messages:
        warnings.warn(PictureWarning(f"{where}: {message}", "dicom"), stacklevel=2)


def _check_alike(slices: list[_Slice], where: Path) -> None:
    """Raise InputError for slices that differ in what a volume has once."""
    first = slices[0]
    facts: dict[str, Callable[[_Slice], Any]] = {
        "sizes": lambda one: one.pixels.shape,
        "series": lambda one: str(one.data.get("SeriesInstanceUID", "")),
        "kinds of pixels": lambda one: str(one.data.PhotometricInterpretation),
        "presentation LUTs": lambda one: str(one.data.get("PresentationLUTShape", "")),
    }
    for what, fact in facts.items():
        if len(found := {fact(one) for one in slices}) > 1:
            shown = ", ".join(map(str, sorted(found, key=str)[:3]))
            raise InputError(f"{where}: slices of {len(found)} {what} ({shown}); give a folder with one series")
    if len(slices) > 1 and any("ImageOrientationPatient" not in one.data for one in slices):
        raise InputError(
            f"{where}: several slices without ImageOrientationPatient, so none knows its place; export anew"
        )
    for one in slices:
        turned = np.abs([one.across - first.across, one.down - first.down]).max() > 1e-3
        if turned or not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            what = "orientation" if turned else "pixel spacing"
            raise InputError(
                f"{where}: {one.file.name} and {first.file.name} differ in {what}, expected one volume; give its "
                "slices a folder of their own (a localizer?)"
            )


def _place(data: Any, file: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Directions of a row and of a column, and the position of the first pixel, in DICOM's LPS.

    A projection has no geometry: PatientOrientation tells its directions, else it counts as seen from the front, across
    to the patient's left and down to the feet.
    """
    across, down = _letters(data.get("PatientOrientation")) or ([1.0, 0, 0], [0.0, 0, -1])
    directions = np.array(data.get("ImageOrientationPatient") or [*across, *down], dtype=float)
    position = np.array(data.get("ImagePositionPatient") or [0, 0, 0], dtype=float)
    if directions.shape != (6,) or position.shape != (3,) or not np.isfinite([*directions, *position]).all():
        raise InputError(f"{file}: its orientation or position is not 6 and 3 numbers; export it again")
    lengths = np.linalg.norm(directions.reshape(2, 3), axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(directions[:3] @ directions[3:]) > 0.01:
        raise InputError(f"{file}: its orientation {directions.tolist()} is no pair of directions; export it again")
    return directions[:3], directions[3:], position


def _letters(orientation: Any) -> tuple[list[float], list[float]] | None:
    """Directions of PatientOrientation such as L\\F, by first letters; None when they are none, or on one axis."""
    letters = [str(part)[:1] for part in orientation] if orientation and not isinstance(orientation, str) else []
    if len(letters) != 2 or not {*letters} <= _DIRECTIONS.keys():
        return None
    across, down = (_DIRECTIONS[letter] for letter in letters)
    return None if np.dot(across, down) else ([float(v) for v in across], [float(v) for v in down])


def _spacing(data: Any, file: Path) -> tuple[float, float]:
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    found = next((data[name].value for name in names if name in data), (1, 1))
    rows, columns = (float(value) for value in found)
    if not (0 < rows < 1e6 and 0 < columns < 1e6):
        raise InputError(f"{file}: pixels of {rows} x {columns} mm, expected two positive numbers; export it again")
    return rows, columns


def _affine(slices: list[_Slice], where: Path) -> NDArray[np.float64]:
    first, last = slices[0], slices[-1]
    thickness = float(first.data.get("SliceThickness") or 1)
    step = np.cross(first.across, first.down) * (thickness if 0 < thickness < 1e6 else 1.0)
    if len(slices) > 1:
        step = (last.position - first.position) / (len(slices) - 1)
        _check_even(slices, where)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = first.across * first.spacing[1], first.down * first.spacing[0]
    lps[:3, 2], lps[:3, 3] = step, first.position
    affine: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    return affine


def _check_even(slices: list[_Slice], where: Path) -> None:
    """Refuse a series that no grid can hold: a mask written on it would lie elsewhere in the body."""
    gaps = np.diff([one.height for one in slices])
    if gaps.min() < 1e-3:
        raise InputError(
            f"{where}: two slices lie at one position; expected one series, ordered by ImagePositionPatient: "
            "remove the doubles, or convert it with dcm2niix"
        )
    if gaps.max() - gaps.min() > 0.05 * np.median(gaps):
        raise InputError(
            f"{where}: slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, expected even distances; "
            "a slice may be missing: copy the series again, or resample it with dcm2niix"
        )
    positions = np.stack([one.position for one in slices])
    line = np.linspace(positions[0], positions[-1], len(slices))
    if (off := np.abs(positions - line).max()) > 0.05 * np.median(gaps):
        raise InputError(
            f"{where}: slices lie up to {off:.2f} mm beside one line, expected a grid; resample the series"
        )
