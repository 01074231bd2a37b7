"""Which files are pictures or volumes, by their names and first bytes, and what a folder holds beside them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from segue.types import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, ".dcm")
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


class PictureWarning(UserWarning):
    """What is left out of a picture when it is read. kind: names the sort, so that one can count."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by the mark after its preamble or by its ending."""
    if path.name.lower().endswith(".dcm"):
        return True
    if not path.is_file() or path.name.lower().endswith((*PICTURE_SUFFIXES, *NIFTI_SUFFIXES)):
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_volume(path: Path) -> bool:
    """Whether a file is NIfTI or DICOM, which may have no ending."""
    return path.name.lower().endswith(NIFTI_SUFFIXES) or is_dicom(path)


def bare_name(path: Path) -> str:
    """The name without the ending of a picture or volume; a name that has none of these stays whole, dots and all."""
    name = path.name.lower()
    ending = next((end for end in (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES) if name.endswith(end) and name != end), "")
    return path.name[: len(name) - len(ending)]


def pictures_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """The picture files of a folder, in order. deep: those of its folders too.

    Warns of what is left out (`tell_left_out`). Raises InputError when there is no picture.
    """
    found = list_pictures(folder, deep=deep)
    if not found:
        unread = list_pictures(folder, deep=deep, suffixes=UNSUPPORTED_SUFFIXES)
        there = f", but {len(unread)} in formats that are not read, such as {unread[0].name}" if unread else ""
        raise InputError(f"{folder}: no pictures there; expected files ending in {', '.join(PICTURE_SUFFIXES)}{there}")
    tell_left_out(folder, found, deep=deep)
    return found


def check_out_folder(out: Path, pictures: Path, what: str) -> None:
    """Raise InputError where `out` is the folder of the pictures, or no folder. what: is written there."""
    if out.resolve() == pictures.resolve():
        raise InputError(f"{out}: {what} would be written among the pictures, over those of such names; name another")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file, expected a folder for the {what}; name another --out")


def tell_left_out(folder: Path, used: Collection[Path], *, deep: bool = False) -> None:
    """Warn, in one line, of the files and folders of a folder that are not used: how many of each ending, and one name.

    used: paths in `folder`, of files or folders. deep: look into its folders too. Of hidden files nothing is said.
    """
    known = set(used)
    left = [path for path in _entries(folder, deep) if path not in known]
    if not left:
        return
    kinds = Counter("folders" if path.is_dir() else path.suffix.lower() or "without ending" for path in left)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    pictures = [path for path in left if path.name.lower().endswith(UNSUPPORTED_SUFFIXES)]
    hint = "; convert pictures to PNG or JPEG" if pictures else ""
    whole = len(left) + len(known)
    warnings.warn(
        f"{folder}: {len(left)} of {whole} are left out ({counts}), such as {(pictures or left)[0].name}{hint}",
        stacklevel=3,
    )


def _entries(folder: Path, deep: bool) -> Iterator[Path]:
    """What is in a folder, hidden things apart, in order. deep: the files below it instead of its folders; links to
    folders are not followed."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if deep and path.is_dir() and not path.is_symlink():
            yield from _entries(path, deep)
        else:
            yield path


def list_pictures(folder: Path, *, deep: bool = False, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[Path]:
    """The picture files of a folder in the order of their paths; empty when there are none, or no such folder.

    deep: those of the folders below it too. Hidden files are passed over: macOS leaves `._name.png` beside name.png.
    """
    found: list[Path] = []
    for where, below, names in os.walk(folder):
        found += [Path(where, n) for n in names if n.lower().endswith(suffixes) and not n.startswith(".")]
        if not deep:
            below.clear()
    return sorted(found, key=lambda path: path.parts)
