"""NIfTI in and out. A mask gets its scan's own header: units, codes and matrices. Needs the extra `medical`."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.data.medical.packages import import_package
from segue.data.picture_files import PictureWarning
from segue.files import replacing
from segue.types import InputError

# What nibabel raises on files that are broken, besides its own exceptions.
_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
MAX_VOXELS = 2**31
MAX_PACKED = 1100  # bytes that one byte of gzip may become, and some
NO_DIRECTION = (
    "neither qform nor sform says how it lies; it is taken as nibabel does (its first axis to the patient's left), so "
    "the sides of a note may be exchanged"
)


def read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], Any]:
    """(I, J, K) values, the affine to RAS in the file's own unit, and the header, which `write_nifti` needs.

    Warns of a file that has no direction. Raises InputError for colours, complex numbers, more than 3 dimensions, an
    affine that no grid has, and all that is broken.
    """
    with _reading(path):
        picture = import_package("nibabel").load(path)
        if not isinstance(picture, import_package("nibabel.nifti1").Nifti1Pair):
            raise InputError(f"{path}: a {type(picture).__name__}, expected a NIfTI volume; export it as one")
        _check_voxels(picture, path)
        affine = np.asarray(picture.affine, dtype=np.float64)
        picture.header.get_xyzt_units()  # of an unknown code it raises
        with np.errstate(over="ignore"):
            values = np.asarray(picture.dataobj, dtype=np.float32)
        if not (np.isfinite(affine).all() and np.linalg.matrix_rank(affine[:3, :3]) == 3):
            raise InputError(f"{path}: its affine {affine[:3].tolist()} is no grid's; export it again")
        if not (picture.header["qform_code"] or picture.header["sform_code"]):
            warnings.warn(PictureWarning(f"{path}: {NO_DIRECTION}", "nifti"), stacklevel=2)
    return values.reshape(_three(values.shape, path)), affine, picture.header


def write_nifti(mask: NDArray[np.uint8], affine: NDArray[np.float64], header: Any | None, path: Path) -> None:
    """Write (I, J, K) uint8 to `path`.

    header: of the scan, whose shape, unit, codes and matrices the mask gets, so that every program finds both at one
    place; None for a DICOM scan: millimetres in scanner coordinates.
    """
    nibabel = import_package("nibabel")
    if header is None:
        picture = nibabel.Nifti1Image(mask, affine)
        picture.set_sform(affine, code="scanner")
        picture.set_qform(affine, code="scanner")
        if not np.allclose(picture.get_qform(), affine, atol=1e-3):  # a sheared grid, of which a qform knows nothing
            picture.set_qform(affine, code="unknown")
        picture.header.set_xyzt_units("mm")
    else:
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        picture = kind(mask.reshape(header.get_data_shape()), None, _of_mask(header))
    picture.header.set_data_dtype(np.uint8)
    with replacing(path) as fresh:
        nibabel.save(picture, fresh)


def _of_mask(header: Any) -> Any:
    """The scan's header without what is said of its values, and without extensions, which may name the patient."""
    kept = header.copy()
    kept.set_intent("none")
    for name in ("cal_min", "cal_max", "descrip", "aux_file"):
        kept[name] = np.zeros((), kept[name].dtype)
    kept.set_slope_inter(1, 0)
    kept.extensions = type(kept.extensions)()
    return kept


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in whatever nibabel raises."""
    nibabel = import_package("nibabel")
    own = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.spatialimages.HeaderTypeError,
        nibabel.wrapstruct.WrapStructError,
    )
    try:
        yield
    except InputError:
        raise
    except (*_ERRORS, *own) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: can't be read as NIfTI ({reason}); copy it again") from error


def _check_voxels(picture: Any, path: Path) -> None:
    """Refuse by the header alone what a volume of greys is not, and what the file can't hold."""
    dtype, shape = picture.get_data_dtype(), picture.shape
    _three(shape, path)
    if dtype.kind not in "iuf":
        kind = "complex numbers" if dtype.kind == "c" else "RGB colours" if dtype.names else f"values of type {dtype}"
        raise InputError(f"{path}: {kind}, expected one number a voxel; export one grey value (such as the magnitude)")
    voxels = math.prod(map(int, shape))
    if min(shape) < 1 or voxels > MAX_VOXELS:
        raise InputError(f"{path}: its header says {shape} voxels, expected 1 to {MAX_VOXELS:,}; cut it")
    packed = MAX_PACKED if path.name.lower().endswith(".gz") else 1
    if voxels * dtype.itemsize > packed * path.stat().st_size:
        raise InputError(f"{path}: its header says {shape} voxels, more than the file holds; copy it again")


def _three(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The shape as (I, J, K): dimensions of 1 behind the third are left away, a picture is one slice."""
    if len(shape) < 2 or any(n != 1 for n in shape[3:]):
        raise InputError(f"{path}: got {len(shape)} dimensions {shape}, expected 3; split the series first")
    return int(shape[0]), int(shape[1]), int(shape[2]) if len(shape) > 2 else 1
