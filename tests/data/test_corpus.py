"""Text corpora: every format, what stands in lines, and what is refused."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.corpus import Caption, distinct, read_corpus, stream_captions
from segue.data.lines import MAX_LINE_BYTES
from segue.types import InputError


def written(tmp_path, name, content):
    path = tmp_path / name
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


KARPATHY = {
    "images": [
        {"filename": "1.jpg", "split": "train", "sentences": [{"raw": "a dog"}, {"raw": "a  dog"}, {"raw": "a pup"}]},
        {"filename": "2.jpg", "split": "restval", "sentences": [{"raw": "a dog"}]},
        {"filename": "3.jpg", "split": "val", "sentences": [{"raw": "a cat"}]},
    ]
}

TOKENS = {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"tokens": ["a", "dog", "."]}]}]}

COCO = {
    "images": [{"id": 1}],
    "annotations": [{"image_id": 1, "caption": "a dog"}, {"image_id": 1, "caption": "x"}],
}


@pytest.mark.parametrize(
    ("name", "content", "captions", "group"),
    [
        ("a.txt", "a dog\n\na cat\na dog\n", ["a dog", "a cat"], [0, 1]),
        ("a.txt.gz", "a dog\na cat", ["a dog", "a cat"], [0, 1]),
        ("a.jsonl", '"a\\ndog"\n{"sentence": "a cow"}\n', ["a dog", "a cow"], [0, 1]),
        ("a.jsonl", '{"caption": "a dog", "image": 7}\n\n{"text": "pup", "image_id": "7"}\n', ["a dog", "pup"], [0, 0]),
        ("a.tsv", "a dog\thttp://x/1\na\tdog\thttp://x/1\na dog\thttp://x/2\n", ["a dog", "a dog"], [0, 1]),
        ("a.tsv.gz", "a dog\thttp://x/1", ["a dog"], [0]),
        ("a.tsv", "a dog\tone.jpg\na cat\tone.jpg\n", ["a dog", "a cat"], [0, 0]),
        ("a.json", json.dumps(TOKENS), ["a dog ."], [0]),
        ("a.json", json.dumps(KARPATHY), ["a dog", "a pup", "a dog"], [0, 0, 1]),
        ("a.json", json.dumps(["a dog", "a cat", "a dog"]), ["a dog", "a cat"], [0, 1]),
        ("a.json.gz", json.dumps(COCO), ["a dog", "x"], [0, 0]),
    ],
)  # fmt: skip
def test_formats(tmp_path, name, content, captions, group):
    corpus = read_corpus(written(tmp_path, name, content))
    assert corpus.captions == captions
    assert corpus.group.tolist() == group


def test_either_side_of_a_tsv_may_be_the_address(tmp_path):
    """CC12M's captions were taken for addresses, and its addresses for captions."""
    cc3m = written(tmp_path, "cc3m.tsv", "a \t dog\thttp://x/a.jpg\n\na cat\tHTTPS://z\n")
    cc12m = written(tmp_path, "cc12m.tsv", "http://x/a.jpg\ta \t dog\n\nHTTPS://z\ta cat\n")
    assert list(stream_captions(cc3m)) == list(stream_captions(cc12m))
    assert list(stream_captions(cc3m)) == [Caption("a dog", "http://x/a.jpg"), Caption("a cat", "HTTPS://z")]


def test_captions_of_text_keep_their_lines(tmp_path):
    text = "a\u2028dog\r\n\n  a\tcat\x0bsits\x85 \na\rcow\n\u2029"
    for name in ("a.txt", "a.txt.gz"):
        captions = list(stream_captions(written(tmp_path, name, text)))
        assert [caption.text for caption in captions] == ["a dog", "a cat sits", "a cow"]


def test_the_same_caption_of_two_pictures_stays_twice():
    rows = [Caption("a dog", "1"), Caption("a dog", "2"), Caption("a dog", "1")]
    assert list(distinct(rows)) == rows[:2]


def test_other_splits_of_karpathy(tmp_path):
    assert read_corpus(written(tmp_path, "a.json", json.dumps(KARPATHY)), split="val").captions == ["a cat"]


def test_length_filter_counts_words(tmp_path):
    path = written(tmp_path, "a.txt", "one two three\none two three four\n")
    assert read_corpus(path, max_words=3).captions == ["one two three"]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n.:"), max_size=12), max_size=9)
)
def test_nothing_inside_a_caption_shifts_the_lines(tmp_path_factory, rows):
    """Without dots and colons no caption looks like a picture's name or address, which are refused; so are NULs, and
    lines that end with CR alone, for which that of a single row is taken.
    """
    path = written(tmp_path_factory.mktemp("corpus"), "a.txt", "\n".join(rows))
    expected = [" ".join(row.split()) for row in rows]
    if rows and (expected[0].startswith("\ufeff") or (len(rows) == 1 and "\r" in rows[0][:-1])):
        return
    assert [c.text for c in stream_captions(path)] == [row for row in expected if row]


def test_white_space_and_byte_order_mark(tmp_path):
    path = written(tmp_path, "a.txt", "\ufeffa\u2028red\tdog\r\n a\rcat \u0085\n")
    assert read_corpus(path).captions == ["a red dog", "a cat"]


def test_streams_without_reading_on(tmp_path):
    path = written(tmp_path, "a.txt", b"a dog\n" + b"\xff\n")
    assert next(stream_captions(path)).text == "a dog"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "no caption in it; expected one or more"),
        ("a.txt", " \n\t\n", "no caption in it"),
        ("a.txt", b"fine\ncaf\xe9 au lait\n", r"a.txt, line 2: not UTF-8 \(.* at byte 3\); convert it"),
        ("a.txt", b"x\n" + b"a" * 10_000_000, f"line 2: longer than {MAX_LINE_BYTES:,} bytes"),
        ("a.tsv", "a dog\n", "line 1: got no tab"),
        ("a.jsonl", '{"caption": "a"}\n{"caption"', "line 2: not readable as JSON"),
        ("a.jsonl", '{"words": "a"}\n', "line 1: .* expected an object with one of caption"),
        ("a.jsonl", '["a"]\n', "line 1: .* expected an object"),
        ("a.jsonl", '"a dog"\n3\n', "line 2: .* or a JSON string"),
        ("a.jsonl", '{"caption": 3}\n', "line 1: .* or a JSON string"),
        ("a.json", "{", "not readable as JSON"),
        ("a.json", '{"pictures": []}', "expected Karpathy's"),
        ("a.json", '{"annotations": [{"caption": "x"}]}', "annotation 0: no image_id"),
        ("a.json", '{"images": [{"split": "train"}]}', "image 0: no filename"),
        ("a.json", b'["\xff"]', "not UTF-8"),
        ("a.doc", "x", "can't tell its format; let its name end in .txt, .token"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_corpus(written(tmp_path, name, content))


def test_no_caption_short_enough(tmp_path):
    with pytest.raises(InputError, match="no caption of at most 1 words"):
        read_corpus(written(tmp_path, "a.txt", "a dog"), max_words=1)


def test_missing_file_folder_and_cut_archive(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_corpus(tmp_path / "a.txt")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match="can't be opened"):
        read_corpus(tmp_path / "b.txt")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"a dog\n" * 999)[:-20])
    with pytest.raises(InputError, match="the file is cut or broken"):
        read_corpus(tmp_path / "c.txt.gz")
    (tmp_path / "d.txt.gz").write_bytes(b"a dog\n")
    with pytest.raises(InputError, match="the file is cut or broken"):
        read_corpus(tmp_path / "d.txt.gz")


def test_a_record_with_a_key_twice_is_named(tmp_path):
    """The first of the two captions was lost without a word."""
    (tmp_path / "a.jsonl").write_text('{"caption": "a dog", "caption": "a cat"}\n')
    with pytest.raises(InputError, match=r'line 1: .*an object has the key "caption" twice'):
        read_corpus(tmp_path / "a.jsonl")


def test_a_separator_at_the_end_of_a_line_is_no_part_of_the_caption(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,a dog,\nb.jpg,a cat, brown,,\n")
    assert read_corpus(tmp_path / "a.csv").captions == ["a dog", "a cat, brown"]
