import numpy as np
import pytest

from data.formats.true_formats import paint, put
from segue.data import rle
from segue.data.formats import detect_format, read_pictures
from segue.types import InputError

MASK = np.zeros((8, 12), bool)
MASK[2:5, 1:4] = True
CODE = rle.to_json(rle.encode(MASK))
OTHER = rle.to_json(rle.encode(MASK[::-1].copy()))


@pytest.fixture
def root(tmp_path):
    paint(tmp_path / "images/a.jpg")
    return tmp_path


def words(picture):
    return [(picture.captions[0][p.start : p.end], p.regions) for p in picture.phrases]


def test_the_form_with_sam_masks(root):
    mark = {"image_id": 1, "bbox": [1, 2, 3, 3], "area": 9, "tokens_positive": [[0, 5], [11, 13]], "sam_mask": CODE}
    images = [{"id": 1, "file_name": "train_a.jpg", "caption": "A man, and he.", "height": 8, "width": 12}]
    put(root / "annotations/flickr_mergedGT_GCG_train.json", {"images": images, "annotations": [mark]})
    with pytest.raises(InputError, match=r"train_a\.jpg: no such picture"):
        read_pictures(root, "train")
    paint(root / "images/train_a.jpg")
    assert detect_format(root) == ("grandf", ("train",))
    (picture,) = read_pictures(root, "train").pictures
    assert words(picture) == [("A man", (0,)), ("he", (1,))]
    assert (rle.decode(picture.regions[0].mask) == MASK).all()
    assert picture.regions[0].box == (1, 2, 3, 3)


def test_the_form_with_groundings(root):
    grounding = {"token_positives": [3, 6], "rle_masks": [CODE, OTHER]}
    entry = {"file_name": "a.jpg", "caption": '"A man"', "groundings": {"man": grounding}}
    put(root / "OpenPsg_GCG_val.json", [entry, entry])
    one, two = read_pictures(root, "val").pictures
    assert one.name != two.name  # a picture may have several captions, each an entry
    assert one.captions == ("A man",)
    assert words(one) == [("man", (0,))]  # spans count in the caption as it stands in the file
    assert (rle.decode(one.regions[0].mask) == MASK | MASK[::-1]).all()
    assert one.size == (12, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_positives": [3, 99]}, "tokens 3..99 of a caption with 5 characters"),
        ({"rle_masks": [{"size": [8, 12]}]}, "expected run lengths|expected COCO's"),
        ({"rle_masks": [CODE, {"size": [2, 2], "counts": [4]}]}, "expected one or more of one"),
        ({"token_positives": "x"}, "entry 0 .*not laid out as expected"),
    ],
)
def test_what_is_broken_is_reported(root, change, message):
    grounding = {"token_positives": [2, 5], "rle_masks": [CODE], **change}
    put(
        root / "GranDf_HA_GCG_train.json",
        [{"file_name": "a.jpg", "caption": "A man", "groundings": {"man": grounding}}],
    )
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")


def test_annotations_of_no_picture_are_reported(root):
    mark = {"image_id": 9, "tokens_positive": [[0, 1]], "sam_mask": CODE}
    put(
        root / "x_GCG_train.json", {"images": [{"id": 1, "file_name": "a.jpg", "caption": "A."}], "annotations": [mark]}
    )
    with pytest.raises(InputError, match="an image_id that is not in images"):
        read_pictures(root, "train")


def test_one_bad_entry_is_named_and_the_others_are_read(root):
    good = {
        "file_name": "a.jpg",
        "caption": "A man",
        "groundings": {"man": {"token_positives": [2, 5], "rle_masks": [CODE]}},
    }
    bad = [good | {"caption": None}, good | {"file_name": None}, {"file_name": "a.jpg", "caption": "x"}, None]
    put(root / "GranDf_HA_GCG_train.json", [good, *bad])
    with pytest.raises(
        InputError, match=r"4 things .*entry 1 .*caption: got null.*entry 2 .*file_name: got null.*entry 3"
    ):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="4 things"):
        assert [p.captions for p in read_pictures(root, "train", "skip").pictures] == [("A man",)]


@pytest.mark.parametrize("box", [[], [1, 2, 3, float("nan")], [1, 2, 0, 3], [1, 2, -3, 3], "1234"])
def test_bad_boxes_and_twins_of_the_sam_form_are_reported(root, box):
    mark = {"image_id": "1", "bbox": [1, 2, 3, 3], "tokens_positive": [[0, 5]], "sam_mask": CODE}
    images = [{"id": 1, "file_name": "a.jpg", "caption": "A man, and he."}]
    path = put(root / "x_GCG_train.json", {"images": images, "annotations": [mark, mark | {"bbox": box}]})
    with pytest.raises(InputError, match=r"1 things .*grounding 1 of a.jpg: bbox: got"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="1 things"):
        assert words(read_pictures(root, "train", "skip").pictures[0]) == [("A man", (0,))]
    put(path, {"images": images * 2, "annotations": [mark]})
    with pytest.raises(InputError, match=r"2 things .*several images have the id 1"):
        read_pictures(root, "train")
