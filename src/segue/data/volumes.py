"""NIfTI and DICOM in, and a prediction back on the native grid. Needs the extra `medical`.

A volume is cut into axial slices, shown as radiologists see them: the patient's right on the picture's left, anterior
at the top. A file of a single plane (a radiograph, one slice) is that one picture, upright, whatever its plane.
`write_like` undoes exactly that, voxel for voxel.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.types import InputError, check_image

MISSING = 'medical files need nibabel and pydicom, which are missing: pip install "segue[medical]"'


@dataclass(frozen=True)
class Volume:
    """slices: (N, H, W, 3) uint8, axial from feet to head, or a single plane.

    affine: (4, 4), voxel (i, j, k) -> millimetres (RAS). shape: the native (I, J, K).
    """

    slices: NDArray[np.uint8]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        check_image(self.slices[0], "volume")


def read_volume(path: Path, window: tuple[float, float] | None = None) -> Volume:
    """Read a NIfTI file, a DICOM file or a folder with one DICOM series.

    window: (level, width) in the file's own units (Hounsfield for CT). Without one, a DICOM file's own window is
    taken where it has one; else the values from the 0.5th to the 99.5th percentile fill 0..255.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        values, affine = _read_nifti(path)
        own = None
    else:
        values, affine, own = _read_dicom(path)
    oriented = _to_pictures(values, affine)
    return Volume(_grey(oriented, window or own), affine, (values.shape[0], values.shape[1], values.shape[2]))


def write_like(volume: Volume, masks: NDArray[np.bool_], path: Path) -> None:
    """Write masks (N, H, W), one for each slice, as NIfTI (uint8 0/1) on the volume's own grid.

    Shape, affine, orientation and spacing are those of the file that was read; a DICOM series gets its own geometry.
    """
    if masks.shape != volume.slices.shape[:3]:
        raise InputError(f"masks: got shape {masks.shape}, expected {volume.slices.shape[:3]}, one mask for each slice")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: a volume's mask is written as NIfTI; let the name end in .nii.gz")
    nibabel = _import("nibabel")
    native = _from_pictures(masks.astype(np.uint8), volume.affine, volume.shape)
    picture = nibabel.Nifti1Image(native, volume.affine)
    picture.header.set_data_dtype(np.uint8)
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        nibabel.save(picture, Path(folder) / f"mask{suffix}")
        os.replace(Path(folder) / f"mask{suffix}", path)


def _import(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(MISSING) from error


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    nibabel = _import("nibabel")
    try:
        picture = nibabel.load(path)
        values = np.asarray(picture.dataobj, dtype=np.float32)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: can't be read as NIfTI ({error}); copy it again") from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3:
        raise InputError(f"{path}: got {values.ndim} dimensions {values.shape}, expected 3; split the series first")
    return values, np.asarray(picture.affine, dtype=np.float64)


# Where slices, rows and columns go, by the axis through the planes: S axial, P coronal, L sagittal.
_PLANES = {"S": ("S", "P", "L"), "P": ("P", "I", "L"), "L": ("L", "I", "P")}


def _turn(affine: NDArray[np.float64], shape: tuple[int, ...], back: bool = False) -> NDArray[np.float64]:
    """nibabel's orientation that turns the native grid into pictures (N, H, W), or pictures back into it."""
    orientations = _import("nibabel").orientations
    native, through = orientations.io_orientation(affine), "S"
    if shape.count(1) == 1:
        through = "LPS"[int(native[shape.index(1), 0])]
    pictures = orientations.axcodes2ornt(_PLANES[through])
    return orientations.ornt_transform(*((pictures, native) if back else (native, pictures)))


def _to_pictures(values: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    return _import("nibabel").apply_orientation(values, _turn(affine, values.shape))


def _from_pictures(values: NDArray[Any], affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any]:
    return np.ascontiguousarray(_import("nibabel").apply_orientation(values, _turn(affine, shape, back=True)))


def _grey(values: NDArray[np.float32], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    if not np.isfinite(values).any():
        raise InputError("the volume holds no finite value")
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    else:
        low, high = (float(v) for v in np.nanpercentile(values, (0.5, 99.5)))
    scaled = np.nan_to_num((values - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.repeat((scaled * 255).round().astype(np.uint8)[..., None], 3, axis=3)


def _read_dicom(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[float, float] | None]:
    """Values (I, J, K) with I along the rows' direction, affine in RAS, and the first file's window."""
    pydicom = _import("pydicom")
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: an empty folder, expected a DICOM series")
    slices = [_dicom_file(pydicom, file) for file in files]
    if len({(s.Rows, s.Columns, getattr(s, "SeriesInstanceUID", "")) for s in slices}) > 1:
        raise InputError(f"{path}: files of several series or sizes; give a folder with one series")
    slices.sort(key=_along)
    planes = [_plane(s) for s in slices]
    first = slices[0]
    own = None
    if "WindowCenter" in first and "WindowWidth" in first:
        level, width = (np.atleast_1d(first[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        own = (float(level), float(width)) if _upright(first) else None
    return np.stack(planes, -1), _affine(slices), own


def _dicom_file(pydicom: ModuleType, file: Path) -> Any:
    try:
        data = pydicom.dcmread(file)
        data.pixel_array  # noqa: B018  decode here, where the file's name is known
    except (
        pydicom.errors.InvalidDicomError,
        OSError,
        AttributeError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise InputError(
            f"{file}: can't be read as DICOM ({error}); convert it to uncompressed DICOM or NIfTI"
        ) from error
    if data.pixel_array.ndim != 2:
        raise InputError(f"{file}: pixel data of shape {data.pixel_array.shape}, expected one grey slice a file")
    return data


def _upright(data: Any) -> bool:
    return getattr(data, "PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME1"


def _plane(data: Any) -> NDArray[np.float32]:
    """(columns, rows) values after the rescaling; MONOCHROME1 turned, so that bright is dense."""
    slope, base = float(getattr(data, "RescaleSlope", 1)), float(getattr(data, "RescaleIntercept", 0))
    values = data.pixel_array.astype(np.float32) * slope + base
    return (values if _upright(data) else values.max() + values.min() - values).T


def _geometry(data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[float]]:
    """Directions of a row and of a column, position of the first pixel, and (row, column) spacing, in DICOM's LPS.

    A projection without geometry counts as seen from the front: across to the patient's left, down to the feet.
    """
    directions = np.array(getattr(data, "ImageOrientationPatient", None) or [1, 0, 0, 0, 0, -1], dtype=float)
    position = np.array(getattr(data, "ImagePositionPatient", None) or [0, 0, 0], dtype=float)
    spacing = getattr(data, "PixelSpacing", None) or getattr(data, "ImagerPixelSpacing", None) or [1, 1]
    return directions[:3], directions[3:], position, [float(s) for s in spacing]


def _along(data: Any) -> float:
    across, down, position, _ = _geometry(data)
    return float(np.cross(across, down) @ position)


def _affine(slices: list[Any]) -> NDArray[np.float64]:
    across, down, position, spacing = _geometry(slices[0])
    step = np.cross(across, down) * float(getattr(slices[0], "SliceThickness", 1) or 1)
    if len(slices) > 1:
        step = (_geometry(slices[-1])[2] - position) / (len(slices) - 1)
        if not np.any(step):
            raise InputError("all slices lie at one position; the series has no ImagePositionPatient to order them by")
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = across * spacing[1], down * spacing[0], step, position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
