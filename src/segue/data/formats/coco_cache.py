"""Large files of COCO's instances, kept as arrays once they have been read: their JSON takes ten times as long.

There is one file of arrays in the user's cache for each place of a file. It holds a digest of the file's content and is
read only where this is still the same.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.coco_marks import Instance, Marks, Raw, shorten
from segue.files import replacing, user_cache
from segue.types import RLE

LARGE = 1 << 24  # bytes; smaller files are read in less than two seconds
MOST_RAW = 0.5  # share of annotations that stay as JSON
VERSION = 1  # of what is kept; raise it whenever annotations are read in another way


class Parsed(NamedTuple):
    """What a file has: annotations, the records of its images, and its other values by their keys."""

    marks: Marks
    images: list[Any]
    others: dict[str, Any]


class Cache:
    """What is kept of a file. Without a home of the user, and where the disk is full, nothing is."""

    def __init__(self, path: Path) -> None:
        folder, name = user_cache("coco"), hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape"))
        self.source, self.place = path, folder and folder / f"{name.hexdigest()[:32]}.npz"
        with path.open("rb") as opened:
            self.state = f"{VERSION} {hashlib.file_digest(opened, 'sha256').hexdigest()}"

    def read(self) -> Parsed | None:
        """What is kept, if it is of this content. What can't be read is told, and None too."""
        if self.place is None or not self.place.is_file():
            return None
        try:
            with np.load(self.place) as kept:
                return _unpacked(kept) if str(kept["state"]) == self.state else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"{self.place}: can't be read ({error}); {self.source} is read again", stacklevel=2)
            return None

    def write(self, parsed: Parsed) -> None:
        """Keep it, if there is a place for it, and it pays: nearly all annotations are regular."""
        raw = sum(isinstance(one, Raw) for one in parsed.marks.found)
        if self.place is None or raw > MOST_RAW * len(parsed.marks.found):
            return
        try:
            with replacing(self.place) as fresh:
                np.savez(fresh, state=np.array(self.state), **_packed(parsed))
        except OSError:
            return


def _packed(parsed: Parsed) -> dict[str, Any]:
    """As arrays: a row for each regular annotation, and JSON for the rest."""
    found = parsed.marks.found
    regular = [one for one in found if not isinstance(one, Raw)]
    masks = [one.mask or RLE((0, 0), b"") for one in regular]
    rest = {
        "raw": [(at, one.record) for at, one in enumerate(found) if isinstance(one, Raw)],
        "images": parsed.images,
        "others": parsed.others,
    }
    return {
        "rest": np.frombuffer(json.dumps(rest, default=np.ndarray.tolist).encode(), np.uint8),
        "images": np.array(parsed.marks.images),
        "ids": np.array(parsed.marks.ids),
        "categories": np.fromiter((one.category for one in regular), np.int64),
        "crowds": np.fromiter((one.crowd for one in regular), np.bool_),
        "boxes": np.fromiter(chain.from_iterable(one.box for one in regular), np.float64).reshape(-1, 4),
        "sizes": np.fromiter(chain.from_iterable(mask.size for mask in masks), np.int32).reshape(-1, 2),
        "lengths": np.fromiter((len(mask.counts) for mask in masks), np.int32),
        "counts": np.frombuffer(b"".join(mask.counts for mask in masks), np.uint8),
    }


def _unpacked(kept: Mapping[str, NDArray[Any]]) -> Parsed:
    """What `_packed` made arrays of. Raises KeyError or ValueError where they don't belong together."""
    rest, counts, ends = json.loads(kept["rest"].tobytes()), kept["counts"].data, np.cumsum(kept["lengths"])
    columns = [*(kept[name] for name in ("categories", "crowds", "boxes", "sizes")), ends - kept["lengths"], ends]
    same, regular = dict[tuple[int, int], tuple[int, int]](), list[Instance]()
    for category, crowd, (x, y, w, h), (height, width), start, end in _rows(columns):
        size = same.setdefault((height, width), (height, width))
        mask = RLE(size, bytes(counts[start:end])) if height else None
        regular.append(Instance(category, (x, y, w, h), mask, crowd))
    images, ids = (array("q", kept[name].tobytes()) for name in ("images", "ids"))
    raw, rows = dict(rest["raw"]), iter(regular)
    if not len(images) == len(ids) == len(regular) + len(raw):
        raise ValueError(f"{len(images)} images and {len(ids)} ids of {len(regular) + len(raw)} annotations")
    found = [Raw(shorten(raw[at])) if at in raw else next(rows) for at in range(len(ids))]
    return Parsed(Marks(images, ids, found), rest["images"], rest["others"])


def _rows(columns: Sequence[NDArray[Any]]) -> Iterator[tuple[Any, ...]]:
    """The rows of columns, a thousand after the other: numbers of Python take more memory than arrays."""
    for start in range(0, len(columns[0]), 1000):
        yield from zip(*(column[start : start + 1000].tolist() for column in columns), strict=True)
