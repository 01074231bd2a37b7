import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.lines import MAX_LINE_BYTES, read_lines, read_text
from segue.types import InputError


@given(st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])), max_size=6))
def test_no_character_but_a_newline_ends_a_line(tmp_path_factory, lines):
    path, lines = tmp_path_factory.mktemp("lines") / "a.txt", ["first", *lines]
    path.write_bytes("\n".join(lines).encode())
    expected = [line.removesuffix("\r") for line in "\n".join(lines).removeprefix("\ufeff").split("\n")]
    read = list(read_lines(path))
    assert [number for number, _ in read] == list(range(1, len(read) + 1))
    assert [line for _, line in read] == (expected if lines[-1] else expected[:-1])


def test_a_line_may_have_as_many_bytes_as_are_allowed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 9 + b"\r\n" + b"y" * 9)
    assert list(read_lines(path, 9)) == [(1, "x" * 9), (2, "y" * 9)]
    with pytest.raises(InputError, match=r"a\.txt, line 1: longer than 8 bytes"):
        list(read_lines(path, 8))


@pytest.mark.parametrize("read", [read_text, lambda path: list(read_lines(path))])
def test_what_can_not_be_read_is_reported(tmp_path, read):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a.txt")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match="can't be opened"):
        read(tmp_path / "b.txt")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"a dog" * 9999, mtime=0)[:-30])
    (tmp_path / "d.txt.gz").write_bytes(b"no gzip")
    for name in ("c.txt.gz", "d.txt.gz"):
        with pytest.raises(InputError, match="the file is cut or broken"):
            read(tmp_path / name)
    (tmp_path / "e.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InputError, match=r"e\.txt.*: not UTF-8 \(.* at byte 3\); convert it"):
        read(tmp_path / "e.txt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a dog\ra cat\ra cow\r", "lines end with CR alone"),
        ("a dog\na cat\n".encode("utf-16"), "not UTF-8 but UTF-16"),
        ("a dog\na cat\n".encode("utf-16-le"), "line 1: not UTF-8 but UTF-16"),
    ],
)
def test_lines_of_other_systems_are_not_read_as_one_text(tmp_path, data, message):
    """A file of an old Mac was one long caption, one in UTF-16 without its mark letters with NUL between them."""
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match=message):
        list(read_lines(tmp_path / "a.txt"))


def test_one_line_may_end_with_cr(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a dog\r")
    assert list(read_lines(tmp_path / "a.txt")) == [(1, "a dog")]


def test_a_long_file_streams(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a dog\n" + b"x" * (MAX_LINE_BYTES + 1))
    lines = read_lines(path)
    assert next(lines) == (1, "a dog")
    with pytest.raises(InputError, match="line 2: longer than 1,048,576 bytes"):
        next(lines)
