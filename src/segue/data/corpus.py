"""Captions without pictures: readers of text corpora, a caption at a time.

| name ends in (each also with .gz) | what is read |
|---|---|
| .txt | one caption a line |
| .jsonl | a line is a JSON string, or an object: caption (or text, sentence), and image (or image_id, picture, url) |
| .tsv | CC3M's caption TAB url or CC12M's url TAB caption, without a header |
| .json | Karpathy's images[].sentences[].raw, COCO's annotations[].caption, or a list of captions (SS1M) |

Lines end at "\\n" and nowhere else. Inside a caption every run of white space (tabs, CR, U+2028) becomes one space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.lines import read_lines, read_text
from segue.types import InputError

_CAPTION_KEYS = ("caption", "text", "sentence")
_PICTURE_KEYS = ("image", "image_id", "picture", "url")


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
    """The captions of a file one after another, blank ones left out; repeats stay. Arguments as in `read_corpus`.

    Raises InputError at once when the file's name has no known ending, and while reading as `read_corpus` does.
    """
    readers: dict[str, Callable[[Path], Iterator[Caption]]] = {
        ".txt": _read_txt,
        ".jsonl": _read_jsonl,
        ".tsv": read_tsv,
        ".json": partial(_read_json, split=split),
    }
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in readers:
        raise InputError(f"{path}: can't tell its format; let its name end in {', '.join(readers)}, or that and .gz")
    return _tidied(readers[suffix], path)


def _tidied(read: Callable[[Path], Iterator[Caption]], path: Path) -> Iterator[Caption]:
    for caption in read(path):
        text = " ".join(caption.text.split())
        if text:
            yield Caption(text, caption.picture)


def distinct(captions: Iterable[Caption]) -> Iterator[Caption]:
    """Leave out a caption that was there before with the same picture. Holds 16 bytes for each."""
    found: set[bytes] = set()
    for caption in captions:
        key = hashlib.blake2b("\n".join(caption).encode(), digest_size=16).digest()
        if key not in found:
            found.add(key)
            yield caption


def read_tsv(path: Path) -> Iterator[Caption]:
    """The rows of a CC3M or CC12M file as they stand in it, blank lines left out; the picture's name is its address.

    The address may stand on either side of the tab. Where neither side is one, the caption comes first. Raises
    InputError, with the line, for a line without a tab.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        text, tab, address = line.rpartition("\t")  # a tab may stand in the caption, never in the address
        if not tab:
            raise InputError(
                f"{path}, line {number}: got no tab in {line[:60]!r}, expected a caption and an address with a tab "
                "between them, as CC3M and CC12M have it; let the name of a list of captions end in .txt"
            )
        first, _, rest = line.partition("\t")
        if _is_address(first) and not _is_address(address):
            text, address = rest, first
        yield Caption(text.strip(), address.strip())


def _is_address(text: str) -> bool:
    return text.strip().lower().startswith(("http://", "https://", "ftp://"))


def _read_txt(path: Path) -> Iterator[Caption]:
    for _, line in read_lines(path):
        yield Caption(line)


def _read_jsonl(path: Path) -> Iterator[Caption]:
    for number, line in read_lines(path):
        if line.strip():
            yield _of_json(line, f"{path}, line {number}")


def _of_json(line: str, where: str) -> Caption:
    row = _parsed(line, where)
    if isinstance(row, str):
        return Caption(row)
    text = next((row[k] for k in _CAPTION_KEYS if k in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str):
        keys = ", ".join(_CAPTION_KEYS)
        raise InputError(f"{where}: got {line[:60]!r}, expected an object with one of {keys}, or a JSON string")
    return Caption(text, str(next((row[k] for k in _PICTURE_KEYS if k in row), "")))


def _read_json(path: Path, split: str) -> Iterator[Caption]:
    data = _parsed(read_text(path), str(path))
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
    mine = [row for row in rows if karpathy_split(row) == split]
    return [Caption(text, str(row["filename"])) for row in mine for text in karpathy_captions(row)]


def karpathy_split(entry: Any) -> str:
    """The split of an entry of Karpathy's `images`; `restval` is train."""
    return "train" if entry["split"] == "restval" else str(entry["split"])


def karpathy_captions(entry: Any) -> tuple[str, ...]:
    """The captions of an entry of Karpathy's `images`, as they were written where that is kept."""
    return tuple((s["raw"] if "raw" in s else " ".join(s["tokens"])).strip() for s in entry["sentences"])


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not readable as JSON ({error}); copy or export it again") from error
