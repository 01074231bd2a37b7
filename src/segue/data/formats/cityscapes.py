"""Cityscapes: leftImg8bit/{split}/{city}/*_leftImg8bit.png and gtFine/{split}/{city}/*_gtFine_labelIds.png.

The 34 ids become the 19 classes that are scored; all others are ignored. Format: cityscapes-dataset.com
"""

from __future__ import annotations

from pathlib import Path

from segue.data.formats.classes import CITYSCAPES_19, CITYSCAPES_IDS
from segue.data.formats.files import SPLITS, Wrong, labelled, pictures_by_stem, stop, table_of
from segue.types import PictureSet

LOOKED_FOR = "leftImg8bit/SPLIT with gtFine/SPLIT (Cityscapes)"
TABLE = table_of(dict.fromkeys(range(34), 255) | {number: at for at, number in enumerate(CITYSCAPES_IDS)})


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(split for split in SPLITS if (root / "leftImg8bit" / split).is_dir())


def read(root: Path, split: str, wrong: Wrong = stop) -> PictureSet:
    """A split. The label maps of the published test split hold nothing but ignored pixels."""
    images, maps = (
        {stem.removesuffix(end): path for stem, path in pictures_by_stem(folder).items() if end in stem}
        for folder, end in (
            (root / "leftImg8bit" / split, "_leftImg8bit"),
            (root / "gtFine" / split, "_gtFine_labelIds"),
        )
    )
    return PictureSet(labelled(images, maps, TABLE, split, wrong), CITYSCAPES_19)
