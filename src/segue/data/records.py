"""The fields of records in JSON files, each checked: ids, texts, sizes, boxes. A bad one raises InputError."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segue.types import InputError

Id = int | str
Box = tuple[float, float, float, float]
_HALF = re.compile("[\ud800-\udfff]")  # a character that no file can hold


def shown(value: Any) -> str:
    """A value as its file writes it, cut short."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60].encode(errors="replace").decode()


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs of a JSON file. Raises ValueError for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return found


def field(record: Any, *keys: str) -> Any:
    """The first of the keys that a record has. Raises InputError when it has none, or is no object."""
    if not isinstance(record, dict):
        raise InputError(f"got {shown(record)}, expected an object with {keys[0]}")
    for key in keys:
        if key in record:
            return record[key]
    raise InputError(f"no {' nor '.join(keys)}, expected one")


def read_id(record: Any, *keys: str) -> Id:
    """An id of a record: a whole number, also where it is written as a text; any other text stays one."""
    return to_id(field(record, *keys), keys[0])


def to_id(value: Any, name: str = "id") -> Id:
    """A value as an id, see `read_id`: 7, 7.0 and "7" are 7, "007" and "64ab" are texts.

    Raises InputError for anything but a number or a text.
    """
    if type(value) is int:  # as most are
        return value
    if isinstance(value, str) and value.strip():
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
        return number if number is not None and str(number) == value else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputError(f"{name}: got {shown(value)}, expected a number or a text")


def by_id(number: Id) -> tuple[bool, Id]:
    """What sorts ids: numbers, then texts."""
    return isinstance(number, str), number


def read_text(record: Any, *keys: str) -> str:
    """A text of a record, without blanks around it. Raises InputError when it is empty, or no text (null is none)."""
    value = field(record, *keys)
    if not isinstance(value, str):
        raise InputError(f"{keys[0]}: got {shown(value)}, expected a text")
    if not value.strip():
        raise InputError(f"{keys[0]}: got an empty text; write one or delete the entry")
    if _HALF.search(value):
        raise InputError(f"{keys[0]}: got {shown(value)}, in which half a character is missing; write it again")
    return value.strip()


def read_all_texts(values: Sequence[Any], name: str) -> list[str]:
    """Many texts, each as `read_text` has it, and as its errors."""
    if {str}.issuperset(map(type, values)):
        made = [value.strip() for value in values]
        if all(made) and ((joined := "\n".join(made)).isascii() or not _HALF.search(joined)):
            return made
    return [read_text({name: value}, name) for value in values]


def read_texts(value: Any, name: str) -> tuple[str, ...]:
    """A text, or the texts of a list, each as `read_text` has it. name: of the value, for the message."""
    return tuple(read_text({name: text}, name) for text in (value if isinstance(value, list) else [value]))


def read_flag(record: Mapping[str, Any], key: str, default: bool = False) -> bool:
    """Whether a record has the value 1 or true there, also as a text."""
    return str(record.get(key, default)).lower() in ("1", "1.0", "true")


def read_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in pixels, numbers or texts; None for a record that has not both, or holds null there.

    Raises InputError for values that are no sizes.
    """
    found = [record.get(key) for key in ("width", "height")]
    if None in found:
        return None
    sizes = [to_id(value, key) for key, value in zip(("width", "height"), found, strict=True)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(f"width and height: got {shown(found)}, expected two whole numbers above 0")
    return int(sizes[0]), int(sizes[1])


def to_box(values: Any, name: str = "bbox") -> Box:
    """(x, y, width, height) in pixels: four finite numbers, the last two above 0.

    Raises InputError for anything else.
    """
    given = list(values) if isinstance(values, Iterable) and not isinstance(values, str | Mapping) else [values]
    try:
        numbers = [float(value) for value in given if value is not None and not isinstance(value, bool)]
    except (TypeError, ValueError):
        numbers = []
    if len(given) != 4 or len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InputError(f"{name}: got {shown(values)}, expected four numbers x, y, width, height")
    x, y, w, h = numbers
    if w <= 0 or h <= 0:
        raise InputError(f"{name}: got x {x:g}, y {y:g}, width {w:g}, height {h:g}; width and height must be above 0")
    return x, y, w, h
