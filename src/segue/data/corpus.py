"""Captions without pictures: readers of text corpora, a caption at a time.

| name ends in (each also with .gz) | what is read |
|---|---|
| .txt | one caption a line |
| .jsonl | one object a line: caption (or text, sentence), and the picture it is of: image, image_id, picture or url |
| .tsv | CC3M: caption TAB url, without a header |
| .json | Karpathy's images[].sentences[].raw, COCO's annotations[].caption, or a list of captions (SS1M) |

Lines end at "\\n" and nowhere else. Inside a caption every run of white space (tabs, CR, U+2028) becomes one space.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from segue.types import InputError

LONGEST_LINE = 1 << 20  # bytes
_CAPTION_KEYS = ("caption", "text", "sentence")
_PICTURE_KEYS = ("image", "image_id", "picture", "url")


class Caption(NamedTuple):
    """A caption, its white space tidied, and the name of the picture it is of; "" where none is told."""

    text: str
    picture: str = ""


@dataclass(frozen=True)
class Corpus:
    """Captions, and for each the number of its picture (N,) int64; one without a picture has a number of its own."""

    captions: list[str]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        """N, the captions there are."""
        return len(self.captions)


def read_corpus(path: Path, *, split: str = "train", max_words: int | None = None) -> Corpus:
    """All captions of a file, those of the same text and picture once, in the file's order.

    split: of Karpathy's files, where "restval" belongs to "train"; other formats have no splits. max_words: leave out
    longer captions (SS1M: 15).
    Raises InputError, with the file and the line, for a file that is missing, empty, not UTF-8 or not in its format.
    """
    captions, numbers, pictures = [], [], dict[str, int]()
    for text, picture in distinct(stream_captions(path, split=split)):
        if max_words is not None and len(text.split()) > max_words:
            continue
        captions.append(text)
        fresh = len(pictures)
        numbers.append(pictures.setdefault(picture or f"\n{fresh}", fresh))
    if not captions:
        limit = "" if max_words is None else f" of at most {max_words} words"
        raise InputError(f"{path}: no caption{limit} in it; expected one or more")
    return Corpus(captions, np.array(numbers, np.int64))


def stream_captions(path: Path, *, split: str = "train") -> Iterator[Caption]:
    """The captions of a file one after another, blank ones left out; repeats stay. Arguments as in `read_corpus`."""
    readers: dict[str, Callable[[Path], Iterator[Caption]]] = {
        ".txt": _read_txt,
        ".jsonl": _read_jsonl,
        ".tsv": _read_tsv,
        ".json": lambda p: _read_json(p, split),
    }
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind not in readers:
        raise InputError(f"{path}: can't tell its format; let its name end in {', '.join(readers)}, or that and .gz")
    for caption in readers[kind](path):
        text = " ".join(caption.text.split())
        if text:
            yield Caption(text, caption.picture)


def distinct(captions: Iterable[Caption]) -> Iterator[Caption]:
    """Leave out a caption that was there before with the same picture. Holds 16 bytes for each."""
    seen: set[bytes] = set()
    for caption in captions:
        key = hashlib.blake2b("\n".join(caption).encode(), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield caption


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file and their numbers from 1, without their ends."""
    with _opened(path) as file:
        number = 0
        while raw := _line(file, path, number + 1):
            number += 1
            try:
                yield number, raw.removesuffix(b"\n").decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); "
                    "convert it, for instance with iconv -f LATIN1 -t UTF-8"
                ) from error


def _line(file: IO[bytes], path: Path, number: int) -> bytes:
    raw = _guarded(path, lambda: file.readline(LONGEST_LINE + 1))
    if len(raw) > LONGEST_LINE:
        raise InputError(
            f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes, expected a caption; put one caption on a line"
        )
    return raw


def _read_txt(path: Path) -> Iterator[Caption]:
    for _, line in _lines(path):
        yield Caption(line)


def _read_tsv(path: Path) -> Iterator[Caption]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        text, tab, url = line.rpartition("\t")  # a tab may stand in the caption, never in the url
        if not tab:
            raise InputError(f"{path}, line {number}: got no tab, expected CC3M's caption TAB url; name a list .txt")
        yield Caption(text, url.strip())


def _read_jsonl(path: Path) -> Iterator[Caption]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _parsed(line, where)
        text = next((row[k] for k in _CAPTION_KEYS if k in row), None) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise InputError(f"{where}: got {line[:60]!r}, expected an object with one of {', '.join(_CAPTION_KEYS)}")
        yield Caption(text, str(next((row[k] for k in _PICTURE_KEYS if k in row), "")))


def _read_json(path: Path, split: str) -> Iterator[Caption]:
    with _opened(path) as file:
        raw = _guarded(path, file.read)
    try:
        data = _parsed(raw.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error
    if isinstance(data, list) and all(isinstance(text, str) for text in data):
        return iter([Caption(text) for text in data])
    for key, read in (("annotations", _coco), ("images", _karpathy)):
        if isinstance(data, dict) and isinstance(data.get(key), list):
            try:
                return iter(read(data[key], split))
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}: an entry of {key} is not as COCO or Karpathy has it ({error!r})") from error
    raise InputError(
        f"{path}: expected Karpathy's images[].sentences, COCO's annotations[].caption or a list of captions"
    )


def _coco(rows: list[dict[str, Any]], split: str) -> list[Caption]:
    return [Caption(str(row["caption"]), str(row["image_id"])) for row in rows]


def _karpathy(rows: list[dict[str, Any]], split: str) -> list[Caption]:
    splits = {"train", "restval"} if split == "train" else {split}
    mine = [row for row in rows if row["split"] in splits]
    return [Caption(str(s["raw"]), str(row["filename"])) for row in mine for s in row["sentences"]]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not readable as JSON ({error}); copy or export it again") from error


def _opened(path: Path) -> IO[bytes]:
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path and its spelling") from error
    except OSError as error:
        raise InputError(f"{path}: can't be opened ({error.strerror}); expected a file of captions") from error


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read to its end ({error}); the file is cut or broken") from error
