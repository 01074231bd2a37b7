"""Large JSON files read part by part: neither the text nor all the records of a list are in memory at once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import orjson

from segue.data.formats.files import read_json
from segue.data.records import each_once
from segue.types import InputError

CHUNK = 1 << 17  # characters read at once: what is made of more leaves the processor's cache
BLANK = re.compile(r"[ \t\n\r]*")
AFTER_ITEM = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
AFTER_VALUE = " \t\n\r,:]}"
KEY_END = re.compile(r'"[ \t\n\r]*:')
BETWEEN_OBJECTS = re.compile(r"\},[ \t\n\r]*(?=\{)")


def stream_object(path: Path, long: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs of the JSON object in a file, in its order; of another value nothing.

    long: keys whose lists come in parts, each part with the key; an empty list is one empty part.
    Raises InputError as `read_json` does: a broken file is read again by it, for the place of the error.
    """
    try:
        with path.open("rb") as opened:
            encoding = json.detect_encoding(opened.read(4))
        with path.open(encoding=encoding, errors="surrogatepass", newline="") as opened:
            yield from _Text(opened).pairs(long)
            return
    except (OSError, ValueError, RecursionError) as error:
        failed = error
    if isinstance(read_json(path), dict):
        raise InputError(f"{path}: can't be read as JSON ({failed}); copy or export it again") from failed


class _Text:
    """The text of a file from the place `at` on, as far as it has been read. Raises ValueError where it is no JSON."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at = file, "", 0
        self.quick, self.strict = (
            json.JSONDecoder().raw_decode,
            json.JSONDecoder(object_pairs_hook=each_once).raw_decode,
        )

    def more(self) -> bool:
        """Read on and let go of what lies before `at`; False at the end of the file."""
        rest = self.text[self.at :]
        new = self.file.read(max(CHUNK, len(rest)))  # a long value is read in few steps
        self.text, self.at = rest + new, 0
        return bool(new)

    def peek(self) -> str:
        """The next character that is not blank, at which `at` then is; "" at the end."""
        while True:
            self.at = BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def step(self, *expected: str) -> str:
        """The next character that is not blank, which must be one of these; `at` is behind it."""
        found = self.peek()
        if found not in expected:
            raise ValueError(f"got {found!r}, expected {' or '.join(expected)}")
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that begins next; all of it is read."""
        self.peek()
        while True:
            try:
                found, end = self.strict(self.text, self.at)
            except ValueError:
                if not self.more():
                    raise
            else:
                taken, after = end - self.at, self.text[end : end + 1]
                if (after and after in AFTER_VALUE) or not self.more():  # else a number may go on, as 1 does in 1.5
                    self.at += taken
                    return found

    def pairs(self, long: Collection[str]) -> Iterator[tuple[str, Any]]:
        """See `stream_object`."""
        self.step("{")
        mark, seen = self.step("}") if self.peek() == "}" else ",", set[str]()
        while mark == ",":
            key = self.value()
            if not isinstance(key, str) or key in seen:
                raise ValueError(f"got {key!r}, expected a key that is not there yet")
            seen.add(key)
            self.step(":")
            if key in long and self.peek() == "[":
                yield from ((key, part) for part in self.parts())
            else:
                yield key, self.value()
            mark = self.step(",", "}")
        if self.peek():
            raise ValueError("more than one value")

    def parts(self) -> Iterator[list[Any]]:
        """The items of the list that begins next, as many at once as have been read."""
        self.step("[")
        mark = ","
        if self.peek() == "]":
            mark = self.step("]")
            yield []
        while mark == ",":
            if quick := self.objects():
                yield quick
                continue
            found, mark = self.items()
            if found:
                yield found
            elif not self.more():
                raise ValueError("the file ends in a list")

    def objects(self) -> list[Any]:
        """The objects up to the last that is seen to be followed by another, by orjson: in a third of the time.

        None where it might read them otherwise than `json`, or what looks like the end of one lies inside: `items` then
        reads them. What orjson reads as a list before that end are whole items, as JSON is read from its beginning.
        """
        self.peek()
        end = len(self.text)
        while (end := self.text.rfind("},", self.at, end)) >= 0:
            if after := BETWEEN_OBJECTS.match(self.text, end):
                found = _read_quickly(self.text[self.at : end + 1])
                self.at = after.end() if found else self.at
                return found
        return []

    def items(self) -> tuple[list[Any], str]:
        """The items that have been read as a whole, and "]" if the list ends with them, else ","."""
        self.peek()
        found, text, mark = list[Any](), self.text, ","
        while mark == ",":
            try:
                value, end = self.quick(text, self.at)
                if not _has_keys_once(value, text, self.at, end):
                    value, end = self.strict(text, self.at)
            except ValueError:  # the item goes on in what has not been read, or is broken
                break
            if (after := AFTER_ITEM.match(text, end)) is None:
                break
            found.append(value)
            mark, self.at = after[1], after.end()
        return found, mark


def _has_keys_once(value: Any, text: str, start: int, end: int) -> bool:
    """Whether a value, read from text[start:end], is surely an object without others in it that has no key twice."""
    if type(value) is not dict:
        return False
    return text.count(":", start, end) == len(value) or len(KEY_END.findall(text, start, end)) == len(value)


def _read_quickly(text: str) -> list[Any]:
    """The objects in a text with commas between, as `json` reads them; none where that isn't sure, or it can't be read.

    orjson takes the last of a key that is there twice, and rounds numbers of more digits than a machine's.
    """
    try:
        data = f"[{text}]".encode()
        found: list[Any] = orjson.loads(data)
    except ValueError:
        return []
    if not {dict}.issuperset(map(type, found)) or _has_long_number(data):
        return []
    keys, colons = sum(map(len, found)), text.count(":")
    if keys != colons:
        keys += sum(len(value) for one in found for value in one.values() if type(value) is dict)
    return found if keys == colons or keys == len(KEY_END.findall(text)) else []


def _has_long_number(data: bytes) -> bool:
    """Whether 19 digits or more follow each other somewhere: as many as 2**63 has."""
    digits = np.frombuffer(data, np.uint8) - np.uint8(ord("0")) < 10
    for step in (1, 2, 4, 8, 3):  # where 2, 4, 8, 16, 19 begin
        digits = digits[step:] & digits[:-step]
    return bool(digits.any())
