"""Reader of the LViT layout: {Train,Val,Test}_Folder/{img,labelcol} and tables of notes.

QaTa-COV19 pairs `mask_covid_1.png` with `covid_1.png`; MosMedData+ and MoNuSeg give mask and image the same stem,
where the image may be tif. Tables (.xlsx or .csv) have the columns Image and Description and are keyed by the MASK's
file name or the image's; `Train_Val_text.xlsx` stands for the two tables of training and validation.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from segue.data.images import read_image, read_mask
from segue.data.medical.note_tables import NameIndex, NoteRow, NoteTable, read_note_table
from segue.data.picture_files import PICTURE_SUFFIXES, UNSUPPORTED_SUFFIXES, VOLUME_SUFFIXES, list_pictures
from segue.data.problems import handle_problems
from segue.types import Example, InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageNoteRecord:
    """One example, not yet read. mask is None for an unlabelled image, note where the table's row has an empty one."""

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


def read_lvit(root: Path, split: str, on_bad: str = "stop") -> list[ImageNoteRecord]:
    """The records of a split, sorted by name. Other files beside the images are ignored.

    on_bad: for pictures that no row names, and rows that can't be read right. "stop" raises one InputError that counts
    and names them; "skip" leaves such pictures out, takes the first of several notes, and warns with the same words.
    A row with an empty note is none of these: its picture has no note.
    Raises InputError for another layout, a table that can't be read, and a split without pictures.
    """
    layout = LvitSplit(root, split)
    if not layout.images:
        raise InputError(
            f"{layout.folder / 'img'}: no pictures there; expected files ending in {', '.join(PICTURE_SUFFIXES)}"
        )
    table = layout.table.path.name
    wrong = [f"{table}, {problem}" for problem in layout.table.problems]
    wrong += [f"{table}, {name}, {problem}" for name, problem in layout.row_problems]
    unnamed = [f"{layout.images[stem].name}: no row of {table} names it" for stem in sorted(layout.unnamed)]
    counts = [f"{len(unnamed)} of {len(layout.images)} pictures have no row in {table}"] if unnamed else []
    counts += [f"{len(wrong)} rows of {table} can't be read right"] if wrong else []
    handle_problems(wrong + unnamed, f"{layout.folder}: {', '.join(counts)}", on_bad)
    if layout.unread:
        warnings.warn(
            f"{layout.folder / 'img'}: {len(layout.unread)} files of kinds that are not read there, such as "
            f"{layout.unread[0].name}, are left out; convert them to PNG",
            stacklevel=2,
        )
    named = sorted(layout.images.keys() - layout.unnamed)
    if not named:
        raise InputError(f"{layout.folder}: no picture is left, as {table} names none of them")
    return [layout.record(stem) for stem in named]


@dataclass(frozen=True)
class LvitSplit:
    """The files of a split before they are paired: images, masks and rows of the table by the image's stem.

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

    @property
    def unread(self) -> list[Path]:
        """Pictures and scans beside the images in formats that are not read there."""
        return list_pictures(self.folder / "img", suffixes=(*UNSUPPORTED_SUFFIXES, *VOLUME_SUFFIXES))

    @cached_property
    def masks(self) -> dict[str, Path]:
        """Masks by the stem of the image that they belong to. Raises InputError for two masks of one image."""
        found: dict[str, Path] = {}
        for path in list_pictures(self.folder / "labelcol"):
            stem = path.stem if path.stem in self.images else path.stem.removeprefix("mask_")
            if stem in found:
                raise InputError(
                    f"{self.folder / 'labelcol'}: both {found[stem].name} and {path.name}, "
                    "expected one mask of a picture; remove one"
                )
            found[stem] = path
        return found

    def record(self, stem: str) -> ImageNoteRecord:
        """The record of an image."""
        note = self.note_of(stem)
        return ImageNoteRecord(stem, self.split, self.images[stem], self.masks.get(stem), note, patient_of(stem))

    @cached_property
    def table(self) -> NoteTable:
        """The table of notes."""
        return read_note_table(self.table_path)

    @cached_property
    def notes(self) -> dict[str, list[NoteRow]]:
        """The rows of each image that has some, by its stem."""
        return self._paired[0]

    @property
    def strangers(self) -> list[NoteRow]:
        """The rows that name no picture of this split."""
        return self._paired[1]

    @property
    def unnamed(self) -> set[str]:
        """The stems of the images that no row names."""
        return self.images.keys() - self.notes.keys()

    @property
    def row_problems(self) -> list[tuple[str, str]]:
        """(name, what is wrong) of rows: a name that may be several images', several notes for one image."""
        wrong = list(self._paired[2])
        for rows in self.notes.values():
            different = list(dict.fromkeys(row.note for row in rows))
            if len(different) > 1:
                where, shown = (
                    ", ".join(row.where for row in rows),
                    "; ".join(repr(shorten(note)) for note in different),
                )
                message = f"{where}: {len(rows)} rows, {len(different)} different notes; the first is used: {shown}"
                wrong.append((rows[0].name, message))
        return wrong

    @cached_property
    def _paired(self) -> tuple[dict[str, list[NoteRow]], list[NoteRow], list[tuple[str, str]]]:
        """The rows of each image, those of none, and what is wrong with names that may be several images'."""
        index = NameIndex((name, stem) for stem in self.images for name in self.names_of(stem))
        found, strangers, wrong = defaultdict[str, list[NoteRow]](list), [], []
        for row in self.table.rows:
            try:
                stem = index.find(row.name) if row.name else None
            except InputError as error:
                wrong.append((row.name, f"{row.where}: {error}"))
                continue
            if stem is None:
                strangers.append(row)
            else:
                found[stem].append(row)
        return dict(found), strangers, wrong

    def note_of(self, stem: str) -> str | None:
        """The note of an image, of several the first; None when the row says none, and without a row."""
        rows = self.notes.get(stem)
        return (rows[0].note or None) if rows else None

    def names_of(self, stem: str) -> list[str]:
        """The names under which the table may keep an image's note."""
        mask, image = self.masks.get(stem), self.images[stem]
        return [*([mask.name] if mask else []), image.name, f"mask_{image.name}"]

    @cached_property
    def table_path(self) -> Path:
        """The table of notes of this split. Raises InputError when there is none, or two that differ."""
        stems = [f"{self.split.title()}_text"] + ["Train_Val_text"] * (self.split != "test")
        for stem in stems:
            names = [stem + ending for ending in (".xlsx", ".csv")]
            found = [path for folder in (self.root, self.folder) for name in names if (path := folder / name).is_file()]
            if len({path.read_bytes() for path in found}) > 1:
                raise InputError(
                    f"{self.root}: {' and '.join(map(str, found))} differ, expected one; remove the others"
                )
            if found:
                return found[0]
        expected = " or ".join(f"{stem}.xlsx" for stem in stems)
        raise InputError(f"{self.root}: no workbook of notes for {self.split}; expected {expected}, or .csv")


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


def shorten(note: str, width: int = 160) -> str:
    """A note that isn't longer than `width`, for a message."""
    return note if len(note) <= width else note[: width - 1] + "…"
