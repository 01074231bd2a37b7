"""Reader of the LViT layout: {Train,Val,Test}_Folder/{img,labelcol} and workbooks of notes.

QaTa-COV19 pairs `mask_covid_1.png` with `covid_1.png`; MosMedData+ and MoNuSeg give mask and image the same stem,
where the image may be tif. Workbooks have the columns Image and Description and are keyed by the MASK's file name;
`Train_Val_text.xlsx` stands for the two workbooks of training and validation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from segue.data.images import PICTURE_SUFFIXES, list_pictures, read_image, read_mask
from segue.types import Example, InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageNoteRecord:
    """One example, not yet read. mask is None for an unlabelled image, note for one that has none."""

    name: str
    split: str
    image: Path
    mask: Path | None
    note: str | None
    group: str

    def load(self) -> Example:
        """Read the files. Raises InputError that names what is wrong, a mask of another size included."""
        mask = None if self.mask is None else read_mask(self.mask)
        return Example(read_image(self.image), mask, self.note, self.name, self.group)


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has."""
    return tuple(s for s in SPLITS if (root / f"{s.title()}_Folder").is_dir())


def read_lvit(root: Path, split: str) -> list[ImageNoteRecord]:
    """The records of a split, sorted by name. Other files beside the images are ignored. Raises InputError
    for another layout and for a split without pictures."""
    layout = LvitSplit(root, split)
    if not layout.images:
        raise InputError(
            f"{layout.folder / 'img'}: no pictures there; expected files ending in {', '.join(PICTURE_SUFFIXES)}"
        )
    records = []
    for stem, image in sorted(layout.images.items()):
        mask = layout.masks.get(stem)
        records.append(ImageNoteRecord(stem, split, image, mask, layout.note_of(stem), patient_of(stem)))
    return records


@dataclass(frozen=True)
class LvitSplit:
    """The files of a split before they are paired: images and masks by the image's stem, notes by file name.

    Raises InputError for an unknown split, and a folder that is not in the LViT layout.
    """

    root: Path
    split: str

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"split: got {self.split!r}, expected one of {', '.join(SPLITS)}")
        for folder in (self.folder, self.folder / "img"):
            if not folder.is_dir():
                raise InputError(
                    f"{folder}: no such folder; expected the LViT layout: {self.folder.name}/img, "
                    f"{self.folder.name}/labelcol and {self.split.title()}_text.xlsx"
                )

    @property
    def folder(self) -> Path:
        """The split's folder."""
        return self.root / f"{self.split.title()}_Folder"

    @cached_property
    def images(self) -> dict[str, Path]:
        """Images by their stem. Raises InputError when two of them differ in their ending only."""
        found: dict[str, Path] = {}
        for path in list_pictures(self.folder / "img"):
            if path.stem in found:
                raise InputError(
                    f"{self.folder / 'img'}: both {found[path.stem].name} and {path.name}, "
                    "expected one picture of a name; remove one"
                )
            found[path.stem] = path
        return found

    @cached_property
    def masks(self) -> dict[str, Path]:
        """Masks by the stem of the image that they belong to."""
        found = {}
        for path in list_pictures(self.folder / "labelcol"):
            stem = path.stem
            found[stem if stem in self.images else stem.removeprefix("mask_")] = path
        return found

    @cached_property
    def rows(self) -> list[tuple[str, str]]:
        """(file name, note) as they stand in the workbook."""
        return read_workbook(self.workbook)

    @cached_property
    def notes(self) -> dict[str, str]:
        """Notes by the mask's file name; of several the first."""
        return dict(reversed(self.rows))

    def note_of(self, stem: str) -> str | None:
        """The note of an image, None when there is none or an empty one."""
        return next((note for name in self.names_of(stem) if (note := self.notes.get(name))), None)

    def names_of(self, stem: str) -> list[str]:
        """The names under which the workbook may keep an image's note, the likeliest first."""
        mask, image = self.masks.get(stem), self.images[stem]
        return [*([mask.name] if mask else []), image.name, f"mask_{image.name}", f"{stem}.png", f"mask_{stem}.png"]

    @property
    def workbook(self) -> Path:
        """The workbook of this split.

        Raises InputError when there is none.
        """
        names = [f"{self.split.title()}_text.xlsx"] + ["Train_Val_text.xlsx"] * (self.split != "test")
        places = [folder / name for name in names for folder in (self.root, self.folder)]
        for path in places:
            if path.is_file():
                return path
        raise InputError(f"{self.root}: no workbook of notes for {self.split}; expected {' or '.join(names)}")


def read_workbook(path: Path) -> list[tuple[str, str]]:
    """(file name, note) of every row of an xlsx with the columns Image and Description, but for empty rows.

    Raises InputError when it can't be read, or lacks one of these columns.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
        book.close()
    except (OSError, KeyError, ValueError, InvalidFileException, BadZipFile, ParseError) as error:
        raise InputError(f"{path}: can't be read as a workbook ({error}); save it again as .xlsx") from error
    heads = [str(h or "").strip().lower() for h in (rows[0] if rows else ())]
    if "image" not in heads or "description" not in heads:
        columns = ", ".join(str(h) for h in (rows[0] if rows else ()) if h is not None) or "none"
        raise InputError(f"{path}: got the columns {columns}, expected Image and Description in the first row")
    at, note = heads.index("image"), heads.index("description")
    cells = [(_text(row, at), _text(row, note)) for row in rows[1:]]
    return [(name, text) for name, text in cells if name or text]


def patient_of(name: str) -> str:
    """The patient or study of a file name, which must not occur in two splits.

    QaTa `sub-S03044_ses-..._run-1` -> sub-S03044; MosMed `study_0255_17` or `Jun_coronacases_003_slice_12` -> without
    the last number; TCGA slides -> the case; serial pictures `pneumonia-2-day7`, `figure-1-PA` -> without day and view;
    panels of a figure `Fig8a`, `case2b`, `fig-0001-m-c` -> without the letter; a UUID and all else: the name itself.
    """
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", name):
        return name
    if subject := re.match(r"(sub-[A-Za-z0-9]+)", name):
        return subject[1]
    if study := re.match(r"(.*(?:study|coronacases|radiopaedia)[_-]?(?:case)?\d+)", name, re.IGNORECASE):
        return study[1]
    if slide := re.match(r"(TCGA-\w\w-\w{4})", name):
        return slide[1]
    serial = re.sub(r"(?:[-_](?:day\d+|PA|AP|lateral|l|r|left|right))+$", "", name, flags=re.IGNORECASE)
    panel = re.sub(r"((?:[Ff]ig|case|[-_]f|g)\d+)[a-z](?=[-_]|$)", r"\1", serial)
    return re.sub(r"(?<=\d)(?:[-_][a-z])+$", "", panel)


def _text(row: tuple[object, ...], column: int) -> str:
    """A cell as text; a row may end before it."""
    cell = row[column] if column < len(row) else None
    return "" if cell is None else str(cell).strip()
