"""Captions and addresses of pictures of the web: CC3M and CC12M, TSV files without a head, with pictures in a folder.

Nothing is downloaded: a picture is read when it stands in images/, under its line's number (from 0, as img2dataset
counts) or the last part of its address. Captions without pictures are read by `segue.data.corpus`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

from segue.data.corpus import read_tsv
from segue.data.formats.files import Wrong, pictures_by_name, stop
from segue.data.images import read_image
from segue.types import Picture, PictureSet

LOOKED_FOR = "*.tsv (CC3M, CC12M) with pictures in images/"
NAMES = {"train": ("train", "cc12m"), "val": ("val",), "test": ("test",)}


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with TSV files and pictures; the file's name tells its split, train where it doesn't."""
    return tuple(split for split in NAMES if _files(root, split)) if (root / "images").is_dir() else ()


def read(root: Path, split: str, wrong: Wrong = stop) -> PictureSet:
    """The pairs of a split whose pictures are in images/; the others are told."""
    pictures = []
    for path in _files(root, split):
        there = pictures_by_name(root / "images")
        stems = {Path(name).stem.lstrip("0") or "0": file for name, file in there.items() if Path(name).stem.isdigit()}
        for at, (caption, address) in enumerate(read_tsv(path)):
            found = there.get(unquote(Path(urlparse(address).path).name)) or stems.get(str(at))
            if found is None:
                wrong("missing-picture", f"{path.name} line {at + 1}", f"images/ has not the picture of {address[:80]}")
                continue
            name = f"{path.stem}/{at}"
            pictures.append(Picture(name, partial(read_image, found), None, split, (caption,)))
    return PictureSet(pictures)


def _files(root: Path, split: str) -> list[Path]:
    def told(path: Path) -> str:
        return next((s for s, words in NAMES.items() if any(w in path.name.lower() for w in words)), "train")

    return [p for pattern in ("*.tsv", "*.tsv.gz") for p in sorted(root.glob(pattern)) if told(p) == split]
