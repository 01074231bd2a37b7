import pytest
from true_formats import coco, paint, put

from segue.data.formats import read_pictures, recognise
from segue.types import InputError


def entry(name, split, *said, **more):
    return {"filename": name, "split": split, "imgid": 0, "sentences": [{"raw": s, "tokens": []} for s in said], **more}


@pytest.fixture
def root(tmp_path):
    entries = [
        entry("a.jpg", "train", "A dog .", "A dog\u2028runs ."),
        entry("b.jpg", "restval", "A cat ."),
        entry("c.jpg", "val", "A cow ."),
    ]
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        paint(tmp_path / "images" / name)
    put(tmp_path / "dataset_flickr8k.json", {"dataset": "flickr8k", "images": entries})
    return tmp_path


def test_restval_joins_train(root):
    assert recognise(root) == ("karpathy", ("train", "val"))
    found = read_pictures(root, "train").pictures
    assert [p.name for p in found] == ["a.jpg", "b.jpg"]
    assert found[0].captions == ("A dog .", "A dog\u2028runs .")
    assert [p.split for p in found] == ["train", "train"]
    assert [p.name for p in read_pictures(root, "val").pictures] == ["c.jpg"]


def test_missing_pictures_and_unknown_splits_are_told(root):
    (root / "images/b.jpg").unlink()
    with pytest.raises(InputError, match=r"1 things can't be used: b\.jpg: no such"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match=r"b\.jpg"):
        assert len(read_pictures(root, "train", on_bad="skip").pictures) == 1
    put(root / "dataset_flickr8k.json", {"images": [entry("a.jpg", "extra", "x"), entry("c.jpg", "val", "x")]})
    with pytest.raises(InputError, match="split 'extra', expected train, val, test"):
        read_pictures(root, "val")


def test_captions_without_raw_text_are_put_together(root):
    put(
        root / "dataset_flickr8k.json",
        {"images": [{"filename": "a.jpg", "split": "test", "sentences": [{"tokens": ["a", "dog"]}]}]},
    )
    assert read_pictures(root, "test").pictures[0].captions == ("a dog",)


def test_several_files_are_not_guessed_at(root):
    put(root / "dataset_coco.json", {"images": []})
    with pytest.raises(InputError, match=r"several Karpathy files, dataset_coco.json, dataset_flickr8k.json"):
        read_pictures(root, "train")


def test_cocos_regions_are_found_under_karpathys_split_and_the_other_years_name(tmp_path):
    root = coco(tmp_path)
    old = "COCO_val2014_000000000140.jpg"
    paint(root / "val2014" / old)
    said = entry(old, "restval", "A man.", filepath="val2014", cocoid=140)
    put(root / "dataset_coco.json", {"images": [said]})
    (picture,) = read_pictures(root, "train").pictures  # Karpathy's train, COCO's val
    assert (picture.name, picture.split, picture.captions) == (old, "train", ("A man.",))
    assert len(picture.regions) == 5
    assert picture.label_map is not None
