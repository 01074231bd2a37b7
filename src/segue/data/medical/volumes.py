"""NIfTI and DICOM in, and a prediction back on the native grid. Needs the extra `medical`.

A volume is cut into axial slices (or coronal, or sagittal ones), shown as radiologists see them: the patient's right
on the picture's left, anterior at the top (the head, in the other two). A file of a single plane (a radiograph, one
slice) is that one picture, upright, whatever its plane. An oblique grid counts as the planes that it is nearest to; no
voxel is ever interpolated. `write_like` undoes exactly that, voxel for voxel; of DICOM too it makes a NIfTI file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.files import replacing
from segue.types import InputError, check_image, to_install

MISSING = f"medical files need nibabel and pydicom, which are missing: {to_install('medical')}"


Plane = Literal["axial", "coronal", "sagittal"]
# Where slices, rows and columns of each plane go: S to the head, P to the back, L to the patient's left, I to the feet.
_AXES = {"axial": ("S", "P", "L"), "coronal": ("P", "I", "L"), "sagittal": ("L", "I", "P")}
_PLANE_ACROSS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")  # the world's axes x, y, z


@dataclass(frozen=True)
class Volume:
    """slices: (N, H, W, 3) uint8; axial from feet to head, coronal from front to back, sagittal from right to left.

    affine: (4, 4), voxel (i, j, k) -> millimetres (RAS). shape: the native (I, J, K).
    """

    slices: NDArray[np.uint8]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    plane: Plane

    def __post_init__(self) -> None:
        check_image(self.slices[0], "volume")


def read_volume(path: Path, *, window: tuple[float, float] | None = None, plane: Plane | None = None) -> Volume:
    """Read a NIfTI file, a DICOM file or a folder with one DICOM series.

    plane: how to cut it; None is axial, or for a file of a single plane that plane.
    window: (level, width) in the file's own units (Hounsfield for CT). Without one, a DICOM file's own window is
    taken where it has one; else the values from the 0.5th to the 99.5th percentile fill 0..255.
    Raises InputError for a file that is missing, can't be read, or is no volume.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    own, inverted = None, False
    if path.name.lower().endswith((".nii", ".nii.gz")):
        values, affine = _read_nifti(path)
    else:
        values, affine, own, inverted = _read_dicom(path)
    plane = plane or _native_plane(affine, values.shape)
    grey = _grey(_reorient(values, affine, plane), window or own, path)
    slices = np.repeat((255 - grey if inverted else grey)[..., None], 3, axis=3)
    return Volume(slices, affine, (values.shape[0], values.shape[1], values.shape[2]), plane)


def write_like(volume: Volume, masks: NDArray[np.bool_], path: Path) -> None:
    """Write masks (N, H, W), one for each slice, as NIfTI (uint8 0/1) on the volume's own grid.

    Shape, affine, orientation and spacing are those of the file that was read; a DICOM series gets its own geometry.
    Raises InputError for masks of another shape, and a name that doesn't end in .nii or .nii.gz.
    """
    if masks.shape != volume.slices.shape[:3]:
        raise InputError(f"masks: got shape {masks.shape}, expected {volume.slices.shape[:3]}, one mask for each slice")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: a volume's mask is written as NIfTI; let the name end in .nii.gz")
    nibabel = _import("nibabel")
    native = _reorient(masks.astype(np.uint8), volume.affine, volume.plane, back=True)
    picture = nibabel.Nifti1Image(native, volume.affine)
    picture.header.set_data_dtype(np.uint8)
    picture.header.set_xyzt_units("mm")
    with replacing(path) as fresh:
        nibabel.save(picture, fresh)


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


def _native_plane(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Plane:
    """Axial, or for a single plane the one that it is nearest to."""
    if shape.count(1) != 1:
        return "axial"
    return _PLANE_ACROSS[int(_import("nibabel").orientations.io_orientation(affine)[shape.index(1), 0])]


def _reorient(values: NDArray[Any], affine: NDArray[np.float64], plane: Plane, back: bool = False) -> NDArray[Any]:
    """The native grid (I, J, K) as pictures (N, H, W), or back: axes are permuted and flipped, nothing else."""
    orientations = _import("nibabel").orientations
    native, pictures = orientations.io_orientation(affine), orientations.axcodes2ornt(_AXES[plane])
    turn = orientations.ornt_transform(*((pictures, native) if back else (native, pictures)))
    return np.ascontiguousarray(orientations.apply_orientation(values, turn))


def _grey(values: NDArray[np.float32], window: tuple[float, float] | None, path: Path) -> NDArray[np.uint8]:
    """Values of any shape as uint8; what is no number becomes the darkest."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{path}: the volume holds no finite value; export it again")
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    else:
        low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return (((known - low) / max(high - low, 1e-6)).clip(0, 1) * 255).round().astype(np.uint8)


def _read_dicom(
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[float, float] | None, bool]:
    """Values (I, J, K) with I along the rows' direction, affine in RAS, the first file's window, and MONOCHROME1."""
    pydicom = _import("pydicom")
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise InputError(f"{path}: an empty folder, expected a DICOM series")
    slices = [_dicom_file(pydicom, file) for file in files]
    if len({(s.Rows, s.Columns, getattr(s, "SeriesInstanceUID", "")) for s in slices}) > 1:
        raise InputError(f"{path}: files of several series or sizes; give a folder with one series")
    slices.sort(key=_position_along_normal)
    first = slices[0]
    own = None
    if "WindowCenter" in first and "WindowWidth" in first:
        level, width = (np.atleast_1d(first[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        own = (float(level), float(width))
    inverted = getattr(first, "PhotometricInterpretation", "MONOCHROME2") == "MONOCHROME1"
    return np.stack([_plane(s) for s in slices], -1), _affine(slices, path), own, inverted


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


def _plane(data: Any) -> NDArray[np.float32]:
    """(columns, rows) values after the rescaling."""
    slope, base = float(getattr(data, "RescaleSlope", 1)), float(getattr(data, "RescaleIntercept", 0))
    result: NDArray[np.float32] = (data.pixel_array.astype(np.float32) * slope + base).T
    return result


def _geometry(data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[float]]:
    """Directions of a row and of a column, position of the first pixel, and (row, column) spacing, in DICOM's LPS.

    A projection without geometry counts as seen from the front: across to the patient's left, down to the feet.
    """
    directions = np.array(getattr(data, "ImageOrientationPatient", None) or [1, 0, 0, 0, 0, -1], dtype=float)
    position = np.array(getattr(data, "ImagePositionPatient", None) or [0, 0, 0], dtype=float)
    spacing = getattr(data, "PixelSpacing", None) or getattr(data, "ImagerPixelSpacing", None) or [1, 1]
    return directions[:3], directions[3:], position, [float(s) for s in spacing]


def _position_along_normal(data: Any) -> float:
    across, down, position, _ = _geometry(data)
    return float(np.cross(across, down) @ position)


def _affine(slices: list[Any], path: Path) -> NDArray[np.float64]:
    across, down, position, spacing = _geometry(slices[0])
    step = np.cross(across, down) * float(getattr(slices[0], "SliceThickness", 1) or 1)
    if len(slices) > 1:
        step = (_geometry(slices[-1])[2] - position) / (len(slices) - 1)
        _check_even([_position_along_normal(s) for s in slices], path)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = across * spacing[1], down * spacing[0], step, position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _check_even(positions: list[float], path: Path) -> None:
    """Refuse a series that no grid can hold: a mask written on it would lie elsewhere in the body."""
    gaps = np.diff(positions)
    if gaps.min() < 1e-3:
        raise InputError(
            f"{path}: two slices lie at one position; expected one series, ordered by ImagePositionPatient: "
            "remove the doubles, or convert it with dcm2niix"
        )
    if gaps.max() - gaps.min() > 0.05 * np.median(gaps):
        raise InputError(
            f"{path}: slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, expected even distances; "
            "a slice may be missing: copy the series again, or resample it with dcm2niix"
        )
