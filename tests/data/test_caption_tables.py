"""Files of captions with their pictures: which column is which, heads, and what is never learned as a caption."""

import json

import pytest

from segue.data.corpus import read_corpus, stream_captions
from segue.data.formats.check import check_captions
from segue.data.problems import collecting
from segue.types import InputError

DOGS = ["a dog", "a cat, asleep"]
KINDS = {
    "cc3m.tsv": "a dog\thttp://x/1.jpg\na cat, asleep\thttps://x/2\n",
    "cc12m.tsv": "http://x/1.jpg\ta dog\nhttps://x/2\ta cat, asleep\n",
    "head.tsv": "caption\turl\na dog\thttp://x/1.jpg\na cat, asleep\thttps://x/2\n",
    "turned_head.tsv": "url\tcaption\nhttp://x/1.jpg\ta dog\nhttps://x/2\ta cat, asleep\n",
    "three.tsv": "image\twidth\tcaption\n1.jpg\t7\ta dog\n2.jpg\t7\ta cat, asleep\n",
    "cc3m.txt": "a dog\thttp://x/1.jpg\na cat, asleep\thttps://x/2\n",
    "names.tsv": "one.jpg\ta dog\ntwo.jpg\ta cat, asleep\n",
    "ids.tsv": "a dog\t64ab\na cat, asleep\t64ac\n",
    "Flickr8k.token.txt": "1_a.jpg#0\ta dog\n1_a.jpg#1\ta cat, asleep\n",
    "results.token": "1.jpg#0\ta dog\n1.jpg#1\ta cat, asleep\n",
    "captions.txt": 'image,caption\n1.jpg,a dog\n1.jpg,"a cat, asleep"\n',
    "unquoted.txt": "image,caption\n1.jpg,a dog\n1.jpg,a cat, asleep\n",
    "headless.csv": '1.jpg,a dog\n2.jpg,"a cat, asleep"\n',
    "results.csv": "image_name| comment_number| comment\n1.jpg| 0| a dog\n1.jpg| 1| a cat, asleep\n",
    "head.txt": "caption\na dog\na cat, asleep\n",
    "ss1m.json": json.dumps(DOGS),
    "rows.json": json.dumps([{"image_id": 1, "caption": c} for c in DOGS]),
    "rows.jsonl": "\n".join(json.dumps({"image": "1.jpg", "captions": [c]}) for c in DOGS),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_its_captions_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    path.write_text(KINDS[name])
    assert read_corpus(path).captions == DOGS
    assert check_captions(path).ok


def test_pictures_are_named_once(tmp_path):
    path = tmp_path / "Flickr8k.token.txt"
    path.write_text(KINDS[path.name])
    assert [c.picture for c in stream_captions(path)] == ["1_a.jpg", "1_a.jpg"]
    assert read_corpus(path).group.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "one.jpg\ntwo.jpg\nthree.png\n", "3 of the first 3 captions are names or addresses of pictures"),
        ("a.txt", "http://x/1\nhttps://x/2\n", "names or addresses of pictures, such as http://x/1"),
        ("a.json", '["a.jpg", "b.jpg"]', "names or addresses"),
        ("a.jsonl", '{"caption": "http://x/1"}\n', "names or addresses"),
        ("a.tsv", "one.jpg\thttp://x/1\ntwo.jpg\thttp://x/2\n", "names and addresses of pictures"),
        ("a.tsv", "dog\tcat\n", "can't tell which column is the caption"),
        ("a.csv", "dog,cat\n", "can't tell|got no tab"),
        ("a.tsv", "1\thttp://x/1.jpg\ta dog\n2\thttp://x/2.jpg\ta cat\n", "3 columns and no head"),
        ("a.tsv", "1\ta dog\thttp://x/1.jpg\n2\ta cat\thttp://x/2.jpg\n", "3 columns and no head"),
        ("a.txt", "1.jpg a dog\n2.jpg a cat\n", "most lines begin with a picture's name"),
    ],
)
def test_names_are_never_learned_as_captions(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_corpus(tmp_path / name)
    assert not check_captions(tmp_path / name).ok


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("a.txt", "http://x/9.jpg", "line 3: got http://x/9.jpg, a picture's name or address"),
        ("a.tsv", "http://x/9.jpg\ta hen", "line 3: got http://x/9.jpg, a picture's name or address|line 3"),
        ("a.tsv", "no tab", "line 3: got no tab"),
        ("a.tsv", "\thttp://x/9.jpg", "line 3: got an empty caption"),
        ("a.csv", '3.jpg,"a hen', "line 3: unexpected end of data"),
        ("a.jsonl", '{"caption": null}', "line 3: got .*null"),
        ("a.jsonl", '{"caption": ', "line 3: not readable as JSON"),
        ("a.jsonl", '{"captions": ["a hen", ""]}', "line 3: got"),
    ],
)
def test_one_bad_line_is_named_counted_and_skipped_when_allowed(tmp_path, name, bad, message):
    good = {
        "a.txt": ["a dog", "a cat, asleep"],
        "a.tsv": ["a dog\thttp://x/1", "a cat, asleep\thttp://x/2"],
        "a.csv": ["1.jpg,a dog", '2.jpg,"a cat, asleep"'],
        "a.jsonl": ['"a dog"', '"a cat, asleep"'],
    }[name]
    path = tmp_path / name
    path.write_text("\n".join([*good, bad, ""]))
    with pytest.raises(InputError, match=f"1 captions can't be used: .*({message})"):
        read_corpus(path)
    with pytest.warns(UserWarning, match="1 captions can't be used"):
        assert read_corpus(path, on_bad="skip").captions[:2] == DOGS
    assert [f.level for f in check_captions(path).findings] == ["error"]


def test_null_captions_of_json_are_reported(tmp_path):
    rows = [{"id": 5, "image_id": 1, "caption": None}, {"image_id": 1, "caption": "a dog"}, {"caption": "x"}]
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "annotations": rows}))
    raw = [{"raw": None}, {"raw": "a dog"}, {"tokens": None}]
    entries = [{"filename": "1.jpg", "split": "train", "sentences": raw}, {"filename": None, "split": "train"}]
    (tmp_path / "karpathy.json").write_text(json.dumps({"images": entries}))
    for name, message in (
        ("coco.json", ["annotation 5: caption: got null", "annotation 2: no image_id"]),
        ("karpathy.json", ["sentence 0 of .*1.jpg: raw: got null", "sentence 2", "image 1: filename: got null"]),
    ):
        bad = []
        assert [c.text for c in stream_captions(tmp_path / name, report=collecting(bad))] == ["a dog"]
        with pytest.raises(InputError, match=".*".join(message)):
            read_corpus(tmp_path / name)
        with pytest.warns(UserWarning, match=f"{len(message)} captions"):
            assert read_corpus(tmp_path / name, on_bad="skip").captions == ["a dog"]
