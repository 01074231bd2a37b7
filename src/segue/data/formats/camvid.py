"""A folder like CamVid: {split}/images/*, {split}/masks/*.png with numbers of classes, classes.txt with their names.

The other usual way round, images/{split} and masks/{split}, is read too. A class named void, unlabelled, ignore or the
like is ignored wherever it stands, and those after it move up.
"""

from __future__ import annotations

from pathlib import Path

from segue.data.formats.files import (
    SPLITS,
    first_folder,
    label_table,
    pictures_with_labels,
)
from segue.data.formats.lookup import list_places
from segue.data.lines import read_lines
from segue.data.problems import ReportProblem, raise_problem
from segue.types import InputError, PictureSet

EXPECTED = "classes.txt with SPLIT/images and SPLIT/masks (CamVid)"
VOID = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown"}


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(s for s in SPLITS if (root / "classes.txt").is_file() and _folder(root, s, "images"))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of label maps.

    Raises InputError for classes.txt without names or with one twice.
    """
    names = [line.strip().lower() for _, line in read_lines(root / "classes.txt") if line.strip()]
    if not names or len(names) != len({*names}):
        raise InputError(f"{root / 'classes.txt'}: expected the name of a class a line, each once")
    kept = tuple(name for name in names if name not in VOID)
    table = label_table({value: kept.index(name) if name in kept else 255 for value, name in enumerate(names)})
    images, maps = (
        list_places(folder, stems=True) if folder else {}
        for folder in (_folder(root, split, "images"), _folder(root, split, "masks"))
    )
    return PictureSet([*pictures_with_labels(images, maps, table, split, report).values()], kept)


def _folder(root: Path, split: str, kind: str) -> Path | None:
    return first_folder(root / split / kind, root / kind / split)
