"""Tables of captions and their pictures in text files: what is which is decided once for a file.

| file | a line |
|---|---|
| CC3M, CC12M | caption TAB address, or address TAB caption |
| Flickr8k.token.txt | name.jpg#0 TAB caption |
| Kaggle's captions.txt | name.jpg,caption with quotes as CSV has them, below the head image,caption |
| Flickr30k's results.csv | name.jpg\\| 0\\| caption, below a head |

A head is read where the first line is one: it has caption (or text, sentence, comment, title, ...) in it. Without a
head the column of pictures is the one with their names or addresses.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from segue.data.lines import read_lines
from segue.data.problems import ReportProblem
from segue.types import InputError

LOOK_AT = 100  # lines by which a file's columns are recognised
CAPTION_HEADS = (
    "caption",
    "captions",
    "text",
    "sentence",
    "comment",
    "raw_caption",
    "alt_text",
    "description",
    "title",
)
PICTURE_HEADS = frozenset(
    [
        "image",
        "image_id",
        "image_name",
        "image_url",
        "image_path",
        "img",
        "img_id",
        "picture",
        "photo",
        "url",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "path",
        "key",
        "id",
    ]
)
_PICTURE = re.compile(r"\S(?:.*\S)?\.(?:jpe?g|png|bmp|tiff?|webp|gif)(?:#\d+)?", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|file)://\S*", re.IGNORECASE)
_LEADING = re.compile(r"\S+\.(?:jpe?g|png|bmp|tiff?|webp|gif)(?:#\d+)?[\s,;|:]", re.IGNORECASE)


class Row(NamedTuple):
    """A caption as it stands in its file.

    ids: of its picture, by their kinds; the first is the usual one. where: file and line. number: of the line, from 0,
    below a head and without blank lines. split: of Karpathy's files. entry: the number of its picture's entry, in
    files that have one a picture.
    """

    text: str
    ids: dict[str, str]
    where: str
    number: int = 0
    split: str = ""
    entry: int = -1

    @property
    def picture(self) -> str:
        """The picture's usual id; "" without one."""
        return next(iter(self.ids.values()), "")


def is_address(text: str) -> bool:
    """Whether a text is nothing but an address."""
    return bool(_ADDRESS.fullmatch(text.strip()))


def is_picture(text: str) -> bool:
    """Whether a text is nothing but a picture's address or file name."""
    text = text.strip()
    return is_address(text) or (len(text) < 256 and bool(_PICTURE.fullmatch(text)))


@dataclass(frozen=True)
class _Columns:
    """How a table's lines are cut.

    separator: "" for lines that are captions. caption, picture: which column; picture is -1 for the last, or with a
    head for none. count: of columns. head: whether the first line is one.
    """

    separator: str
    caption: int
    picture: int
    count: int
    head: bool = False


_LINES = _Columns("", 0, -1, 1)


def read_table(path: Path, report: ReportProblem, plain: bool = False) -> Iterator[Row]:
    """The rows of a file of captions, blank lines left out; those that can't be cut are reported.

    plain: a file that is no table is one caption a line. Raises InputError for a file of names without captions, and
    where it is not clear which column is the caption.
    """
    columns = _columns(path, plain)
    lines = ((number, line) for number, line in read_lines(path) if line.strip())
    for at, (number, line) in enumerate(lines, -1 if columns.head else 0):
        where = f"{path}, line {number}"
        if at < 0:
            continue
        try:
            text, picture = _cut(line, columns)
        except (InputError, csv.Error) as error:
            report("bad-caption", where, f"{error}, in {line.strip()[:60]!r}")
            continue
        yield Row(text, _ids(picture), where, at)


def _columns(path: Path, plain: bool) -> _Columns:
    """How the file is laid out, by its first lines. plain: it may be lines of captions."""
    lines = _first_lines(path)
    if not lines:
        return _LINES
    if found := _head(lines[0], plain):
        return found
    for separator in "\t|,;" if path.name.removesuffix(".gz").lower().endswith((".txt", ".csv")) else "\t":
        if found := _sides(lines, separator, path, plain):
            return found
    most = len(lines) / 2
    if sum(bool(_LEADING.match(line)) and not is_picture(line) for line in lines) > most:
        raise InputError(
            f"{path}: most lines begin with a picture's name, such as {lines[0][:60]!r}; put a tab between it and the "
            "caption, or take it out"
        )
    if plain:
        return _LINES
    if not any("\t" in line for line in lines):
        raise InputError(
            f"{path}, line 1: got no tab in {lines[0][:60]!r}, expected a caption and an address with a tab between "
            "them, as CC3M and CC12M have it; let the name of a list of captions end in .txt"
        )
    raise InputError(
        f"{path}: can't tell which column is the caption in {lines[0][:60]!r}; write a first line such as "
        "image<TAB>caption"
    )


def _first_lines(path: Path) -> list[str]:
    found = list[str]()
    try:
        for _, line in read_lines(path):
            found += [line] if line.strip() else []
            if len(found) == LOOK_AT:
                break
    except InputError:
        if not found:
            raise  # what comes after good lines is reported when it is reached
    return found


def _head(line: str, plain: bool) -> _Columns | None:
    """The columns that a head tells; None when the line is none."""
    if plain and line.strip().lower() in ("caption", "captions"):
        return replace(_LINES, head=True)
    for separator in "\t|,;":
        names = [cell.strip().strip('"').lower().replace(" ", "_") for cell in line.split(separator)]
        captions = [names.index(name) for name in CAPTION_HEADS if name in names]
        pictures = [at for at, name in enumerate(names) if name in PICTURE_HEADS]
        if len(names) > 1 and captions and (pictures or (separator == "\t" and not plain)):
            return _Columns(separator, captions[0], pictures[0] if pictures else -1, len(names), head=True)
    return None


def _sides(lines: list[str], separator: str, path: Path, plain: bool) -> _Columns | None:
    """The columns of a table without a head, by where the pictures' names or addresses stand; None when it is none.

    In a .tsv also by what never has a blank in it. Raises InputError for more than two columns by tabs in every line.
    """
    tabs = {line.count("\t") for line in lines}
    if separator == "\t" and len(lines) > 1 and len(tabs) == 1 and max(tabs) > 1:
        raise InputError(
            f"{path}: {max(tabs) + 1} columns and no head, such as {lines[0][:60]!r}; write a first line that names "
            "them, such as image<TAB>caption"
        )
    cut = [(line.partition(separator)[0], line.rpartition(separator)[2]) for line in lines if separator in line]
    first = sum(is_picture(a) and not is_picture(b) for a, b in cut)
    last = sum(is_picture(b) and not is_picture(a) for a, b in cut) if separator == "\t" else 0
    if sum(is_picture(a) and is_picture(b) for a, b in cut) > len(lines) / 2:
        raise InputError(f"{path}: names and addresses of pictures, such as {lines[0][:60]!r}; expected captions")
    if not (first or last) and separator == "\t" and not plain and len(cut) == len(lines):
        first, last = (all(" " not in pair[side].strip() for pair in cut) * len(lines) for side in (0, 1))
    if max(first, last) <= len(lines) / 2 or first == last:
        return None
    count = 3 if separator == "|" else 2
    return _Columns(separator, 0, -1, 2) if last > first else _Columns(separator, count - 1, 0, count)


def _cut(line: str, columns: _Columns) -> tuple[str, str]:
    """(caption, picture) of a line."""
    separator, caption, picture, count = columns.separator, columns.caption, columns.picture, columns.count
    if not separator:
        return line, ""
    if separator in ",;":
        cells = next(csv.reader([line], delimiter=separator, strict=True))
        while len(cells) > count and not cells[-1].strip():  # a separator at the end of the line
            cells.pop()
        cells[count - 1 :] = (
            [separator.join(cells[count - 1 :])] if caption == count - 1 < len(cells) else cells[count - 1 :]
        )
    elif caption == 0:  # a separator in the caption is part of it
        cells = line.rsplit(separator, count - 1)
    else:
        cells = line.split(separator, count - 1 if caption == count - 1 else -1)
    if len(cells) != count:
        kind = "tab" if separator == "\t" else f"{separator!r}"
        few = f"got no {kind}" if len(cells) == 1 else f"got {len(cells)} columns"
        raise InputError(f"{few}, expected {count} columns with {kind} between them")
    if not cells[caption].strip():
        raise InputError("got an empty caption")
    return cells[caption], cells[picture].strip() if picture >= 0 or not columns.head else ""


def _ids(picture: str) -> dict[str, str]:
    if not picture:
        return {}
    if is_address(picture):
        return {"address": picture}
    return {"file name": re.sub(r"#\d+$", "", picture)} if is_picture(picture) else {"image_id": picture}
