"""NIfTI and DICOM in, and a prediction back on the native grid. Needs the extra `medical`.

A volume is cut into axial slices (or coronal, or sagittal ones), shown as radiologists see them: the patient's right
on the picture's left, anterior at the top (the head, in the other two). A file of a single plane (a radiograph, one
slice) is that one picture, upright, whatever its plane. An oblique grid counts as the planes that it is nearest to; no
voxel is ever interpolated. `write_like` undoes exactly that, voxel for voxel; of DICOM too it makes a NIfTI file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.data.greys import to_grey
from segue.data.medical.dicom import find_series, read_dicom
from segue.data.medical.nifti import read_nifti, write_nifti
from segue.data.medical.packages import import_package
from segue.data.picture_files import NIFTI_SUFFIXES, tell_left_out
from segue.types import InputError, check_image

Plane = Literal["axial", "coronal", "sagittal"]
# Where slices, rows and columns of each plane go: S to the head, P to the back, L to the patient's left, I to the feet.
_AXES = {"axial": ("S", "P", "L"), "coronal": ("P", "I", "L"), "sagittal": ("L", "I", "P")}
_PLANE_ACROSS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")  # the world's axes x, y, z


@dataclass(frozen=True)
class Volume:
    """slices: (N, H, W, 3) uint8; axial from feet to head, coronal from front to back, sagittal from right to left.

    affine: (4, 4), voxel (i, j, k) -> the file's own unit, millimetres unless a NIfTI file says otherwise (RAS).
    shape: the native (I, J, K). header: of the NIfTI file that was read.
    """

    slices: NDArray[np.uint8]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    plane: Plane
    header: Any = None

    def __post_init__(self) -> None:
        check_image(self.slices[0], "volume")


def read_volume(
    path: Path | Sequence[Path], *, window: tuple[float, float] | None = None, plane: Plane | None = None
) -> Volume:
    """Read a NIfTI file, a DICOM file, a folder with one DICOM series, or the files of one series.

    plane: how to cut it; None is axial, or for a file of a single plane that plane.
    window: (level, width) in the file's own units (Hounsfield for CT). Without one, DICOM files are shown by their own
    elements (`segue.data.medical.dicom`); else the values from the 0.5th to the 99.5th percentile fill 0..255.
    Raises InputError for a file that is missing, can't be read, or is no volume.
    """
    files = [path] if isinstance(path, Path) else list(path)
    where = files[0] if isinstance(path, Path) or len(files) == 1 else files[0].parent
    if missing := [file for file in files if not file.exists()]:
        raise InputError(f"{missing[0]}: no such file")
    header = None
    if where.name.lower().endswith(NIFTI_SUFFIXES) and where.is_file():
        values, affine, header = read_nifti(where)
        span = None if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
        grey = to_grey(values, where, span)
    else:
        grey, affine = read_dicom(_only_series(where) if where.is_dir() and len(files) == 1 else files, where, window)
    shape = (grey.shape[0], grey.shape[1], grey.shape[2])
    plane = plane or _native_plane(affine, shape)
    slices = _reorient(grey, affine, plane)
    return Volume(slices if slices.ndim == 4 else np.repeat(slices[..., None], 3, 3), affine, shape, plane, header)


def _only_series(folder: Path) -> Sequence[Path]:
    """The files of a folder's one DICOM series; warns of others. Raises InputError for none and for several."""
    there = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    series, _ = find_series([p for p in there if p.is_file()])
    if len(series) != 1:
        counts = ", ".join(f"{one.files[0].name}: {len(one.files)} files" for one in series[:3])
        raise InputError(f"{folder}: {len(series)} DICOM series ({counts or 'none'}), expected one; give one a folder")
    tell_left_out(folder, series[0].files)
    return series[0].files


def write_like(volume: Volume, masks: NDArray[np.bool_], path: Path) -> None:
    """Write masks (N, H, W), one for each slice, as NIfTI (uint8 0/1) on the volume's own grid.

    Shape, unit, codes and matrices are those of the file that was read; a DICOM series gets its own geometry.
    Raises InputError for masks of another shape, and a name that doesn't end in .nii or .nii.gz.
    """
    if masks.shape != volume.slices.shape[:3]:
        raise InputError(f"masks: got shape {masks.shape}, expected {volume.slices.shape[:3]}, one mask for each slice")
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise InputError(f"{path}: a volume's mask is written as NIfTI; let the name end in .nii.gz")
    native = _reorient(masks.astype(np.uint8), volume.affine, volume.plane, back=True)
    write_nifti(native, volume.affine, volume.header, path)


def _native_plane(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Plane:
    """Axial, or for a single plane the one that it is nearest to."""
    if shape.count(1) != 1:
        return "axial"
    return _PLANE_ACROSS[int(import_package("nibabel").orientations.io_orientation(affine)[shape.index(1), 0])]


def _reorient(values: NDArray[Any], affine: NDArray[np.float64], plane: Plane, back: bool = False) -> NDArray[Any]:
    """The native grid (I, J, K) as pictures (N, H, W), or back: axes are permuted and flipped, nothing else."""
    orientations = import_package("nibabel").orientations
    native, pictures = orientations.io_orientation(affine), orientations.axcodes2ornt(_AXES[plane])
    turn = orientations.ornt_transform(*((pictures, native) if back else (native, pictures)))
    return np.ascontiguousarray(orientations.apply_orientation(values, turn))
