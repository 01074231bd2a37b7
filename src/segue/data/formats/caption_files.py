"""Captions in the wild: CC3M and CC12M (TSV without a head), SS1M and any other list of captions, a caption a line.

CC3M has caption TAB address, CC12M address TAB caption; the side that looks like an address tells. Nothing is
downloaded: a picture is read when it stands in a folder, under its line's number (from 0, as img2dataset counts) or the
last part of its address; otherwise there is only the caption.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

from segue.data.formats.files import Wrong, expecting, pictures_by_name, read_lines, stop
from segue.data.images import read_image
from segue.types import InputError, Picture, PictureSet

LOOKED_FOR = "*.tsv (CC3M, CC12M) with pictures in images/"
KINDS = (".txt", ".jsonl", ".tsv")
NAMES = {"train": ("train", "cc12m"), "val": ("val",), "test": ("test",)}


def read_captions(path: Path, max_words: int | None = None) -> Iterator[str]:
    """The captions of a .txt, .jsonl or .tsv file or a .gz of one, streaming, in order; empty ones are passed over.

    .jsonl: {"caption": ...} or {"text": ...} or a string a line. max_words: longer captions are passed over (15 for
    SS1M). A caption is one line whatever line separators of unicode, tabs and lone CRs it holds; each stretch of
    white space in it becomes one blank. Raises InputError with the line's number.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path}: expected captions in one of {', '.join(KINDS)}, or a .gz of one")
    for number, line in read_lines(path):
        if not line.strip():
            continue
        caption = line
        if kind == ".tsv":
            caption, _ = _pair(line, f"{path} line {number}")
        elif kind == ".jsonl":
            caption = _of_json(line, f"{path} line {number}")
        words = caption.split()
        if words and (max_words is None or len(words) <= max_words):
            yield " ".join(words)


def read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(caption, address) of a TSV, streaming, whichever of them stands first."""
    for number, line in read_lines(path):
        if line.strip():
            yield _pair(line, f"{path} line {number}")


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with TSV files and pictures; the file's name tells its split, train where it doesn't."""
    return tuple(split for split in NAMES if _files(root, split)) if (root / "images").is_dir() else ()


def read(root: Path, split: str, wrong: Wrong = stop) -> PictureSet:
    """The pairs of a split whose pictures are in images/; the others are told."""
    pictures = []
    for path in _files(root, split):
        there = pictures_by_name(root / "images")
        stems = {Path(name).stem.lstrip("0") or "0": file for name, file in there.items() if Path(name).stem.isdigit()}
        for at, (caption, address) in enumerate(read_pairs(path)):
            found = there.get(unquote(Path(urlparse(address).path).name)) or stems.get(str(at))
            if found is None:
                wrong("missing-picture", f"{path.name} line {at + 1}", f"images/ has not the picture of {address[:80]}")
                continue
            name = f"{path.stem}/{at}"
            pictures.append(Picture(name, partial(read_image, found), None, split, (caption,)))
    return PictureSet(pictures)


def _pair(line: str, where: str) -> tuple[str, str]:
    head, tab, tail = line.rpartition("\t")
    if tab and _is_address(tail):
        return head.strip(), tail.strip()
    head, tab, tail = line.partition("\t")
    if tab and _is_address(head):
        return tail.strip(), head.strip()
    raise InputError(f"{where}: got {line[:60]!r}, expected a caption and an address (http...) with a tab between them")


def _is_address(text: str) -> bool:
    return text.strip().lower().startswith(("http://", "https://", "ftp://"))


def _of_json(line: str, where: str) -> str:
    with expecting(where, 'a JSON string, or {"caption": ...} or {"text": ...}'):
        found = json.loads(line)
        return str(found if isinstance(found, str) else found["caption"] if "caption" in found else found["text"])


def _files(root: Path, split: str) -> list[Path]:
    def told(path: Path) -> str:
        return next((s for s, words in NAMES.items() if any(w in path.name.lower() for w in words)), "train")

    return [p for pattern in ("*.tsv", "*.tsv.gz") for p in sorted(root.glob(pattern)) if told(p) == split]
