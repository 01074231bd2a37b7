import pytest

from data.formats.true_formats import coco, paint, put, scenes
from segue.data.formats import detect_format, read_pictures
from segue.types import InputError, Phrase, Relation


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
    assert detect_format(root) == ("karpathy", ("train", "val"))
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
    with pytest.raises(InputError, match=r"split 'extra' of \"a.jpg\", expected train, val, test"):
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


def test_the_sketchbooks_scenes_have_captions_regions_relations_and_phrases(tmp_path):
    root = scenes(tmp_path)
    assert detect_format(root) == ("karpathy", ("train", "val", "test"))
    for split in ("train", "val", "test"):
        (picture,) = read_pictures(root, split).pictures
        assert len(picture.regions) == 5
        sky = [r.label for r in picture.regions].index("sky-other-merged")
        assert picture.relations == (Relation(0, "below", sky),)  # both stretches are the one sky
        assert picture.regions[0].attributes == ("red",)
        assert picture.phrases == (Phrase(1, 2, 8, (0,)), Phrase(1, 12, 19, (sky,)))
        assert picture.captions[1][12:19] == "the sky"
        assert picture.label_map is not None


def test_phrases_that_do_not_fit_are_told(tmp_path):
    root = scenes(tmp_path)
    said = {"caption_id": 1, "image_id": 139, "start": 2, "end": 8, "text": "person", "object_ids": [13902]}
    for change in ({"caption_id": 7}, {"start": 3}, {"object_ids": [5]}):
        put(root / "phrases_train.json", [said | change])
        with pytest.raises(InputError, match="'person' names a caption or an object that is not there"):
            read_pictures(root, "train")


def test_phrases_are_left_out_where_karpathys_captions_are_others(tmp_path):
    root = scenes(tmp_path)
    put(root / "dataset_scenes.json", {"images": [entry("000000000139.jpg", "train", "Short.")]})
    (picture,) = read_pictures(root, "train").pictures
    assert (picture.captions, picture.phrases) == (("Short.",), ())
