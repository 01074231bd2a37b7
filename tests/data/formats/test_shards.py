import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import put
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.formats.check import check_folder
from segue.data.formats.shards import read_shard
from segue.types import InputError


def jpeg(seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    return path


@pytest.fixture
def root(tmp_path):
    members = [("0.jpg", jpeg(0)), ("0.txt", b"a dog\n"), ("1.jpg", jpeg(1)), ("1.json", b'{"caption": "a cat"}')]
    shard(tmp_path / "train/00000.tar", members)
    shard(tmp_path / "val/00000.tar", [("2.jpg", jpeg(2)), ("2.json", b'{"captions": ["a cow", "a hen"]}')])
    return tmp_path


def test_pictures_are_read_from_their_place_in_the_shard(root):
    assert detect_format(root) == ("webdataset", ("train", "val"))
    found = read_pictures(root, "train").pictures
    assert [(p.name, p.captions) for p in found] == [("00000/0", ("a dog",)), ("00000/1", ("a cat",))]
    assert (found[1].load() == np.asarray(Image.open(io.BytesIO(jpeg(1))))).all()
    assert (pickle.loads(pickle.dumps(found[0])).load() == found[0].load()).all()
    assert read_pictures(root, "val").pictures[0].captions == ("a cow", "a hen")


def test_what_webdataset_itself_writes(tmp_path):
    wds = pytest.importorskip("webdataset")
    with wds.TarWriter(str(tmp_path / "train-000.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"{i:09d}", "jpg": jpeg(i), "txt": f"caption {i}", "json": {"url": "x"}})
    found = read_pictures(tmp_path, "train").pictures
    assert [p.captions for p in found] == [(f"caption {i}",) for i in range(3)]
    assert found[2].load().shape == (8, 12, 3)


def test_a_mark_of_the_byte_order_is_no_part_of_a_caption(tmp_path):
    shard(tmp_path / "train.tar", [("0.jpg", jpeg()), ("0.txt", b"\xef\xbb\xbfa dog\r\n")])
    assert [picture.captions for picture in read_pictures(tmp_path, "train").pictures] == [("a dog",)]


def test_a_corrupt_picture_is_counted_and_named(root):
    shard(root / "train/00001.tar", [("7.jpg", jpeg()[:200]), ("7.txt", b"x"), ("8.jpg", b""), ("8.txt", b"y")])
    found = read_pictures(root, "train")
    with pytest.raises(InputError, match=r"2 of 4 pictures can't be read: .*00001\.tar/7\.jpg: .*00001\.tar/8\.jpg"):
        check_pictures(found)
    with pytest.warns(UserWarning, match="2 of 4"):
        assert len(check_pictures(found, on_bad="skip").pictures) == 2


def test_a_truncated_shard_gives_what_comes_before_and_is_reported(root):
    path = root / "train/00000.tar"
    path.write_bytes(path.read_bytes()[:2500])
    problems = []
    found = list(read_shard(path, "train", lambda *what: problems.append(what)))
    assert [p.captions for p in found][:1] == [("a dog",)]
    assert problems
    assert problems[0][0] == "broken-shard"
    put(path, b"no tar at all" * 99)
    with pytest.raises(InputError, match=r"00000\.tar: broken"):
        read_pictures(root, "train")


def test_members_that_make_no_picture_are_reported(root):
    shard(root / "train/00001.tar", [("7.txt", b"x"), ("8.jpg", jpeg()), ("8.txt", b"\xff")])
    with pytest.raises(InputError, match=r"2 things .*/7: only \.txt, no picture; .*/8: .*a caption in UTF-8"):
        read_pictures(root, "train")


def colour(value):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_whole_ending_is_the_picture_and_the_others_are_noted(tmp_path):
    """webdataset 1.0.2's to_tuple("png", "txt") gives the red picture, not the depth map that stands before it."""
    members = [("1.depth.png", colour("black")), ("1.png", colour("red")), ("1.txt", b"a dog"), ("README", b"x")]
    shard(tmp_path / "0.tar", members)
    with pytest.warns(UserWarning, match=r"not read: (1 \.depth\.png|1 without an ending, such as README)"):
        (picture,) = read_pictures(tmp_path, "train").pictures
    assert picture.load()[0, 0].tolist() == [255, 0, 0]
    report = check_folder(tmp_path)
    assert report.ok
    assert {f.code for f in report.findings if f.level == "warning"} == {"unused-members"}


def test_names_with_dots_become_one_sample_which_is_reported(tmp_path):
    """To webdataset both are the sample 22, with the members 05.png, 05.txt, 06.png and 06.txt."""
    pairs = [(f"22.0{i}.{end}", data) for i in (5, 6) for end, data in (("png", colour("red")), ("txt", b"x"))]
    shard(tmp_path / "0.tar", [*pairs, ("7.png", colour("blue")), ("7.txt", b"a dog")])
    with pytest.raises(InputError, match=r"0.tar/22: 2 pictures, .05.png and .06.png, of which one is wanted"):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="2 pictures"):
        assert [p.name for p in read_pictures(tmp_path, "train", "skip").pictures] == ["0/7"]


@pytest.mark.parametrize("second", ["1.jpg", "1.JPG", "1.PNG"])
def test_several_pictures_of_one_sample_are_reported(tmp_path, second):
    shard(tmp_path / "0.tar", [("1.png", colour("red")), (second, jpeg()), ("1.txt", b"a dog")])
    with pytest.raises(InputError, match=r"2 pictures, \.png and \.jpg|1\.png: there twice"):
        read_pictures(tmp_path, "train")


def test_captions_that_differ_within_a_sample_are_told(tmp_path):
    """.txt is read, as img2dataset's own reader does; one that .json says too, with others, is no difference."""
    said = [("0", b"a dog", b'{"caption": "a cat"}'), ("1", b"a hen ", b'{"captions": ["a hen", "a bird"]}')]
    members = [(f"{key}.{end}", data) for key, *both in said for end, data in zip(("txt", "json"), both, strict=True)]
    shard(tmp_path / "0.tar", [("0.jpg", jpeg()), *members[:2], ("1.jpg", jpeg()), *members[2:]])
    with pytest.warns(UserWarning, match=r"0\.tar: 1 captions that are not read, such as 0\.json: a"):
        assert [p.captions for p in read_pictures(tmp_path, "train").pictures] == [("a dog",), ("a hen",)]


def test_what_macos_and_webdataset_add_is_passed_over(tmp_path):
    members = [("./._1.png", b"\0\5"), ("a/._1.png", b"\0"), ("__meta__/x.png", b"x"), ("./1.png", colour("red"))]
    shard(tmp_path / "0.tar", [*members, ("./._1.txt", b"\0"), ("./1.txt", b"a dog")])
    assert [(p.name, p.captions) for p in read_pictures(tmp_path, "train").pictures] == [("0/1", ("a dog",))]


@pytest.mark.parametrize("text", [b'{"caption": null}', b'{"captions": ["a dog", null]}', b'{"caption": 3}'])
def test_a_caption_that_is_none_is_reported(tmp_path, text):
    shard(tmp_path / "0.tar", [("1.png", colour("red")), ("1.json", text), ("2.png", jpeg()), ("2.json", b"[]")])
    with pytest.raises(InputError, match=r"1 things .*0\.tar/1: caption: got (null|3), expected a text"):
        read_pictures(tmp_path, "train")
    with pytest.warns(UserWarning, match="1 things"):
        assert [p.name for p in read_pictures(tmp_path, "train", "skip").pictures] == ["0/2"]


def test_a_split_is_a_whole_word_of_the_name(tmp_path):
    for at, name in enumerate(("contest-0", "retrieval_1", "cc3m-val-0", "train/test-0", "validation/00001")):
        shard(tmp_path / f"{name}.tar", [(f"{at}.jpg", jpeg(at)), (f"{at}.txt", b"x")])
    found = {split: {p.name for p in read_pictures(tmp_path, split).pictures} for split in ("train", "val", "test")}
    assert found == {
        "train": {"contest-0/0", "retrieval_1/1"},
        "val": {"cc3m-val-0/2", "00001/4"},
        "test": {"test-0/3"},
    }


def test_shards_of_one_name_in_two_folders_are_told_apart(tmp_path):
    for folder in ("cc3m", "cc12m"):
        shard(tmp_path / folder / "00000.tar", [("1.jpg", jpeg(len(folder))), ("1.txt", folder.encode())])
    found = {p.name: p.captions for p in read_pictures(tmp_path, "train").pictures}
    assert found == {"cc3m/00000/1": ("cc3m",), "cc12m/00000/1": ("cc12m",)}


def test_a_packed_shard_and_one_in_a_folder_below_are_not_passed_over(tmp_path):
    shard(tmp_path / "00000.tar", [("0.jpg", jpeg(0)), ("0.txt", b"a dog")])
    shard(tmp_path / "more/of/it/00001.tar", [("1.jpg", jpeg(1)), ("1.txt", b"a cat")])
    assert [one.captions[0] for one in read_pictures(tmp_path, "train").pictures] == ["a dog", "a cat"]
    (tmp_path / "00002.tar.gz").write_bytes(gzip.compress((tmp_path / "00000.tar").read_bytes()))
    with pytest.raises(InputError, match=r"00002\.tar\.gz: .*; decompress it"):
        read_pictures(tmp_path, "train")
