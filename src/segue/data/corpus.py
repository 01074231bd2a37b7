"""Captions in files, with the names of their pictures: the one reader of them, a caption at a time.

| name ends in (each also with .gz) | what is read |
|---|---|
| .txt | one caption a line, or a table |
| .tsv, .csv, .token | a table of captions and pictures, see `segue.data.caption_tables` |
| .jsonl | a line is a JSON string, or an object: caption (or text, sentence, captions), and image (or image_id, url) |
| .json | Karpathy's images[].sentences[].raw, COCO's annotations[].caption, or a list of what .jsonl has in a line |

Lines end at "\\n" and nowhere else. Inside a caption every run of white space (tabs, CR, U+2028) becomes one space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.caption_tables import Row, is_picture, read_table
from segue.data.lines import read_lines
from segue.data.lines import read_text as read_whole
from segue.data.problems import ReportProblem, collecting, handle_problems, raise_problem, reporting
from segue.data.records import each_once, read_id, read_text, shown
from segue.types import InputError

CAPTION_KEYS = ("caption", "text", "sentence")
PICTURE_KEYS = ("image", "image_id", "picture", "url", "file_name", "filename")


class Caption(NamedTuple):
    """A caption, its white space tidied, and the name of the picture it is of; "" without one."""

    text: str
    picture: str = ""


@dataclass(frozen=True)
class Corpus:
    """Captions, and for each the number of its picture, (N,) int64; a caption without a picture has its own number."""

    captions: list[str]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        """N, the number of captions."""
        return len(self.captions)


def read_corpus(path: Path, *, split: str = "train", max_words: int | None = None, on_bad: str = "stop") -> Corpus:
    """All captions of a file, those of the same text and picture once, in the file's order.

    split: of Karpathy's files, where "restval" belongs to "train"; other formats have no splits. max_words: leave out
    longer captions (SS1M: 15). on_bad: for records without a usable caption: "stop" raises one InputError that counts
    and names them, "skip" leaves them out and warns with the same words.
    Raises InputError, with the file and the line, for a file that is missing, empty, not UTF-8 or not in its format.
    """
    captions, numbers, pictures, bad = [], [], dict[str, int](), list[str]()
    for text, picture in distinct(stream_captions(path, split=split, report=collecting(bad))):
        if max_words is not None and len(text.split()) > max_words:
            continue
        captions.append(text)
        fresh = len(pictures)
        numbers.append(pictures.setdefault(picture or f"\n{fresh}", fresh))
    handle_problems(bad, f"{path}: {len(bad)} captions can't be used", on_bad)
    if not captions:
        limit = "" if max_words is None else f" of at most {max_words} words"
        raise InputError(f"{path}: no caption{limit} in it; expected one or more")
    return Corpus(captions, np.array(numbers, np.int64))


def stream_captions(
    path: Path, *, split: str | None = "train", report: ReportProblem = raise_problem
) -> Iterator[Caption]:
    """The captions of a file one after another; repeats stay. Arguments as in `read_corpus`.

    report: is called with each record without a usable caption, which is left out. Raises InputError at once when the
    file's name has no known ending, and while reading as `read_corpus` does.
    """
    return _tidied(stream_rows(path, split=split, report=report), path, report)


def stream_rows(path: Path, *, split: str | None, report: ReportProblem = raise_problem) -> Iterator[Row]:
    """The captions of a file as they stand in it, with all ids of their pictures. split: None for all of them.

    Raises InputError for a name of no known format, and a file that is not in its format.
    """
    readers: dict[str, Callable[[Path, ReportProblem], Iterator[Row]]] = {
        ".txt": partial(read_table, plain=True),
        ".token": read_table,
        ".csv": read_table,
        ".tsv": read_table,
        ".jsonl": _read_jsonl,
        ".json": partial(_read_json, split=split),
    }
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in readers:
        raise InputError(f"{path}: can't tell its format; let its name end in {', '.join(readers)}, or that and .gz")
    return readers[suffix](path, report)


def _tidied(rows: Iterator[Row], path: Path, report: ReportProblem) -> Iterator[Caption]:
    """Captions with their white space tidied. Raises InputError when most of the first are names of pictures."""
    first, failed = list[Row](), None
    try:
        first.extend(islice(rows, 100))
    except InputError as error:
        failed = error  # what comes before it is given first
    named = [row for row in first if is_picture(row.text)]
    if len(named) > len(first) / 2:
        raise InputError(
            f"{path}: {len(named)} of the first {len(first)} captions are names or addresses of pictures, such as "
            f"{named[0].text.strip()[:60]}; expected captions"
        )
    for row in chain(first, rows if failed is None else _raised(failed)):
        text = " ".join(row.text.split())
        if is_picture(text):
            report("bad-caption", row.where, f"got {text[:60]}, a picture's name or address, expected a caption")
        elif text:
            yield Caption(text, row.picture)


def _raised(error: InputError) -> Iterator[Row]:
    raise error
    yield


def distinct(captions: Iterable[Caption]) -> Iterator[Caption]:
    """Leave out a caption that was there before with the same picture. Holds 16 bytes for each."""
    found: set[bytes] = set()
    for caption in captions:
        key = hashlib.blake2b(f"{caption.text}\n{caption.picture}".encode(), digest_size=16).digest()
        if key not in found:
            found.add(key)
            yield caption


def _read_jsonl(path: Path, report: ReportProblem) -> Iterator[Row]:
    for number, line in read_lines(path):
        if line.strip():
            where, record = f"{path}, line {number}", list[Any]()
            with reporting(report, "bad-caption", where):
                record.append(_parsed(line, where))
            for one in record:
                yield from _of_record(one, number, where, report)


def _of_record(record: Any, at: int, where: str, report: ReportProblem) -> Iterator[Row]:
    """The captions of a line of .jsonl, or of an item of a list."""
    texts, picture, entry = [record], "", -1
    if isinstance(record, dict):
        entry = at if "captions" in record else -1
        found = next((record[key] for key in (*CAPTION_KEYS, "captions") if key in record), None)
        texts = found if isinstance(found, list) else [found]
        picture = next((str(record[key]) for key in PICTURE_KEYS if record.get(key) is not None), "")
    good = [text for text in texts if _is_text(text)]
    if not texts or len(good) < len(texts):
        keys = ", ".join(CAPTION_KEYS)
        report("bad-caption", where, f"got {shown(record)}, expected an object with one of {keys}, or a JSON string")
    yield from (Row(text, {"image_id": picture} if picture else {}, where, entry=entry) for text in good)


def _is_text(value: Any) -> bool:
    """Whether a value is a text with something in it."""
    try:
        return bool(read_text({"text": value}, "text"))
    except InputError:
        return False


def _read_json(path: Path, report: ReportProblem, split: str | None) -> Iterator[Row]:
    data = _parsed(read_whole(path), str(path))
    if isinstance(data, list):
        return (row for at, one in enumerate(data) for row in _of_record(one, at, f"{path}, entry {at}", report))
    found = data if isinstance(data, dict) else {}
    if isinstance(found.get("annotations"), list):
        return _coco(found, path, report)
    if isinstance(found.get("images"), list):
        return _karpathy(found["images"], path, report, split)
    raise InputError(
        f"{path}: expected Karpathy's images[].sentences, COCO's annotations[].caption or a list of captions"
    )


def _coco(found: dict[str, Any], path: Path, report: ReportProblem) -> Iterator[Row]:
    names = dict[str, str]()
    for at, one in enumerate(found["images"] if isinstance(found.get("images"), list) else []):
        with reporting(report, "bad-image", f"{path}, image {at}"):
            number, name = str(read_id(one, "id")), one.get("file_name")
            if name is not None and names.setdefault(number, name) != read_text(one, "file_name"):
                raise InputError(f"{name} has the id {number}, as {names[number]}; give each its own")
    for at, mark in enumerate(found["annotations"]):
        where = f"{path}, annotation {mark['id'] if isinstance(mark, dict) and 'id' in mark else at}"
        row = None
        with reporting(report, "bad-caption", where):
            number = str(read_id(mark, "image_id"))
            row = Row(read_text(mark, "caption"), {"image_id": number}, where)
        if row:
            yield row._replace(ids=row.ids | ({"file name": names[number]} if number in names else {}))


def _karpathy(images: list[Any], path: Path, report: ReportProblem, split: str | None) -> Iterator[Row]:
    for at, entry in enumerate(images):
        where, ids = f"{path}, image {at}", None
        with reporting(report, "bad-image", where):
            own = karpathy_split(entry)
            if split in (None, own):
                ids = {"file name": karpathy_name(entry)} | {
                    key: str(read_id(entry, key)) for key in ("cocoid", "imgid") if entry.get(key) is not None
                }
        if ids:
            where = f"{path}, {ids['file name']}"
            yield from (Row(text, ids, where, at, own, at) for text in karpathy_captions(entry, where, report))


def karpathy_split(entry: Any) -> str:
    """The split of an entry of Karpathy's `images`; `restval` is train."""
    split = read_text(entry, "split")
    return "train" if split == "restval" else split


def karpathy_name(entry: Any) -> str:
    """The picture of an entry of Karpathy's `images`: its file name, after its folder where that is given."""
    name, folder = read_text(entry, "filename"), entry.get("filepath")
    return f"{folder}/{name}" if folder and isinstance(folder, str) else name


def karpathy_captions(entry: Any, where: str, report: ReportProblem = raise_problem) -> tuple[str, ...]:
    """The captions of an entry of Karpathy's `images`, as they were written where that is kept."""
    sentences, texts = entry.get("sentences"), list[str]()
    if not isinstance(sentences, list):
        report("bad-caption", where, f"sentences: got {shown(sentences)}, expected a list")
    for at, sentence in enumerate(sentences if isinstance(sentences, list) else []):
        with reporting(report, "bad-caption", f"sentence {at} of {where}"):
            tokens = [" ".join(sentence["tokens"])] if "raw" not in sentence else []
            texts.append(read_text({"raw": tokens[0] if tokens else sentence["raw"]}, "raw"))
    return tuple(texts)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable as JSON ({error}); copy or export it again") from error
