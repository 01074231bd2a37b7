"""Captions and addresses of web pictures: CC3M and CC12M, TSV files without a header, with pictures in a folder.

Nothing is downloaded: a picture is read when it stands in images/, under its line's number (from 0, as img2dataset
counts) or the last part of its address. Captions without pictures are read by `segue.data.corpus`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

from segue.data.corpus import read_tsv
from segue.data.formats.files import ReportProblem, pictures_by_name, raise_problem
from segue.data.images import read_image
from segue.types import Picture, PictureSet

EXPECTED = "*.tsv (CC3M, CC12M) with pictures in images/"
NAMES = {"train": ("train", "cc12m"), "val": ("val",), "test": ("test",)}


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with TSV files and pictures; by the files' names, otherwise train."""
    return tuple(split for split in NAMES if _files(root, split)) if (root / "images").is_dir() else ()


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """The captions of a split whose pictures are in images/; the others are reported."""
    pictures = []
    for path in _files(root, split):
        there = pictures_by_name(root / "images")
        stems = {Path(name).stem.lstrip("0") or "0": file for name, file in there.items() if Path(name).stem.isdigit()}
        for at, (caption, address) in enumerate(read_tsv(path)):
            found = there.get(unquote(Path(urlparse(address).path).name)) or stems.get(str(at))
            if found is None:
                report(
                    "missing-picture", f"{path.name} line {at + 1}", f"images/ has not the picture of {address[:80]}"
                )
                continue
            name = f"{path.stem}/{at}"
            pictures.append(Picture(name, partial(read_image, found), None, split, (caption,)))
    return PictureSet(pictures)


def _files(root: Path, split: str) -> list[Path]:
    def split_of(path: Path) -> str:
        return next((s for s, words in NAMES.items() if any(w in path.name.lower() for w in words)), "train")

    return [p for pattern in ("*.tsv", "*.tsv.gz") for p in sorted(root.glob(pattern)) if split_of(p) == split]
