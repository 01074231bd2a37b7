"""The phrases_{split}.json of synthetic scenes: which objects the words of a caption name.

[{image_id, caption_id, start, end, text, object_ids}]; object_ids are ids of Visual Genome's objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segue.data.formats.files import read_list
from segue.data.problems import ReportProblem, raise_problem, reporting
from segue.data.records import Id, field, read_id, read_text, to_id
from segue.types import Phrase


def read_phrase_entries(path: Path | None, report: ReportProblem = raise_problem) -> dict[Id, list[Any]]:
    """Image id -> its phrases as they stand in the file; empty without a file."""
    marks = defaultdict(list)
    for at, mark in enumerate(read_list(path) if path else []):
        with reporting(report, "bad-phrase", f"phrase {at} (0 is the first)"):
            number = read_id(mark, "image_id")
            start, end, objects = (field(mark, key) for key in ("start", "end", "object_ids"))
            known = {"caption_id": read_id(mark, "caption_id"), "text": read_text(mark, "text")}
            places = {"start": int(start), "end": int(end), "object_ids": [to_id(one) for one in objects]}
            marks[number].append(known | places)
    return marks


def phrases_from_entries(
    marks: Sequence[Any], captions: Sequence[tuple[Any, str]], places: dict[Id, int], name: str, report: ReportProblem
) -> Iterator[Phrase]:
    """The phrases of a picture. captions: (id, text). places: the positions of the objects among the regions."""
    numbers = {number: position for position, (number, _) in enumerate(captions)}
    for mark in marks:
        at, objects = numbers.get(mark["caption_id"]), [places.get(number) for number in mark["object_ids"]]
        if at is None or captions[at][1][mark["start"] : mark["end"]] != mark["text"] or None in objects:
            report(
                "dangling-phrase", name, f"the phrase {mark['text']!r} names a caption or an object that is not there"
            )
        else:
            regions = tuple(dict.fromkeys(place for place in objects if place is not None))
            yield Phrase(at, mark["start"], mark["end"], regions)
