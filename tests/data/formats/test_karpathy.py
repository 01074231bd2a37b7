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


def test_missing_pictures_and_unknown_splits_are_reported(root):
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


def test_phrases_that_do_not_fit_are_reported(tmp_path):
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


def test_two_folders_with_the_same_names_keep_their_own_pictures(tmp_path):
    entries = [entry("1.png", "train", "red", filepath="cam1"), entry("1.png", "train", "blue", filepath="cam2")]
    put(tmp_path / "dataset_own.json", {"images": entries})
    paint(tmp_path / "images/cam1/1.png", colour=(255, 0, 0))
    paint(tmp_path / "images/cam2/1.png", colour=(0, 0, 255))
    found = [(p.name, p.captions, p.load()[0, 0].tolist()) for p in read_pictures(tmp_path, "train").pictures]
    assert found == [("cam1/1.png", ("red",), [255, 0, 0]), ("cam2/1.png", ("blue",), [0, 0, 255])]
    for cam in ("cam1", "cam2"):
        (tmp_path / f"images/{cam}/1.png").unlink()
    paint(tmp_path / "images/1.png")
    with pytest.raises(InputError, match=r"2 things .*cam1/1.png: .*would also be another entry's"):
        read_pictures(tmp_path, "train")


@pytest.mark.parametrize("name", ["sub/a.png", "sub\\a.png", "sub/cafe\u0301.png"])
def test_names_with_folders_and_of_other_systems(tmp_path, name):
    put(tmp_path / "dataset_own.json", {"images": [entry(name, "train", "a dog")]})
    paint(tmp_path / "images/sub/a.png")
    paint(tmp_path / "images/sub/caf\u00e9.png")
    assert len(read_pictures(tmp_path, "train").pictures) == 1


def test_a_file_in_another_spelling_of_unicode_is_the_picture_if_it_is_the_only_one(tmp_path):
    put(tmp_path / "dataset_own.json", {"images": [entry("caf\u00e9.png", "train", "a dog")]})
    paint(tmp_path / "images/cafe\u0301.png", colour=(255, 0, 0))
    (picture,) = read_pictures(tmp_path, "train").pictures
    assert picture.load()[0, 0].tolist() == [255, 0, 0]
    paint(tmp_path / "images/caf\u00e9.png", colour=(0, 0, 255))
    (picture,) = read_pictures(tmp_path, "train").pictures
    assert picture.load()[0, 0].tolist() == [0, 0, 255]


def test_one_bad_entry_or_caption_is_named_and_the_rest_is_read(root):
    entries = [
        entry("a.jpg", "train", "A dog .", None),
        {"filename": "b.jpg", "split": "train", "sentences": None},
        {"filename": None, "split": "train"},
        {"filename": "b.jpg"},
        None,
    ]
    put(root / "dataset_flickr8k.json", {"images": entries})
    message = (
        "5 things .*image 2 .*filename: got null.*image 3 .*no split.*image 4 .*sentence 1 of a.jpg: raw: got null.*"
        "b.jpg: sentences: got"
    )
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="5 things"):
        found = {p.name: p.captions for p in read_pictures(root, "train", "skip").pictures}
    assert found == {"a.jpg": ("A dog .",), "b.jpg": ()}


def test_a_picture_that_stands_there_twice_is_reported(root):
    put(
        root / "dataset_flickr8k.json", {"images": [entry("a.jpg", "train", "A dog."), entry("a.jpg", "train", "Two.")]}
    )
    with pytest.raises(InputError, match=r"a.jpg: 2 pictures of one name"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="2 pictures of one name"):
        assert [p.captions for p in read_pictures(root, "train", "skip").pictures] == [("A dog.",)]
