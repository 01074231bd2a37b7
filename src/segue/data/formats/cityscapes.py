"""Cityscapes: leftImg8bit/{split}/{city}/*_leftImg8bit.png and gtFine/{split}/{city}/*_gtFine_labelIds.png.

The 34 ids become the 19 classes that are scored; all others are ignored. Format: cityscapes-dataset.com
"""

from __future__ import annotations

from pathlib import Path

from segue.data.formats.classes import CITYSCAPES_19, CITYSCAPES_IDS
from segue.data.formats.files import (
    SPLITS,
    label_table,
    pictures_with_labels,
)
from segue.data.formats.lookup import list_places
from segue.data.problems import ReportProblem, raise_problem
from segue.types import PictureSet

EXPECTED = "leftImg8bit/SPLIT with gtFine/SPLIT (Cityscapes)"
ENDING = "_leftImg8bit"
TABLE = label_table(dict.fromkeys(range(34), 255) | {number: at for at, number in enumerate(CITYSCAPES_IDS)})


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(split for split in SPLITS if (root / "leftImg8bit" / split).is_dir())


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split. The label maps of the published test split hold nothing but ignored pixels."""
    images = list_places(root / "leftImg8bit" / split, stems=True, ending=ENDING)
    if odd := [key for key in list_places(root / "leftImg8bit" / split, stems=True) if not key.endswith(ENDING)]:
        report("left-out", odd[0], f"{len(odd)} pictures whose names don't end in {ENDING} are not read; name them so")
    maps = list_places(root / "gtFine" / split, stems=True, ending="_gtFine_labelIds")
    return PictureSet([*pictures_with_labels(images, maps, TABLE, split, report).values()], CITYSCAPES_19)
