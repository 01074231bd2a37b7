"""Webdataset shards: tar files whose members share a stem, `000000012.jpg` with `000000012.txt` or `.json`.

A shard is not unpacked and its pictures are not held: only the heads of the members are read, and a picture is loaded
from its place in the file, in any order and by any process. So the standard library suffices. A compressed shard has
no such places: decompress it. Format: github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.files import SPLITS, ReportProblem, expecting, raise_problem
from segue.data.images import PICTURE_SUFFIXES, decode_image
from segue.types import InputError, Picture, PictureSet

EXPECTED = "*.tar (webdataset shards)"
Place = tuple[int, int]  # first byte, number of bytes


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with shards: its folders train, val, test, or by the shards' names."""
    return tuple(split for split in SPLITS if _files(root, split))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of all shards of a folder."""
    return PictureSet([picture for path in _files(root, split) for picture in read_shard(path, split, report)])


def read_shard(path: Path, split: str = "train", report: ReportProblem = raise_problem) -> Iterator[Picture]:
    """The pictures of a shard, in order, named SHARD/KEY; reports members that make no picture.

    Raises InputError for a file that is no tar.
    """
    for key, members in _samples(path, report):
        picture = next((end for end in members if f".{end.split('.')[-1]}" in PICTURE_SUFFIXES), None)
        if picture is None:
            report("missing-picture", f"{path.name}/{key}", f"only .{', .'.join(members)}, no picture")
            continue
        try:
            captions = _captions(path, key, members)
        except InputError as error:
            report("bad-caption", f"{path.name}/{key}", str(error))
            continue
        yield Picture(
            f"{path.stem}/{key}", partial(load, path, *members[picture], f"{key}.{picture}"), None, split, captions
        )


def load(path: Path, start: int, size: int, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of the member that begins at byte `start` of a tar file.

    Raises InputError when it can't be read as a picture.
    """
    return decode_image(_bytes(path, start, size), f"{path}/{name}")


def _samples(path: Path, report: ReportProblem) -> Iterator[tuple[str, dict[str, Place]]]:
    """(key, {ending: place}) of members that stand together and share what comes before the first dot."""
    last, members = "", dict[str, Place]()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, end = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if key != last and members:
                    yield last, members
                    members = {}
                last, members[end.lower()] = key, (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        message = f"broken after {last or 'its beginning'} ({error}); what comes before is read. Copy it again"
        report("broken-shard", path.name, message if path.suffix == ".tar" else f"{error}; decompress it")
    if members:
        yield last, members


def _captions(path: Path, key: str, members: dict[str, Place]) -> tuple[str, ...]:
    for end in ("txt", "caption"):
        if end in members:
            with expecting(f"{path}/{key}.{end}", "a caption in UTF-8"):
                return (_bytes(path, *members[end]).decode("utf-8").strip(),)
    if "json" in members:
        with expecting(f"{path}/{key}.json", 'JSON with "caption" or "captions"'):
            found = json.loads(_bytes(path, *members["json"]))
            texts = found.get("captions", found.get("caption", ()))
            return (texts,) if isinstance(texts, str) else tuple(map(str, texts))
    return ()


def _bytes(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error}); copy it again") from error


def _files(root: Path, split: str) -> list[Path]:
    def split_of(path: Path) -> str:
        words = path.relative_to(root).as_posix().lower()
        return next((s for s in SPLITS if s in words), "train")

    return [path for path in sorted([*root.glob("*.tar"), *root.glob("*/*.tar")]) if split_of(path) == split]
