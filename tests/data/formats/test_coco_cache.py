import json
import os

import pytest

from data.formats.true_formats import coco, put
from segue.data.formats import coco as reader
from segue.data.formats import coco_cache
from segue.data.formats.coco import read
from segue.types import InputError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_cache, "LARGE", 0)
    return coco(tmp_path / "data")


@pytest.fixture
def parsed(monkeypatch):
    """The names of the files whose JSON was read."""
    names, stream = [], reader.stream_object
    monkeypatch.setattr(reader, "stream_object", lambda path, long: names.append(path.name) or stream(path, long))
    return names


def contents(root, report=None):
    found = read(root, "train", *([report] if report else []))
    return [(one.name, one.size, one.captions, one.regions) for one in found.pictures], found.classes


def spoil(path, change):
    found = json.loads(path.read_text())
    change(found)
    put(path, found)


def test_a_second_reading_parses_no_instances_and_finds_the_same(root, parsed):
    first = contents(root)
    assert parsed == ["captions_train2017.json", "instances_train2017.json", "panoptic_train2017.json"]
    parsed.clear()
    assert contents(root) == first
    assert parsed == ["captions_train2017.json", "panoptic_train2017.json"]


def test_what_is_wrong_is_told_at_each_reading(root):
    def change(found):
        found["annotations"][0]["bbox"] = [1, 2, 0, 4]
        found["annotations"][1]["category_id"] = 5000
        found["annotations"].append({"id": 77, "image_id": 139, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]})

    spoil(root / "annotations/instances_train2017.json", change)
    first, second = [], []
    assert contents(root, lambda *one: first.append(one)) == contents(root, lambda *one: second.append(one))
    assert [code for code, *_ in first] == ["bad-annotation", "bad-annotation"]
    assert first == second


def test_another_content_of_the_same_size_and_time_is_read(root, parsed):
    path = root / "annotations/instances_train2017.json"
    contents(root)
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace('"person"', '"poodle"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    parsed.clear()
    assert "poodle" in [region.label for *_, regions in contents(root)[0] for region in regions]
    assert path.name in parsed


@pytest.mark.parametrize("broken", [b"", b"no arrays", None])
def test_a_broken_cache_is_told_and_made_anew(root, parsed, broken):
    first = contents(root)
    (kept,) = (root.parent / "cache/segue/coco").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-200] if broken is None else broken)
    with pytest.warns(UserWarning, match=r"npz: can't be read \(.*instances_train2017\.json is read again"):
        assert contents(root) == first
    parsed.clear()
    assert contents(root) == first
    assert "instances_train2017.json" not in parsed


def test_a_small_file_keeps_nothing_and_neither_does_a_full_disk(root, monkeypatch):
    monkeypatch.setattr(coco_cache, "LARGE", 1 << 30)
    first = contents(root)
    assert not (root.parent / "cache").exists()
    monkeypatch.setattr(coco_cache, "LARGE", 0)
    put(root.parent / "cache", "a file where the folder should be")
    assert contents(root) == first


def test_a_file_in_another_format_is_refused_and_not_kept(root):
    put(root / "annotations/instances_train2017.json", {"images": [], "categories": []})
    with pytest.raises(InputError, match="no list 'annotations'"):
        read(root, "train")
    assert not (root.parent / "cache").exists()


def test_annotations_that_are_mostly_irregular_are_not_kept(root):
    def change(found):
        for mark in found["annotations"]:
            mark["id"] = f"{mark['id']}"

    spoil(root / "annotations/instances_train2017.json", change)
    assert contents(root) == contents(root)
    assert not (root.parent / "cache").exists()
