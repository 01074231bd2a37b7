"""What COCO's files say, by image: the images of all files, and their annotations, checked and sorted as columns.

What is regular is checked many at once, and what is odd one by one, in the order of the file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.data.formats.coco_marks import Marks, Size
from segue.data.formats.lookup import tidy
from segue.data.formats.panoptic import Categories, instance_region
from segue.data.problems import WRONG_LAYOUT, ReportProblem, reporting
from segue.data.records import Id, by_id, read_all_texts, read_id, read_size, read_text
from segue.types import InputError, Region

Take = Callable[[int, Id, Id | None], bool]  # (place in the file, image id, own id) -> whether it can be used


class Entry(NamedTuple):
    """A picture as the files list it. size: (width, height), None when no file has it."""

    name: str
    size: tuple[int, int] | None


class Images:
    """The images of all files by id, and the ids that can't be used: of bad images, and of two pictures."""

    def __init__(self, report: ReportProblem) -> None:
        self.report, self.entries, self.refused = report, dict[Id, Entry](), set[Id]()
        self.there = defaultdict[str, set[Id]](set)  # the ids of a file
        self.counts = Counter[str]()  # how many images of a file have been read
        self.sizes = dict[tuple[int, int], tuple[int, int]]()  # one object for each

    def add(self, kind: str, records: list[Any]) -> None:
        """Add images of the file of a kind. What is bad is reported, by `raise_problem` as an InputError."""
        regular = self._regular(kind, records)
        for at, record in enumerate(() if regular else records, self.counts[kind]):
            bad = None  # the id of a record that can't be used
            with reporting(self.report, "bad-image", f"image {at} (0 is the first) of {kind}"):
                number = bad = read_id(record, "id")
                entry = Entry(read_text(record, "file_name"), read_size(record))
                known = self.entries.setdefault(number, entry)
                bad = None if known.name == entry.name else bad
                if number in self.there[kind] or (known.name != entry.name and not _alike(known.name, entry.name)):
                    raise InputError(f"{entry.name} has the id {number}, as {known.name}; give each its own")
                bad = None
                self.entries[number] = Entry(max(known.name, entry.name, key=len), entry.size or known.size)
                self.there[kind].add(number)
            self.refused |= set() if bad is None else {bad}
        self.counts[kind] += len(records)

    def _regular(self, kind: str, records: list[Any]) -> bool:
        """Add images if all are regular, and new or as another file has them; whether they are."""
        try:
            numbers = [record["id"] for record in records]
            names = read_all_texts([record["file_name"] for record in records], "file_name")
            sizes = [(record["width"], record["height"]) for record in records]
        except WRONG_LAYOUT:
            return False
        sides = [*chain.from_iterable(sizes)]
        if not {int}.issuperset(map(type, chain(numbers, sides))) or min(sides, default=1) < 1:
            return False
        sizes = [*map(self.sizes.setdefault, sizes, sizes)]
        found = dict(zip(numbers, map(Entry, names, sizes), strict=True))
        if len(found) < len(records) or not self.there[kind].isdisjoint(found):
            return False
        if any(self.entries.get(number, entry) != entry for number, entry in found.items()):
            return False
        self.entries |= {number: entry for number, entry in found.items() if number not in self.entries}
        self.there[kind].update(found)
        return True

    def size_of(self, number: Id) -> Size | None:
        """(height, width) of an image, where it is known."""
        entry = self.entries.get(number)
        return entry and entry.size and entry.size[::-1]

    def usable(self) -> dict[Id, Entry]:
        """The images whose ids are not refused, in the order of the ids."""
        found = (item for item in self.entries.items() if item[0] not in self.refused)
        return dict(sorted(found, key=lambda item: by_id(item[0])))


class Places:
    """The usable images in the order of their ids; an image's place is its position among them.

    sizes: (N, 2), height and width, 0 where no file has them, or such as no picture has.
    """

    def __init__(self, images: Images) -> None:
        self.entries, self.refused = images.usable(), images.refused
        self.place = {number: place for place, number in enumerate(self.entries)}
        sizes = (entry.size or (0, 0) for entry in self.entries.values())
        fitting = [(height, width) if max(width, height) < 2**31 else (0, 0) for width, height in sizes]
        self.sizes = np.array(fitting, np.int32).reshape(-1, 2)
        known = [(number, place) for number, place in self.place.items() if _fits(number)]
        self._numbers, self._places = np.array(known, np.int64).reshape(-1, 2).T

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of the images with these ids, -1 where there is none."""
        if not len(self._numbers):
            return np.full(len(numbers), -1)
        at = np.searchsorted(self._numbers, numbers).clip(max=len(self._numbers) - 1)
        return np.where(self._numbers[at] == numbers, self._places[at], -1)


class Captions:
    """The captions of images by their places."""

    def __init__(self, marks: Marks, places: Places, report: ReportProblem) -> None:
        self.marks, self.own = marks, dict[int, Id | None]()

        def take(at: int, image: Id, own: Id | None) -> bool:
            if at in marks.raw:
                record = marks.raw[at]
                name = f"caption {record.get('id', '')} of {places.entries[image].name}"
                with reporting(report, "bad-caption", name):
                    marks.texts[at], self.own[at] = read_text(record, "caption"), own
                    return True
                return False
            return True

        targets, odd = _checked(marks, places)
        self.rows = _look(marks, "captions", places, report, targets, odd, take)
        marks.raw.clear()

    def of(self, place: int) -> list[tuple[Id | None, str]]:
        """(id, text) of each."""
        marks = self.marks
        return [(self.own[at] if at in self.own else marks.ids[at], marks.texts[at]) for at in self.rows.of(place)]

    def texts(self, place: int) -> tuple[str, ...]:
        """The text of each."""
        return tuple(map(self.marks.texts.__getitem__, self.rows.of(place)))


class Regions:
    """The instances of images by their places."""

    def __init__(self, marks: Marks, places: Places, categories: Categories, report: ReportProblem) -> None:
        self.marks, self.categories = marks, categories
        self.made = dict[int, Region]()  # of raw annotations

        def take(at: int, image: Id, own: Id | None) -> bool:
            entry = places.entries[image]
            name, size = f"annotation {own} of {entry.name}", entry.size and entry.size[::-1]
            with reporting(report, "bad-annotation", name):
                if at in marks.raw:
                    self.made[at] = instance_region(marks.raw[at], size, categories, name)
                else:
                    marks.check(at, size, categories, name)
                return True
            return False

        targets, odd = _checked(marks, places)
        known = [number for number in categories if _fits(number)]
        odd |= ~np.isin(marks.column("categories", np.int64(0)), np.array(known, np.int64))
        sizes = marks.column("sizes", np.zeros(2, np.int32))
        there = np.flatnonzero(targets >= 0)
        odd[there] |= ((sizes[there] != 0) & (sizes[there] != places.sizes[targets[there]])).any(1)
        self.rows = _look(marks, "instances", places, report, targets, odd, take)
        marks.raw.clear()

    def of(self, place: int) -> list[Region]:
        """Each instance of an image."""
        places = self.rows.of(place)
        if self.made.keys().isdisjoint(places):
            return self.marks.regions(places, self.categories)
        return [self.made[at] if at in self.made else self.marks.regions([at], self.categories)[0] for at in places]


def panoptic_marks(marks: Marks, places: Places, report: ReportProblem) -> tuple[list[int], list[Any]]:
    """The places of the images that have panoptic annotations, and these, in the order of the file."""
    found, listed = list[int](), list[Any]()

    def take(at: int, image: Id, own: Id | None) -> bool:
        found.append(places.place[image])
        listed.append(marks.raw[at])
        return True

    _look(marks, "panoptic", places, report, *_checked(marks, places), take)
    return found, listed


class _Rows(NamedTuple):
    """Annotations by the places of their images: `order` sorted by image, and where each image begins in it."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    def of(self, place: int) -> list[int]:
        start, end = self.starts[place : place + 2].tolist()
        found: list[int] = self.order[start:end].tolist()
        return found


def _checked(marks: Marks, places: Places) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each annotation's image, and which are odd: raw, without a usable image, or with a twin's id."""
    ids, raw = np.array(marks.ids), np.fromiter(marks.raw, np.int64)
    targets = places.of(np.array(marks.images))
    odd = targets < 0
    odd[raw] = True
    found, counts = np.unique(np.delete(ids, raw), return_counts=True)
    listed = [own for record in marks.raw.values() if _fits(own := _id_or_none(record))]
    twice = np.concatenate([found[counts > 1], np.array(listed, np.int64)])
    return targets, odd | np.isin(ids, twice) if len(twice) else odd


def _look(
    marks: Marks,
    kind: str,
    places: Places,
    report: ReportProblem,
    targets: NDArray[np.int64],
    odd: NDArray[np.bool_],
    take: Take,
) -> _Rows:
    """Look at the odd annotations in their order, report what is wrong with them, and sort those that can be used."""
    there = set[Any]()
    for at in np.flatnonzero(odd).tolist():
        targets[at] = _look_at(at, marks, kind, places, report, there, take)
    order = np.argsort(targets, kind="stable")
    return _Rows(order, np.searchsorted(targets[order], np.arange(len(places.entries) + 1)))


def _look_at(
    at: int, marks: Marks, kind: str, places: Places, report: ReportProblem, there: set[Any], take: Take
) -> int:
    """The place of the image of an odd annotation; -1 when it can't be used. there: the ids of those before it."""
    image: Id | None = marks.images[at]
    own: Id | None = marks.ids[at]
    name = f"{kind} {own}"
    if at in marks.raw:
        mark, image = marks.raw[at], None
        name = f"{kind} {mark['id'] if isinstance(mark, dict) and 'id' in mark else f'number {at}'}"
        with reporting(report, "bad-annotation", name):
            image, own = read_id(mark, "image_id"), None if kind == "panoptic" else _own_id(mark)
    if image is None:
        return -1
    once = f"image {image}" if kind == "panoptic" else own
    if once is not None and once in there:
        report("bad-annotation", name, "a second annotation of this id; give each its own")
        return -1
    there.add(once)
    if image not in places.place:
        if image not in places.refused:
            report("dangling-image", name, f"image_id {image} is not in images")
        return -1
    return places.place[image] if take(at, image, own) else -1


def _own_id(mark: Any) -> Id | None:
    """The id of an annotation, where it has one. Raises one of WRONG_LAYOUT where that is none."""
    return None if mark.get("id") is None else read_id(mark, "id")


def _id_or_none(mark: Any) -> Id | None:
    """The same, and None for one that is none, which is reported when its turn comes."""
    try:
        return _own_id(mark)
    except WRONG_LAYOUT:
        return None


def _fits(number: Id | None) -> bool:
    """Whether an id is a number of 64 bits."""
    return isinstance(number, int) and -(2**63) <= number < 2**63


def _alike(one: str, other: str) -> bool:
    """Whether two names may be one picture's: one's path is the end of the other's."""
    one, other = f"/{tidy(one)}", f"/{tidy(other)}"
    return one.endswith(other) or other.endswith(one)
