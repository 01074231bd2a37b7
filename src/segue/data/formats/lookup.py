"""Pictures looked up by the names that a data set's files give them: by their path first, and twins are reported.

Names are compared in NFC, with "/" between folders. A name fits a file when one's path is the end of the other's:
`images/cam1/1.png` fits `cam1/1.png` and `1.png`, and never `cam2/1.png`. The file that shares the most folders is
taken; when two share as many, or two names would take one file, nothing is taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from segue.data.picture_files import list_pictures

Places = dict[str, list[Path]]  # files by their path below a folder
PLAIN = re.compile(r"[\w-][\w.-]*", re.ASCII)  # names that are tidy, as most are


def tidy(name: str) -> str:
    """A path as names are compared: in NFC, folders by "/", without drive, "." and what stands before ".."."""
    if PLAIN.fullmatch(name):
        return name
    parts = re.sub(r"^[A-Za-z]:(?=[\\/])", "", unicodedata.normalize("NFC", name)).replace("\\", "/").split("/")
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    return "/".join(part for part in parts if part not in ("", "."))


def stem_of(name: str) -> str:
    """A path as names are compared, without the file's ending."""
    folder, slash, last = tidy(name).rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def list_places(folder: Path, *, stems: bool = False, ending: str = "") -> Places:
    """The pictures in a folder and those below it, by their paths in it.

    stems: without the files' endings. ending: of these, the ones that end so, without it.
    """
    found, above = defaultdict[str, list[Path]](list), len(folder.parts)
    for path in list_pictures(folder, deep=True):
        key = tidy("/".join((*path.parts[above:-1], path.stem if stems else path.name)))
        if key.endswith(ending):
            found[key.removesuffix(ending)].append(path)
    return dict(found)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """For each name its last part where no other has the same, otherwise all of it."""
    tidied = {name: tidy(name) for name in names}
    counts = Counter(_last(one) for one in {*tidied.values()})
    return {name: _last(one) if counts[_last(one)] == 1 else one for name, one in tidied.items()}


@dataclass
class Located:
    """Which name is which file. doubtful: names for which there are several files; passed: the files of these names.

    elsewhere: of missing names, a file of that name in another folder.
    """

    found: dict[str, Path] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    passed: set[Path] = field(default_factory=set)

    def problem(self, name: str, missing: str) -> tuple[str, str]:
        """(code, message) of a name that is not found. missing: the message when there is no file at all."""
        if name in self.doubtful:
            return "ambiguous-picture", self.doubtful[name]
        other = f"; {self.elsewhere[name]} is called so, in another folder" if name in self.elsewhere else ""
        return "missing-picture", missing + other


def locate(places: Places, names: Iterable[str]) -> Located:
    """Which file each name stands for. names: of `list_places(stems=True)` without the files' endings."""
    found, keys, by_last = Located(), {name: tidy(name) for name in names}, defaultdict(list)
    for key in places:
        by_last[_last(key)].append(key)
    for name, key in keys.items():
        paths = _exact(places, name, key) or _fitting(places, by_last[_last(key)], key)
        if len(paths) == 1:
            found.found[name] = paths[0]
        elif paths:
            _doubt(found, name, paths, f"{len(paths)} files fit, {paths[0]} and {paths[1]}; give its folder")
        elif near := by_last[_last(key)]:
            found.elsewhere[name] = near[0]
    _part_twins(found, keys, places)
    return found


def _exact(places: Places, name: str, key: str) -> list[Path]:
    """The files of that path; of files whose names are spelt in two ways the one that is spelt so."""
    paths = places.get(key, [])
    return [path for path in paths if len(paths) > 1 and path.as_posix().endswith(f"/{name}")] or paths


def _fitting(places: Places, alike: list[str], key: str) -> list[Path]:
    """The files whose path is the end of the name's or begins before it, those that share the most folders."""
    fits = [one for one in alike if f"/{one}".endswith(f"/{key}") or f"/{key}".endswith(f"/{one}")]
    shared = {one: min(one.count("/"), key.count("/")) for one in fits}
    return [path for one in fits if shared[one] == max(shared.values()) for path in places[one]]


def _part_twins(found: Located, keys: dict[str, str], places: Places) -> None:
    """Take back what two different names took, except from a name that is the file's whole path."""
    takers = defaultdict(list)
    for name, path in found.found.items():
        takers[path].append(name)
    for path, names in takers.items():
        if len({keys[name] for name in names}) > 1:
            for name in (name for name in names if path not in places.get(keys[name], [])):
                other = next(one for one in names if keys[one] != keys[name])
                del found.found[name]
                _doubt(found, name, [path], f"{path.name} would also be the picture of {other}; there is but one file")


def _doubt(found: Located, name: str, paths: list[Path], why: str) -> None:
    found.doubtful[name] = why
    found.passed |= {*paths}


def _last(key: str) -> str:
    return key.rpartition("/")[2]
