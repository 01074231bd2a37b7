"""A folder like CamVid: {split}/images/*, {split}/masks/*.png with numbers of classes, classes.txt with their names.

The other usual way round, images/{split} and masks/{split}, is read too. A class named void, unlabelled, ignore or the
like is ignored wherever it stands, and those after it move up.
"""

from __future__ import annotations

import re
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
    names = _names(root / "classes.txt")
    kept = tuple(name for name in names if name not in VOID)
    table = label_table({value: kept.index(name) if name in kept else 255 for value, name in enumerate(names)})
    images, maps = (
        list_places(folder, stems=True) if folder else {}
        for folder in (_folder(root, split, "images"), _folder(root, split, "masks"))
    )
    return PictureSet([*pictures_with_labels(images, maps, table, split, report).values()], kept)


def _names(path: Path) -> list[str]:
    """The names of the classes 0, 1, ... as they stand there. Raises InputError where a line may not be such a name."""
    names = "\n".join(line.strip().lower() for _, line in read_lines(path)).strip("\n").split("\n")
    if len(names) != len({*names}) or not all(names):
        raise InputError(f"{path}: expected the name of a class a line, each once, and no blank line between them")
    if odd := next((name for name in names if re.search(r"[,;\t]|^\d+\W", name)), None):
        raise InputError(
            f"{path}: got {odd[:40]!r}, expected nothing but the name of a class a line; the first line is class 0"
        )
    return names


def _folder(root: Path, split: str, kind: str) -> Path | None:
    return first_folder(root / split / kind, root / kind / split)
