import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import put
from segue.data.formats import check_pictures, detect_format, read_pictures
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


def test_a_corrupt_picture_is_counted_and_named(root):
    shard(root / "train/00001.tar", [("7.jpg", jpeg()[:200]), ("7.txt", b"x"), ("8.jpg", b""), ("8.txt", b"y")])
    found = read_pictures(root, "train")
    with pytest.raises(InputError, match=r"2 of 4 pictures can't be read: .*00001\.tar/7\.jpg: .*00001\.tar/8\.jpg"):
        check_pictures(found)
    with pytest.warns(UserWarning, match="2 of 4"):
        assert len(check_pictures(found, on_bad="skip").pictures) == 2


def test_a_truncated_shard_gives_what_comes_before_and_is_told(root):
    path = root / "train/00000.tar"
    path.write_bytes(path.read_bytes()[:2500])
    told = []
    found = list(read_shard(path, "train", lambda *what: told.append(what)))
    assert [p.captions for p in found][:1] == [("a dog",)]
    assert told
    assert told[0][0] == "broken-shard"
    put(path, b"no tar at all" * 99)
    with pytest.raises(InputError, match=r"00000\.tar: broken"):
        read_pictures(root, "train")


def test_members_that_make_no_picture_are_told(root):
    shard(root / "train/00001.tar", [("7.txt", b"x"), ("8.jpg", jpeg()), ("8.txt", b"\xff")])
    with pytest.raises(InputError, match=r"2 things .*/7: only \.txt, no picture; .*/8: .*a caption in UTF-8"):
        read_pictures(root, "train")
