"""Tables of notes, a CSV or a workbook, read the same way for training, evaluation and use; and the names in them.

A table has a column of pictures, headed Image, and one of notes, headed Note or Description, in any case; other columns
with a head are passed over. A CSV may be UTF-8 or UTF-16 (with its mark), and divided by commas, semicolons or tabs.
Nothing is cut: what can't be read right becomes a problem that names its row, or an InputError.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from segue.data.picture_files import PICTURE_SUFFIXES, VOLUME_SUFFIXES
from segue.data.problems import MAX_NAMED
from segue.types import InputError

IMAGE_HEADS, NOTE_HEADS = ("image",), ("note", "description")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
MAX_UNPACKED = 1 << 28  # bytes of a workbook's parts together
MAX_MERGED = 1_000_000  # cells that merged cells hide
ENDINGS = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES)
T = TypeVar("T")
Numbered = tuple[str, list[str]]  # where a row stands, and its cells, stripped


class _Unusable(str):
    """Stands for a cell that has no text: what is wrong with it."""

    __slots__ = ()


@dataclass(frozen=True)
class NoteRow:
    """A row: the picture's name and the note as they stand there, "" for an empty cell. where: "line 7" or "row 7"."""

    name: str
    note: str
    where: str


@dataclass(frozen=True)
class NoteTable:
    """The rows of a table but for empty ones; problems: a sentence for each row that can't be read right.

    unread: the sheets of a workbook that hold something else than a table of notes.
    """

    path: Path
    rows: list[NoteRow]
    problems: list[str] = field(default_factory=list)
    unread: tuple[str, ...] = ()


def read_notes(path: Path) -> list[tuple[str, str | None]]:
    """(image, note) of each row of a CSV or a workbook of notes; an empty note means none.

    Warns of sheets that are left unread. Raises InputError for a file that can't be read as one, and names the rows
    that have cells too many or too few, or a note without an image.
    """
    table = read_note_table(path)
    problems = table.problems + [f"{row.where}: a note without an image" for row in table.rows if not row.name]
    if problems:
        more = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        raise InputError(f"{path}: {'; '.join(problems[:MAX_NAMED])}{more}; mend the table")
    if not table.rows:
        raise InputError(f"{path}: no rows; give one for each picture")
    if table.unread:
        warnings.warn(f"{path}: only one sheet has notes, unread are: {', '.join(table.unread)}", stacklevel=2)
    return [(row.name, row.note or None) for row in table.rows]


def read_note_table(path: Path) -> NoteTable:
    """A table of notes as it stands. Raises InputError when the file can't be read, or has no such columns."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV with the columns image,note, or a workbook of them")
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"\xd0\xcf\x11\xe0":
        raise InputError(f"{path}: a workbook of an old kind, or an encrypted one; save it as .xlsx without a password")
    if start.startswith(b"PK") or path.suffix.lower() in WORKBOOK_SUFFIXES:
        return _read_workbook(path)
    return _table(path, _csv_rows(path, _decode(path)))


def _table(path: Path, rows: Iterator[Numbered], unread: tuple[str, ...] = ()) -> NoteTable:
    """Rows, of which the first is the head, as a table."""
    head = _head(rows)
    columns = _columns(head)
    if columns is None:
        shown = ", ".join(cell for cell in head if cell)[:200] or "none"
        raise InputError(f"{path}: got the columns {shown}, expected Image and Description (or Note) in the first row")
    found, problems = [], []
    for where, cells in rows:
        if problem := _misfit(cells, head, columns):
            problems.append(f"{where}: {problem}")
        elif any(cells):
            found.append(NoteRow(cells[columns[0]], cells[columns[1]], where))
    return NoteTable(path, found, problems, unread)


def _columns(head: Sequence[str]) -> tuple[int, int] | None:
    """Where the pictures and the notes stand; None without such heads, or with several."""
    heads = [cell.casefold() for cell in head]
    places = [[i for i, cell in enumerate(heads) if cell in names] for names in (IMAGE_HEADS, NOTE_HEADS)]
    return (places[0][0], places[1][0]) if all(len(place) == 1 for place in places) else None


def _misfit(cells: Sequence[str], head: Sequence[str], columns: tuple[int, int]) -> str | None:
    """What is wrong with a row that isn't empty, or None.

    A column without a head may stand before the pictures and notes (a numbering), and after them where it is empty.
    """
    if not any(cells):
        return None
    if len(cells) < len(head):
        return f"{len(cells)} cells, expected {len(head)} as in the first row"
    if any(cell for i, cell in enumerate(cells) if i >= len(head) or (not head[i] and i > min(columns))):
        return (
            f"{sum(map(bool, cells))} cells, expected {sum(map(bool, head))} as in the first row; put a note that "
            "holds the separator in double quotes"
        )
    for cell in (cells[column] for column in columns):
        if isinstance(cell, _Unusable):
            return cell
        if swallowed := [line for line in cell.splitlines()[1:] if _starts_a_row(line)]:
            return f"a cell goes on over the row {swallowed[0][:40]!r}; is a quote never closed?"
    return None


def _starts_a_row(line: str) -> bool:
    """Whether a line within a cell looks like a row of its own: a file's name and a separator."""
    starts = (line.partition(separator) for separator in SEPARATORS)
    return any(separator and name.strip(' "').lower().endswith(ENDINGS) for name, separator, _ in starts)


# --- CSV


def _decode(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {encoding.upper()} ({error}); save it as CSV UTF-8") from error


def _csv_rows(path: Path, text: str) -> Iterator[Numbered]:
    """The rows of a CSV, divided by what divides its heads. Only line ends divide them, not U+2028 and its like."""
    if text[:4].lower() == "sep=":  # written by Excel
        text = text.partition("\n")[2]
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    heads = {separator: [cell.strip(' "\r\n') for cell in first.split(separator)] for separator in SEPARATORS}
    separator = next((separator for separator, head in heads.items() if _columns(head)), ",")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    last = 0
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise InputError(
                f"{path}, line {last + 1}: not a row of a CSV ({error}); is a quote never closed, or not doubled?"
            ) from error
        if cells is None:
            return
        yield f"line {last + 1}", [cell.strip() for cell in cells]
        last = rows.line_num


# --- workbooks


def _read_workbook(path: Path) -> NoteTable:
    """The table of a workbook's one sheet that has the heads, hidden ones included."""
    sheets = {name: rows for name, rows in _load_sheets(path).items() if any(any(cells) for _, cells in rows)}
    tables = [name for name, rows in sheets.items() if _columns(_head(rows))]
    if len(tables) > 1:
        raise InputError(f"{path}: {len(tables)} sheets with notes, {', '.join(tables)}; put all rows on one")
    chosen = tables[0] if tables else next(iter(sheets), "")
    return _table(path, iter(sheets.get(chosen, [])), tuple(name for name in sheets if name != chosen))


def _head(rows: Iterable[Numbered]) -> list[str]:
    """The first row that isn't empty, to its last head."""
    cells = next((cells for _, cells in rows if any(cells)), [])
    return cells[: max((i + 1 for i, cell in enumerate(cells) if cell), default=0)]


def _load_sheets(path: Path) -> dict[str, list[Numbered]]:
    """The rows of each sheet by its title; a formula counts by the value that was saved with it.

    Raises InputError for a file that is no workbook.
    """
    from openpyxl.utils.exceptions import InvalidFileException

    broken = (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError, NotImplementedError)
    try:
        with ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > MAX_UNPACKED:
                raise ValueError(f"more than {MAX_UNPACKED >> 20} MiB unpacked")
        cells = _load_cells(path, values=False)
        if any(kind == "f" for rows in cells.values() for row in rows for kind, _ in row):
            cells = _with_values(cells, _load_cells(path, values=True))
    except (*broken, InvalidFileException, BadZipFile, ParseError, zlib.error) as error:
        raise InputError(f"{path}: can't be read as a workbook ({error}); save it again as .xlsx") from error
    return {title: list(_plain_rows(rows)) for title, rows in cells.items()}


Cell = tuple[str, Any]  # openpyxl's kind ("f" a formula, "e" an error) or "m" of a merged cell's hidden rows, value


def _load_cells(path: Path, *, values: bool) -> dict[str, list[list[Cell]]]:
    """All cells of all sheets, whatever size the file says that they have. values: of formulas, not the formulas."""
    from openpyxl import load_workbook

    found = {}
    with path.open("rb") as file:  # by its name openpyxl would judge it
        for sheet in load_workbook(file, read_only=True, data_only=values).worksheets:
            sheet.reset_dimensions()
            rows = [[(cell.data_type, cell.value) for cell in row] for row in sheet.iter_rows()]
            with sheet._get_source() as part:
                _mark_merged(rows, part.read())
            found[sheet.title] = rows
    return found


def _mark_merged(rows: list[list[Cell]], sheet: bytes) -> None:
    """Make the cells "m" that a merged cell of several rows hides: whether its text is theirs too isn't known."""
    from openpyxl.utils import range_boundaries

    width, marked = max(map(len, rows), default=0), 0
    for reference in re.findall(rb'<mergeCell\b[^>]*?\bref="([A-Za-z0-9:$]+)"', sheet):
        left, top, right, bottom = range_boundaries(reference.decode())
        columns = range(left - 1, min(right, width))
        for row in rows[top:bottom]:
            row += [("n", None)] * (columns.stop - len(row))
            for column in columns:
                row[column] = ("m", None)
            marked += len(columns)
            if marked > MAX_MERGED:
                raise ValueError(f"more than {MAX_MERGED:,} cells are merged")


def _with_values(
    cells: dict[str, list[list[Cell]]], values: dict[str, list[list[Cell]]]
) -> dict[str, list[list[Cell]]]:
    """The cells with the saved value of each formula; "f" stays where there is none."""

    def valued(cell: Cell, value: Cell) -> Cell:
        return value if cell[0] == "f" and value[1] is not None else cell

    return {
        title: [
            [valued(cell, value) for cell, value in zip(row, others, strict=True)]
            for row, others in zip(rows, values[title], strict=True)
        ]
        for title, rows in cells.items()
    }


def _plain_rows(rows: Iterable[Iterable[Cell]]) -> Iterator[Numbered]:
    """Cells as text; all rows as long as the first that isn't empty, but for cells with something in them."""
    width = 0
    for number, row in enumerate(rows, 1):
        cells = [_text(*cell) for cell in row]
        while cells and not cells[-1] and len(cells) > width:
            cells.pop()
        width = width or len(cells)
        yield f"row {number}", cells + [""] * (width - len(cells))


def _text(kind: str, value: Any) -> str:
    """A cell as text; 7.0 is 7."""
    if kind == "e":
        return _Unusable(f"the error {value} in a cell; mend its formula")
    if kind == "f":
        return _Unusable("a formula without a saved value; open the workbook and save it, or put the text there")
    if kind == "m":
        return _Unusable("part of a merged cell; write each row's own text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


# --- names


class NameIndex(Generic[T]):
    """What the names in a table stand for.

    names: (name, what it names), the likeliest names of each first. A name is looked up as it is, and then without
    case, ending and folder: tables say `COVID_1`, `covid_1.jpg` or `labelcol\\covid_1.png` for covid_1.png.
    """

    def __init__(self, names: Iterable[tuple[str, T]]) -> None:
        self.exact: dict[str, list[T]] = defaultdict(list)
        self.loose: dict[str, list[T]] = defaultdict(list)
        for name, target in names:
            for places, key in ((self.exact, _composed(name)), (self.loose, loose_name(name))):
                if target not in places[key]:
                    places[key].append(target)

    def find(self, name: str) -> T | None:
        """What a name stands for, or None. Raises InputError when it may stand for several."""
        name = _composed(name)
        found = self.exact.get(name) or self.exact.get(_last(name)) or self.loose.get(loose_name(name)) or []
        if len(found) > 1:
            raise InputError(f"{name!r} may be {' or '.join(map(str, found[:3]))}; write the whole name")
        return found[0] if found else None


def loose_name(name: str) -> str:
    """A name without folder, ending and case."""
    name = _last(_composed(name)).casefold()
    ending = next((end for end in sorted(ENDINGS, key=len, reverse=True) if name.endswith(end)), "")
    return name.removesuffix(ending).strip()


def _composed(name: str) -> str:
    """In one Unicode form, with / between folders: macOS decomposes, Windows writes backslashes."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _last(name: str) -> str:
    return name.rpartition("/")[2]
