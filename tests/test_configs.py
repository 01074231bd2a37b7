"""Files that describe a model may be anybody's: each ends in a typed value or in one InputError."""

import json
import os
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from annotated_types import MinLen

from segue.configs import MAX_BYTES, from_json, read_json, read_tokenizer
from segue.options import Positive, Share
from segue.types import InputError
from segue.weights import bundled


@dataclass(frozen=True)
class Config:
    width: Positive
    kind: Literal["a", "b"] = "a"
    name: str = ""
    drop: Share = 0.0
    on: bool = True
    widths: Annotated[tuple[Positive, ...], MinLen(1)] = (1,)
    size: tuple[int, int] = (1, 1)
    source: str | None = None

    def __post_init__(self) -> None:
        if self.width == 13:
            raise InputError("width: got 13, expected another")


def test_values_of_the_right_types_are_taken():
    found = from_json(Config, {"width": 3, "kind": "b", "drop": 1, "widths": [4, 5], "source": None}, "here")
    assert found == Config(3, "b", drop=1, widths=(4, 5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": "3"}, r"width: got '3', expected a whole number"),
        ({"width": True}, "width: got True, expected a whole number"),
        ({"width": 2.0}, r"width: got 2\.0, expected a whole number"),
        ({"width": [3]}, r"width: got \[3\], expected a whole number"),
        ({"width": 10**9}, "width: got 1000000000, expected 1 or more, at most 100000"),
        ({"width": -1}, "width: got -1, expected 1 or more"),
        ({"width": None}, "width: got None, expected a whole number"),
        ({"width": 3, "kind": "c"}, "kind: got 'c', expected one of 'a', 'b'"),
        ({"width": 3, "kind": ["a"]}, r"kind: got \['a'\], expected one of"),
        ({"width": 3, "name": {"a": 1}}, "name: got {'a': 1}, expected a text"),
        ({"width": 3, "drop": float("nan")}, "drop: got nan, expected a number"),
        ({"width": 3, "drop": 1.5}, r"drop: got 1\.5, expected 0 or more, at most 1"),
        ({"width": 3, "on": 1}, "on: got 1, expected true or false"),
        ({"width": 3, "widths": []}, r"widths: got \[\], expected a list of 1 or more"),
        ({"width": 3, "widths": [4, "x"]}, r"widths: .* expected a list of which each is a whole number"),
        ({"width": 3, "widths": {"a": 1}}, r"widths: .* expected a list, such as"),
        ({"width": 3, "size": [1]}, r"size: got \[1\], expected a list of 2"),
        ({"width": 3, "source": 5}, "source: got 5, expected a text"),
        ({"width": 3, "depth": 1}, r"config\.json has depth, which this version"),
        ({"kind": "a"}, r"config\.json lacks width"),
        ({"width": 13}, "width: got 13, expected another"),
        ([3], r"config\.json has a list for Config, expected an object"),
    ],
)
def test_other_values_are_refused_in_one_line(values, message):
    with pytest.raises(InputError, match=rf"^here: (config\.json: )?{message}") as error:
        from_json(Config, values, "here")
    assert "\n" not in str(error.value)


def test_arguments_without_a_type_are_not_for_json():
    def make(given: Any, *, width: int, parts: Any = None) -> int:
        return given + width

    assert from_json(partial(make, 1), {"width": 2}, "here") == 3
    with pytest.raises(InputError, match="has parts, which this version"):
        from_json(partial(make, 1), {"width": 2, "parts": [1]}, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not readable as JSON"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b"[" * 100_000, "not readable as JSON"),
        (b'{"a":' * 100_000, "not readable as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        (b"[1]", "got a list, expected an object"),
        (b'"\xff"', "not a text in UTF-8"),
        (b" " * (MAX_BYTES + 1), "bytes, expected at most"),
    ],
)
def test_json_that_is_none_or_no_object(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_json(path)


def test_a_pipe_or_a_folder_is_not_waited_for(tmp_path):
    """A pipe without a writer was read for ever."""
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "tokenizer.json").mkdir()
    for read, name in ((read_json, "config.json"), (read_tokenizer, "tokenizer.json")):
        with pytest.raises(InputError, match="not a file"):
            read(tmp_path / name)


def tokenizer_of(folder, change):
    tokenizer = json.loads((bundled()["reclmis-chest"] / "tokenizer.json").read_text())
    change(tokenizer)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(tokenizer))
    return path


def test_a_tokenizer_comes_without_padding_and_truncation(tmp_path):
    """Padding fixed to 10^9 tokens ended the process: out of memory."""
    padding = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "[PAD]"}
    path = tokenizer_of(tmp_path, lambda t: t.update(padding=padding))
    assert len(read_tokenizer(path).encode("left lung").ids) < 10


OPEN_PATTERN = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(model=None), "not a tokenizer"),
        (lambda t: t.update(pre_tokenizer=OPEN_PATTERN), "not a tokenizer"),
        (lambda t: t["model"].update(vocab={"a": 5}, unk_token="a"), "not a tokenizer|numbers its"),
        (lambda t: t["model"]["vocab"].update(zz=10**6), r"numbers its \d+ tokens up to 1000000"),
        (lambda t: t["model"].update(unk_token="none"), "not a tokenizer that can read a text"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_can_not_read_a_text_is_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        read_tokenizer(tokenizer_of(tmp_path, change))
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("segue.configs._TRIAL", "import time; time.sleep(60)")
    monkeypatch.setattr("segue.configs.TOKENIZER_SECONDS", 0.2)
    with pytest.raises(InputError, match=r"takes more than 0\.2 seconds"):
        read_tokenizer(tokenizer_of(tmp_path, lambda t: None))


def test_a_tokenizer_that_ends_its_process_does_not_end_ours(tmp_path, monkeypatch):
    monkeypatch.setattr("segue.configs._TRIAL", "import os; os.abort()")
    with pytest.raises(InputError, match="signal 6"):
        read_tokenizer(tokenizer_of(tmp_path, lambda t: None))
