"""Webdataset shards: tar files whose members share a stem, `000000012.jpg` with `000000012.txt` or `.json`.

A shard is not unpacked and its pictures are not held: only the heads of the members are read, and a picture is loaded
from its place in the file, in any order and by any process. So the standard library suffices. A compressed shard has
no such places: decompress it. Format: github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.files import SPLITS, expecting, split_of
from segue.data.formats.lookup import short_names
from segue.data.images import decode_image
from segue.data.picture_files import PICTURE_SUFFIXES
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import each_once, field, read_texts
from segue.types import InputError, Picture, PictureSet

EXPECTED = "*.tar (webdataset shards)"
CAPTIONS = ("txt", "caption", "json")
MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")  # webdataset's key and ending: they part at the first dot
META = re.compile(r"__[^/]*__($|/)")  # of webdataset itself
Place = tuple[int, int]  # first byte, number of bytes


def splits(root: Path) -> tuple[str, ...]:
    """The splits of a folder with shards: its folders train, val, test, or by the shards' names."""
    return tuple(split for split in SPLITS if _files(root, split))


def read(root: Path, split: str, report: ReportProblem = raise_problem) -> PictureSet:
    """A split of all shards of a folder."""
    files = _files(root, split)
    names = short_names(path.relative_to(root).with_suffix("").as_posix() for path in files)
    found = zip(files, names.values(), strict=True)
    return PictureSet([picture for path, name in found for picture in read_shard(path, split, report, name)])


def read_shard(
    path: Path, split: str = "train", report: ReportProblem = raise_problem, name: str = ""
) -> Iterator[Picture]:
    """The pictures of a shard, in order, named SHARD/KEY; reports members that make no picture.

    name: of the shard; its file's without the ending unless given.
    Raises InputError for a file that is no tar.
    """
    unused, differing = Counter[str](), list[str]()
    for key, members in _samples(path, report):
        where, made = f"{path.name}/{key}", None
        with reporting(report, "bad-sample", where):
            picture = _picture(members)
            made = picture, _captions(path, key, members)
        if made:
            picture, (captions, other) = made
            differing += [f"{key}.{other}"] if other else []
            unused.update(members.keys() - {picture, *CAPTIONS})
            load_it = partial(load, path, *members[picture], f"{key}.{picture}")
            yield Picture(f"{name or path.stem}/{key}", load_it, None, split, captions)
    if differing:
        message = f"{len(differing)} captions that are not read, such as {differing[0]}: a sample's .txt says otherwise"
        report("two-captions", path.name, message)
    if unused:
        kinds = ", ".join(f"{count} .{end}" for end, count in unused.most_common(8))
        report("unused-members", path.name, f"members that are not read: {kinds}")


def _picture(members: dict[str, Place]) -> str:
    """The ending of a sample's picture: a whole one, png before 0.png, or the only one that ends in a picture's."""
    whole = [end for end in members if f".{end}" in PICTURE_SUFFIXES]
    found = whole or [end for end in members if f".{end.split('.')[-1]}" in PICTURE_SUFFIXES]
    if not found:
        raise InputError(f"only .{', .'.join(members)}, no picture")
    if len(found) > 1:
        raise InputError(
            f"{len(found)} pictures, .{' and .'.join(found)}, of which one is wanted; a sample's name goes to its "
            "first dot, so that names with dots in them become one sample"
        )
    return found[0]


def load(path: Path, start: int, size: int, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of the member that begins at byte `start` of a tar file.

    Raises InputError when it can't be read as a picture.
    """
    return decode_image(_bytes(path, start, size), f"{path}/{name}")


def _samples(path: Path, report: ReportProblem) -> Iterator[tuple[str, dict[str, Place]]]:
    """(key, {ending: place}) of members that stand together and share what comes before the first dot."""
    last, members, twins, odd = "", dict[str, Place](), list[str](), list[str]()
    for name, place in _members(path, report):
        found = MEMBER.fullmatch(name)
        if not found:
            odd += [] if name.rpartition("/")[2].startswith(".") else [name]  # macOS adds ._NAME
            continue
        key, end = found[1].removeprefix("./"), found[2].lower()
        if key != last and members:
            yield last, members
            members = {}
        if end in members:
            twins.append(f"{key}.{end}")
        last, members[end] = key, members.get(end, place)
    if members:
        yield last, members
    for twin in twins:
        report("same-member", f"{path.name}/{twin}", "there twice; the second is left out")
    if odd:
        report(
            "unused-members", path.name, f"members that are not read: {len(odd)} without an ending, such as {odd[0]}"
        )


def _members(path: Path, report: ReportProblem) -> Iterator[tuple[str, Place]]:
    """(name, place) of the files of a shard, without webdataset's own."""
    last = "its beginning"
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                last = member.name
                if member.isfile() and not META.match(member.name):
                    yield member.name, (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        message = f"broken after {last} ({error}); what comes before is read. Copy it again"
        report("broken-shard", path.name, message if path.suffix == ".tar" else f"{error}; decompress it")


def _captions(path: Path, key: str, members: dict[str, Place]) -> tuple[tuple[str, ...], str]:
    """Those of the first of CAPTIONS that is there, and the ending of another that says something else, or ""."""
    found = {end: texts for end in CAPTIONS if end in members and (texts := _texts(path, key, end, members[end]))}
    first, *others = found or [""]
    said = found.get(first, ())
    return said, next((end for end in others if not {*said} <= {*found[end]}), "")


def _texts(path: Path, key: str, end: str, place: Place) -> tuple[str, ...]:
    if end != "json":
        with expecting(f"{path}/{key}.{end}", "a caption in UTF-8"):
            text = _bytes(path, *place).decode("utf-8-sig")
        return read_texts(text, end)
    with expecting(f"{path}/{key}.json", 'JSON with "caption" or "captions"'):
        found = json.loads(_bytes(path, *place), object_pairs_hook=each_once)
    if not isinstance(found, dict) or found.keys().isdisjoint(("captions", "caption")):
        return ()
    return read_texts(field(found, "captions", "caption"), "caption")


def _bytes(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error}); copy it again") from error


def _files(root: Path, split: str) -> list[Path]:
    found = sorted([*root.rglob("*.tar"), *root.rglob("*.tar.gz"), *root.rglob("*.tgz")])
    return [path for path in found if not path.name.startswith(".") and split_of(path.relative_to(root)) == split]
