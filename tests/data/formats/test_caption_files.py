import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.formats.true_formats import paint, put
from segue.data.formats import caption_files, read_pictures, recognise
from segue.types import InputError


def test_captions_of_text_keep_their_lines(tmp_path):
    text = "a\u2028dog\r\n\n  a\tcat\x0bsits\x85 \na\rcow\n\u2029"
    path = put(tmp_path / "a.txt", text)
    assert list(caption_files.read_captions(path)) == ["a dog", "a cat sits", "a cow"]
    put(tmp_path / "a.txt.gz", gzip.compress(text.encode()))
    assert list(caption_files.read_captions(tmp_path / "a.txt.gz")) == list(caption_files.read_captions(path))


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=6))
def test_no_character_but_a_newline_ends_a_caption(tmp_path_factory, lines):
    path = put(tmp_path_factory.mktemp("lines") / "a.txt", "\n".join(lines))
    read = [" ".join(line.removeprefix("\ufeff" if i == 0 else "").split()) for i, line in enumerate(lines)]
    assert list(caption_files.read_captions(path)) == [line for line in read if line]


def test_ss1m_keeps_short_captions(tmp_path):
    path = put(tmp_path / "a.txt", f"{'word ' * 15}\n{'word ' * 16}\n")
    assert list(caption_files.read_captions(path, max_words=15)) == [("word " * 15).strip()]


def test_both_ways_of_tsv_and_jsonl(tmp_path):
    cc3m = put(tmp_path / "cc3m.tsv", "a \t dog\thttp://x/a.jpg\n")
    cc12m = put(tmp_path / "cc12m.tsv", "https://x/a.jpg\ta \t dog\n")
    assert list(caption_files.read_captions(cc3m)) == list(caption_files.read_captions(cc12m)) == ["a dog"]
    assert list(caption_files.read_pairs(cc12m)) == [("a \t dog", "https://x/a.jpg")]
    lines = put(tmp_path / "a.jsonl", '"a\\ndog"\n{"caption": "a cat"}\n{"text": "a cow"}\n')
    assert list(caption_files.read_captions(lines)) == ["a dog", "a cat", "a cow"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"a dog\n\xff\xfe cat\n", "line 2 is not UTF-8"),
        ("a.txt", b"a dog\n" + b"x" * 10_000_000, "line 2 has more than 1,000,000 bytes"),
        ("a.tsv", b"a dog\thttp://x\na cat\n", "line 2: got 'a cat', expected a caption and an address"),
        ("a.jsonl", b'"a dog"\n{"x": 1}\n', "line 2.*expected a JSON string"),
        ("a.jsonl", b'"a dog"\n3\n', "line 2.*expected a JSON string"),
        ("a.txt.gz", b"no gzip", "can't be read"),
        ("a.txt.gz", gzip.compress(b"a dog" * 9999, mtime=0)[:-30], "can't be read"),
        ("a.csv", b"", "expected captions in one of .txt, .jsonl, .tsv"),
    ],
)
def test_what_is_broken_is_told_with_its_line(tmp_path, name, content, told):
    path = put(tmp_path / name, content)
    with pytest.raises(InputError, match=told):
        list(caption_files.read_captions(path))


def test_captions_stream(tmp_path):
    path = put(tmp_path / "a.txt", b"a dog\n" * 3 + b"\xff\n")
    captions = caption_files.read_captions(path)
    assert [next(captions) for _ in range(3)] == ["a dog"] * 3  # before the broken line is reached


def test_pictures_are_found_by_their_number_or_address_and_the_others_told(tmp_path):
    put(tmp_path / "Train_GCC-training.tsv", "a dog\thttp://x/b%20c.jpg?w=1\na cat\thttp://x/z\na cow\thttp://x/q\n")
    put(tmp_path / "Validation_GCC-1.1.0-Validation.tsv", "a hen\thttp://x/000000001.jpg\n")
    paint(tmp_path / "images/b c.jpg")
    paint(tmp_path / "images/00000/000000001.jpg")
    assert recognise(tmp_path) == ("pairs", ("train", "val"))
    with pytest.raises(InputError, match=r"1 things .* line 3: images/ has not the picture of http://x/q"):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="line 3"):
        found = read_pictures(tmp_path, "train", on_bad="skip").pictures
    assert [p.captions for p in found] == [("a dog",), ("a cat",)]
    assert found[0].load().shape == (8, 12, 3)
    assert read_pictures(tmp_path, "val").pictures[0].captions == ("a hen",)
