"""ImageNet-S: one class of things a picture, in 50, 300 or 919 classes.

Expected: {train,validation,test}/WNID/*.JPEG with SPLIT-segmentation/WNID/*.png (train-semi-segmentation for train),
whose colours hold R + 256 G: 0 is background, 1..N the classes, 1000 is ignored. The classes are in the order of
ImageNetS_categories_imN.txt where that lies beside them, as it must for 919, and else of their WNIDs. A classes.txt or
ImageNet's LOC_synset_mapping.txt beside them names them, one "WNID name" a line. Format: github.com/LUSSeg/ImageNet-S
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.files import first_folder, pictures_with_labels
from segue.data.formats.lookup import list_places
from segue.data.images import open_picture
from segue.data.lines import read_lines
from segue.data.problems import ReportProblem, raise_problem
from segue.types import InputError, PictureSet

EXPECTED = "validation/WNID with validation-segmentation/WNID (ImageNet-S)"
FOLDERS = {"train": ("train-semi", "train"), "val": ("validation",), "test": ("test",)}
NAMES = ("classes.txt", "LOC_synset_mapping.txt")
SORTED = (50, 300)  # sets whose classes are numbered in the order of their WNIDs
OTHER, IGNORED_VALUE = "background", 1000


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has with label maps, or its only ImageNetS folder."""
    base = _base(root)
    return tuple(split for split in FOLDERS if _maps(base, split))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split: label maps of background and 50, 300 or 919 classes, with the released names, which are lower case.

    Raises InputError where nothing tells the order of the classes or their names.
    """
    base = _base(root)
    maps = _maps(base, split)
    assert maps is not None
    classes = _classes(base, maps)
    images, labels = (
        maps.with_name(maps.name.removesuffix("-segmentation")),
        partial(read_colours, classes=len(classes)),
    )
    places = list_places(images, stems=True), list_places(maps, stems=True)
    return PictureSet([*pictures_with_labels(*places, labels, split, report).values()], classes)


def read_colours(path: Path, classes: int) -> NDArray[np.unsignedinteger]:
    """(H, W) positions of the classes, uint8, or uint16 from 255 classes on; the type's highest value where ignored.

    Raises InputError for values that stand for no class.
    """
    with open_picture(path) as picture:
        colours = np.asarray(picture.convert("RGB")).astype(np.int64)
    values = colours[..., 0] + 256 * colours[..., 1]
    wrong = (values >= classes) & (values != IGNORED_VALUE)
    if wrong.any():
        raise InputError(f"{path}: the value {values[wrong][0]} stands for none of {classes} classes with background")
    dtype: type[np.unsignedinteger] = np.uint8 if classes < 256 else np.uint16
    return np.where(values == IGNORED_VALUE, np.iinfo(dtype).max, values).astype(dtype)


def _base(root: Path) -> Path:
    inside = [folder for folder in root.glob("ImageNetS*") if folder.is_dir()]
    return inside[0] if len(inside) == 1 else root


def _maps(base: Path, split: str) -> Path | None:
    return first_folder(*(base / f"{folder}-segmentation" for folder in FOLDERS[split]))


def _classes(base: Path, maps: Path) -> tuple[str, ...]:
    """Background, then the classes in the order of their numbers."""
    wnids = _wnids(base, maps)
    path = next((base / name for name in NAMES if (base / name).is_file()), None)
    if path is None:
        raise InputError(
            f"{base}: no names of the classes; put ImageNet's LOC_synset_mapping.txt there, or a classes.txt with one "
            '"WNID name" a line'
        )
    named = dict(line.strip().partition(" ")[::2] for _, line in read_lines(path) if line.strip())
    names = {wnid: named.get(wnid, "").partition(",")[0].strip().lower() for wnid in wnids}
    if missing := [wnid for wnid, name in names.items() if not name]:
        raise InputError(f"{path}: no name of {missing[0]}; expected one for each class of {maps}")
    for name, times in Counter(names.values()).items():
        if times > 1:
            both = ", ".join(wnid for wnid in wnids if names[wnid] == name)
            raise InputError(f"{path}: {name!r} names {both}; give each another name in a classes.txt")
    return OTHER, *names.values()


def _wnids(base: Path, maps: Path) -> list[str]:
    """The classes' WNIDs in the order of their numbers."""
    there = sorted(folder.name for folder in maps.iterdir() if folder.is_dir())
    order = base / f"ImageNetS_categories_im{len(there)}.txt"
    if order.is_file():
        wnids = [line.strip() for _, line in read_lines(order) if line.strip()]
        if sorted(wnids) != there:
            raise InputError(f"{order}: lists other classes than the folders of {maps}; take the file of this data set")
        return wnids
    if len(there) not in SORTED:
        raise InputError(
            f"{maps}: got {len(there)} folders of classes; expected all 50 or 300 of ImageNet-S, in whose order they "
            f"are numbered, or {order.name} beside them, which tells the order"
        )
    return there
