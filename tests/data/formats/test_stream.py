import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.formats import stream
from segue.data.formats.stream import stream_object
from segue.types import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def put_together(path, long):
    """The object of a file as its parts give it, and the parts of each long list."""
    made, parts = {}, {}
    for key, value in stream_object(path, long):
        if key in long and isinstance(value, list):
            made.setdefault(key, []).extend(value)
            parts.setdefault(key, []).append(value)
        else:
            assert key not in made
            made[key] = value
    return made, parts


@pytest.mark.parametrize("number", ["1.5", "-2e10", "10", "0.25E-3"])
@pytest.mark.parametrize("chunk", [1, 2, 6, 7, 8])
def test_a_number_may_be_cut_where_reading_stops(tmp_path, monkeypatch, number, chunk):
    (tmp_path / "a.json").write_text(f'{{"a": {number}, "b": [{number}], "c":{number}}}')
    monkeypatch.setattr(stream, "CHUNK", chunk)
    assert dict(stream.stream_object(tmp_path / "a.json", ())) == {
        "a": float(number),
        "b": [float(number)],
        "c": float(number),
    }


@given(
    st.dictionaries(st.sampled_from(["a", "b", ' "x": ']), VALUES | st.lists(st.dictionaries(st.text(), VALUES))),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from([1, 7, 100]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_the_parts_are_the_value_of_the_file(tmp_path_factory, found, indent, ascii_only, chunk, encoding):
    path = tmp_path_factory.mktemp("json") / "a.json"
    text = json.dumps(found, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes(text.encode(encoding, "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "CHUNK", chunk)
        made, _ = put_together(path, ["a"])
    assert repr(made) == repr(found)


def test_neither_the_text_nor_the_list_is_in_memory_at_once(tmp_path, monkeypatch):
    records = [{"id": i, "caption": "a dog: on grass"} for i in range(1000)]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": records, "info": {"year": 2017}}))
    monkeypatch.setattr(stream, "CHUNK", 500)
    longest, more = [], stream._Text.more
    monkeypatch.setattr(stream._Text, "more", lambda text: (more(text), longest.append(len(text.text)))[0])
    made, parts = put_together(tmp_path / "a.json", ["annotations"])
    assert made == {"annotations": records, "info": {"year": 2017}}
    assert max(map(len, parts["annotations"])) < 20
    assert max(longest) < 1000


def test_an_empty_list_is_a_part_and_other_values_are_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(' {"a": [ ], "b": 1} ')
    assert [*stream_object(path, ["a", "b"])] == [("a", []), ("b", 1)]
    for text in ("{}", "[1]", '"{"'):
        path.write_text(text)
        assert [*stream_object(path, ["a"])] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": [1,]}',
        '{"a": [1 2]}',
        '{"a": [{"id": 1}',
        '{"a": [1], }',
        '{"a": [1]} 2',
        "{1: [1]}",
        '{"a" [1]}',
        '{"a": [1], "a": [2]}',
        '{"a": [{"id": 1, "id": 2}]}',
        '{"a": [{"id": 1, "x": {"y": 1, "y": 2}}]}',
        '{"a": [{"id" : 1, "id" : "::"}]}',
        '{"b": {"y": 1, "y": 2}}',
        '{"a": [' + "[" * 100_000,
    ],
)
def test_a_broken_file_is_named_as_by_the_reader_of_small_ones(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: can't be read as JSON") as stopped:
        [*stream_object(tmp_path / "a.json", ["a"])]
    with pytest.raises(InputError) as small:
        stream.read_json(tmp_path / "a.json")
    assert str(stopped.value) == str(small.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: can't be read as JSON \(.*No such file"):
        [*stream_object(tmp_path / "a.json", ["a"])]


@pytest.mark.parametrize(
    "item",
    [
        '{"id": 1}',
        '{"id" : 1, "a": {"b" : [1, 2]}}',
        '{"id": 1, "name": "a: \\"b\\": {c}, {d"}',
        '{"id": 1.5e-3, "big": 18446744073709551617, "long": 0.12345678901234567890123}',
        '{"x": NaN, "y": 1e999}',
        '{"half": "\\ud800"}',
        '{"a": [{"b": 1}, {"b": 2}]}',
        "[{}]",
        "3",
    ],
)
@pytest.mark.parametrize("between", [", ", ",", ",\n  ", " , "])
def test_many_items_are_those_of_the_standard_library(tmp_path, item, between):
    text = f'{{"a": [{between.join([item] * 50)}], "b": [{item}, {{"id": 2}}]}}'
    (tmp_path / "a.json").write_text(text)
    assert repr(put_together(tmp_path / "a.json", ["a", "b"])[0]) == repr(json.loads(text))


def test_regular_items_are_read_by_orjson(tmp_path, monkeypatch):
    records = [{"id": i, "url": "http://a", "box": {"x": [1.5, 2]}} for i in range(100)]
    (tmp_path / "a.json").write_text(json.dumps({"a": records}))
    monkeypatch.setattr(stream, "CHUNK", 1000)
    quick, read = [], stream._read_quickly
    monkeypatch.setattr(stream, "_read_quickly", lambda text: quick.append(read(text)) or quick[-1])
    assert put_together(tmp_path / "a.json", ["a"])[0] == {"a": records}
    assert sum(map(len, quick)) > 85
    assert stream._read_quickly('{"id": 1, "id": 2}, {"id": 3}') == []
    assert stream._read_quickly('{"id": 1234567890123456789}, {"id": 3}') == []
    assert stream._read_quickly('{"id": 123456789012345678}, {"id": 3}') == [{"id": 123456789012345678}, {"id": 3}]
