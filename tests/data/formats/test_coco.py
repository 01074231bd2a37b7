import gc
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import CROWD, SEGMENTS, coco, colours, numbers, paint, put
from segue.data import rle
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.formats.check import check_any
from segue.data.formats.classes import COCO_STUFF_171
from segue.data.formats.coco import plain_name
from segue.data.formats.coco import read as read_coco_folder
from segue.data.formats.panoptic import read_segments, segment_colours, segment_ids
from segue.types import InputError, Relation


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    put(path, found)


@pytest.fixture
def root(tmp_path):
    return coco(tmp_path)


def test_one_picture_has_all_that_the_files_tell(root):
    assert detect_format(root) == ("coco", ("train", "val"))
    (picture,) = read_pictures(root, "val").pictures
    assert (picture.name, picture.size, picture.split) == ("000000000140.jpg", (12, 8), "val")
    assert picture.captions == ("A man at\na stop sign.", "A person by the sky.")  # the newline keeps its caption whole
    assert [r.label for r in picture.regions] == ["person", "person", "toothbrush", "sky-other-merged", "flower"]
    assert [r.thing for r in picture.regions] == [True, True, True, False, False]
    assert picture.load().shape == (8, 12, 3)


def test_polygons_that_are_none_are_told_and_the_collector_works_again(root):
    def spoil(found):
        first = next(mark for mark in found["annotations"] if isinstance(mark["segmentation"], list))
        first["segmentation"] = [[1, 1, 5, 1, 5, "5"]]

    edit(root / "annotations/instances_train2017.json", spoil)
    seen = []
    read = read_coco_folder(root, "train", lambda *problem: seen.append((problem, gc.isenabled())))
    ((code, name, message), during), *_ = seen
    assert (code, during) == ("bad-annotation", False)
    assert message.startswith("got [[1, 1, 5, 1, 5, '5']], expected COCO's polygons")
    assert name not in message
    assert len(read.pictures[0].regions) == len(read_pictures(coco(root / "again"), "train").pictures[0].regions) - 1
    assert gc.isenabled()


def test_polygons_run_lengths_and_crowds(root):
    polygon, crowd, code, *_ = read_pictures(root, "train").pictures[0].regions
    assert rle.decode(polygon.mask)[3:5, 2:6].all()
    assert rle.area(polygon.mask) == 8
    assert (rle.decode(crowd.mask) == CROWD).all()
    assert [polygon.crowd, crowd.crowd] == [False, True]
    assert (rle.decode(code.mask) == np.eye(8, 12, dtype=bool)).all()


def test_panoptic_ids_are_not_cut_to_8_bits(root):
    (root / "annotations/instances_train2017.json").unlink()
    sky, flower, person = read_pictures(root, "train").pictures[0].regions
    assert (rle.decode(sky.mask) == (SEGMENTS == 70_000)).all()
    assert (rle.decode(flower.mask) == (SEGMENTS == 300)).all()  # 300 mod 256 = 44, the person's id
    assert (rle.decode(person.mask) == (SEGMENTS == 44)).all()
    assert person.crowd
    assert person.box == (2, 3, 4, 2)
    assert segment_ids(colours([[256**3 - 1]])).tolist() == [[256**3 - 1]]
    ids = np.array([[0, 255, 256, 65_535, 65_536, 256**3 - 1]])
    assert (segment_ids(segment_colours(ids)) == ids).all()


def test_raw_label_maps_have_gaps_and_train_ids_have_not(root):
    found = read_pictures(root, "train")
    labels = found.pictures[0].label_map()
    assert found.classes == COCO_STUFF_171
    assert [found.classes[i] for i in labels[0, :4]] == ["person", "stop sign", "toothbrush", "wood"]
    assert labels[0, :4].tolist() == [0, 11, 79, 170]
    assert (labels[1:] == 255).all()
    (root / "stuffthingmaps/train2017/000000000139.png").unlink()
    numbers(root / "stuffthingmaps/train2017/000000000139_labelTrainIds.png", np.full((8, 12), 170))
    assert (read_pictures(root, "train").pictures[0].label_map() == 170).all()


@pytest.mark.parametrize("unused", [11, 25, 90, 182])
def test_a_value_in_a_gap_is_no_class(root, unused):
    numbers(root / "stuffthingmaps/train2017/000000000139.png", np.full((8, 12), unused))
    found = read_pictures(root, "train")
    with pytest.raises(InputError, match=f"the values {unused} stand for no class"):
        found.pictures[0].label_map()
    with pytest.raises(InputError, match="1 of 1 pictures can't be read"):
        check_pictures(found)


@pytest.mark.parametrize("ids", [(1, 2, 4), (0, 1, 3)])  # from 1 the maps hold an id less one, from 0 the id
def test_label_maps_of_other_classes_follow_the_categories(ids, tmp_path):
    root = coco(tmp_path, ("train",), "")
    own = [{"id": i, "name": n, "isthing": 1} for i, n in zip(ids, ("ball", "kite", "sky"), strict=True)]
    for kind in ("instances", "panoptic"):
        edit(root / f"annotations/{kind}_train.json", lambda f: f.update(categories=own, annotations=[]))
    numbers(root / "stuffthingmaps/train/000000000139.png", np.resize([0, 1, 3, 255], (8, 12)))
    found = read_pictures(root, "train")
    assert found.classes == ("ball", "kite", "sky")
    assert found.pictures[0].label_map()[0, :4].tolist() == [0, 1, 2, 255]


def test_a_folder_without_splits_is_train(root, tmp_path_factory):
    flat = tmp_path_factory.mktemp("flat")
    for kind in ("captions", "instances"):
        put(flat / f"{kind}.json", (root / f"annotations/{kind}_train2017.json").read_bytes())
    paint(flat / "images/000000000139.jpg")
    assert detect_format(flat) == ("coco", ("train",))
    (picture,) = read_pictures(flat, "train").pictures
    assert len(picture.captions) == 2
    assert len(picture.regions) == 3
    assert read_pictures(flat, "train").classes == ("person", "stop sign", "toothbrush")
    with pytest.raises(InputError, match="without a split 'val'; it has train"):
        read_pictures(flat, "val")


def test_relations_join_the_regions_that_they_are_about(root):
    def thing(number, name, x, y, w, h, **more):
        return {"object_id": number, "x": x, "y": y, "w": w, "h": h, **name, **more}

    man = thing(5, {"name": "person"}, 2, 3, 4, 2)
    kite = thing(6, {"names": ["kite"]}, 8, 0, 2, 2, attributes=["Red "])
    objects = [thing(5, {"names": ["person"]}, 2, 3, 4, 2, attributes=["small"]), kite]
    put(root / "annotations/objects_train2017.json", [{"image_id": 139, "objects": objects}])
    listed = [{"predicate": "HOLDING", "subject": man, "object": kite}]
    put(root / "annotations/relationships_train2017.json", [{"image_id": 139, "relationships": listed}])
    (picture,) = read_pictures(root, "train").pictures
    assert picture.relations == (Relation(0, "holding", 5),)
    assert picture.regions[0].attributes == ("small",)
    assert picture.regions[0].mask is not None
    assert (picture.regions[5].label, picture.regions[5].attributes) == ("kite", ("red",))


BREAKS = {
    "dangling-image": ("captions", lambda f: f["annotations"][0].update(image_id=7), "image_id 7 is not in images"),
    "dangling-category": ("instances", lambda f: f["annotations"][0].update(category_id=12), "12 is not in categories"),
    "bad-mask": ("instances", lambda f: f["annotations"][0].update(segmentation=[[1, 2]]), "6 or more coordinates"),
    "other-size": (
        "instances",
        lambda f: f["annotations"][1]["segmentation"].update(size=[9, 12]),
        "expected the picture's",
    ),
    "segment": ("panoptic", lambda f: f["annotations"][0]["segments_info"].pop(), "the PNG has the id 44"),
    "no-png": ("panoptic", lambda f: f["annotations"][0].update(file_name="9.png"), r"9\.png: no such file"),
    "no-picture": (
        "captions",
        lambda f: f["images"].append({"id": 1, "file_name": "a.jpg"}),
        r"a\.jpg: no such picture",
    ),
    "layout": ("captions", lambda f: f["images"][0].pop("id"), r"image 0 \(0 is the first\) of captions: no id"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_what_is_broken_is_reported(root, kind):
    file, change, message = BREAKS[kind]
    edit(root / f"annotations/{file}_train2017.json", change)
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")


def test_the_user_may_allow_that_bad_things_are_left_out(root):
    edit(root / "annotations/instances_train2017.json", BREAKS["bad-mask"][1])
    with pytest.warns(UserWarning, match="1 things can't be used: annotation 0 of 000000000139.jpg"):
        found = read_pictures(root, "train", on_bad="skip")
    assert len(found.pictures[0].regions) == 4


def test_a_broken_json_is_named(root):
    put(root / "annotations/captions_train2017.json", b'{"images": [')
    with pytest.raises(InputError, match=r"captions_train2017\.json: can't be read as JSON"):
        read_pictures(root, "train")


def test_pictures_can_be_sent_to_other_processes(root):
    (picture,) = read_pictures(root, "train").pictures
    again = pickle.loads(pickle.dumps(picture))
    assert (again.load() == picture.load()).all()
    assert (again.label_map() == picture.label_map()).all()
    assert again == picture or again.regions == picture.regions


def test_bad_pictures_are_counted_named_and_skipped_only_when_allowed(root):
    path = root / "images/train2017/000000000139.jpg"
    found = read_pictures(root, "train")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"1 of 1 pictures can't be read: .*000000000139\.jpg"):
        check_pictures(found)
    with pytest.warns(UserWarning, match="skipped: 1 of 1 pictures"):
        assert check_pictures(found, on_bad="skip").pictures == []
    Image.new("RGB", (9, 8)).save(path)
    with pytest.raises(InputError, match="9x8 pixels, its annotations say 12x8"):
        check_pictures(found)
    with pytest.raises(InputError, match='expected "stop" or "skip"'):
        check_pictures(found, on_bad="pass")


def small(root, *, images=None, marks=None, captions=None, categories=None, split="train"):
    """A COCO folder of instances and captions, without a year; pictures are painted by the caller."""
    images = images or [{"id": 1, "file_name": "a.png", "width": 12, "height": 8}]
    mark = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    found = {"images": images, "annotations": [mark] if marks is None else marks}
    found["categories"] = [{"id": 1, "name": "Dog"}] if categories is None else categories
    put(root / f"annotations/instances_{split}.json", found)
    if captions is not None:
        put(root / f"annotations/captions_{split}.json", {"images": images, "annotations": captions})
    return root


def entry(number, name, **more):
    return {"id": number, "file_name": name, "width": 12, "height": 8, **more}


def labels(root, on_bad="stop"):
    return {p.name: [r.label for r in p.regions] for p in read_pictures(root, "train", on_bad).pictures}


def test_two_folders_with_the_same_names_keep_their_own_pictures(tmp_path):
    """The red picture of cam1 and the blue one of cam2, as pycocotools keeps them apart."""
    root = small(tmp_path, images=[entry(1, "cam1/1.png"), entry(2, "cam2\\1.png")])
    paint(root / "images/cam1/1.png", colour=(255, 0, 0))
    paint(root / "images/cam2/1.png", colour=(0, 0, 255))
    found = read_pictures(root, "train").pictures
    assert [(p.name, p.load()[0, 0].tolist()) for p in found] == [
        ("cam1/1.png", [255, 0, 0]),
        ("cam2/1.png", [0, 0, 255]),
    ]
    small(tmp_path, images=[entry(1, "cam1/1.png")])
    assert read_pictures(root, "train").pictures[0].load()[0, 0].tolist() == [255, 0, 0]
    (root / "images/cam1/1.png").unlink()
    with pytest.raises(InputError, match=r"cam1/1.png: no such picture .*cam2/1.png is called so, in another folder"):
        read_pictures(root, "train")


def test_label_maps_of_two_folders_keep_their_pictures(tmp_path):
    root = small(tmp_path, images=[entry(1, "cam1/1.png"), entry(2, "cam2/1.png")])
    for at, name in enumerate(("cam1", "cam2")):
        paint(root / f"images/{name}/1.png")
        numbers(root / f"stuffthingmaps/train/{name}/1.png", np.full((8, 12), [0, 255][at]))
    assert [p.label_map()[0, 0] for p in read_pictures(root, "train").pictures] == [0, 255]


def test_two_images_of_one_id_are_reported_and_neither_is_read(tmp_path):
    """pycocotools keeps the last and gives it the boxes of both."""
    root = small(tmp_path, images=[entry(1, "a.png"), entry(1, "b.png"), entry(2, "c.png")])
    for name in "abc":
        paint(root / f"images/{name}.png")
    with pytest.raises(InputError, match=r"1 things .*b.png has the id 1, as a.png; give each its own"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="b.png has the id 1"):
        assert labels(root, "skip") == {"c.png": []}


def test_an_id_of_two_pictures_in_two_files_is_reported(tmp_path):
    root = small(tmp_path, captions=[{"id": 1, "image_id": 1, "caption": "a dog"}])
    paint(root / "images/a.png")
    edit(root / "annotations/captions_train.json", lambda f: f["images"][0].update(file_name="b.png"))
    with pytest.raises(InputError, match=r"(a|b).png has the id 1, as (a|b).png"):
        read_pictures(root, "train")
    edit(root / "annotations/captions_train.json", lambda f: f["images"][0].update(file_name="train/a.png"))
    assert labels(root) == {"a.png": ["dog"]}


def test_categories_of_one_name_are_told_and_are_one_class(tmp_path):
    categories = [{"id": 1, "name": "Dog"}, {"id": 2, "name": "hen"}, {"id": 5, "name": "dog"}]
    mark = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 1, 4, 4]}
    root = small(tmp_path, categories=categories, marks=[mark])
    paint(root / "images/a.png")
    told = "dog: 2 categories have this name, of the ids 1, 5, and are read as one"
    with pytest.warns(UserWarning, match=told):
        assert read_pictures(root, "train").classes == ("dog", "hen")
    numbers(root / "stuffthingmaps/train/a.png", np.full((8, 12), 4))  # a map's values are ids less one
    with pytest.warns(UserWarning, match=told):
        found = read_pictures(root, "train")
    assert found.classes == ("dog", "hen")
    assert found.pictures[0].label_map()[0, 0] == 0
    (told,) = check_any(root).findings
    assert (told.level, told.code, told.name) == ("warning", "twin-categories", "dog")


def test_annotations_and_categories_of_one_id_are_reported(tmp_path):
    mark = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    root = small(tmp_path, marks=[mark, mark | {"bbox": [2, 2, 3, 3]}])
    paint(root / "images/a.png")
    with pytest.raises(InputError, match="instances 1: a second annotation of this id"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="a second annotation"):
        assert labels(root, "skip") == {"a.png": ["dog"]}
    small(tmp_path, categories=[{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "hen"}])
    with pytest.raises(InputError, match=r"2 things .*cat has the id 1, as dog.*category_id 1 is not in categories"):
        read_pictures(root, "train")


def test_null_is_never_a_caption_nor_a_class(tmp_path):
    said = [{"id": 1, "image_id": 1, "caption": None}, {"id": 2, "image_id": 1, "caption": "a dog"}]
    root = small(tmp_path, captions=said, categories=[{"id": 1, "name": None}, {"id": 2, "name": "cat"}])
    paint(root / "images/a.png")
    message = "3 things .*category 0 .*name: got null.*caption 1 of a.png: caption: got null.*annotation 1 of a.png"
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="3 things"):
        (picture,) = read_pictures(root, "train", "skip").pictures
    assert (picture.captions, picture.regions) == (("a dog",), ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": []}, r"bbox: got \[\]"),
        ({"bbox": None}, "bbox: got null"),
        ({"bbox": [float("nan"), 1, 2, 3]}, r"bbox: got \[NaN"),
        ({"bbox": [1, 1, float("inf"), 3]}, r"bbox: got \[1, 1, Infinity"),
        ({"bbox": [8, 8, -4, 2]}, "width and height must be above 0"),
        ({"bbox": [8, 8, 0, 2]}, "width and height must be above 0"),
        ({"bbox": "1,2,3,4"}, "bbox: got"),
        ({"category_id": None}, "category_id: got null"),
        ({"category_id": 9}, "category_id 9 is not in categories"),
        ({"image_id": None}, "image_id: got null"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5]], "image_id": 2}, "a mask, and its image has no width and height"),
    ],
)
def test_one_bad_annotation_is_named_and_the_rest_is_read(tmp_path, change, message):
    good = {"id": 7, "image_id": 1, "category_id": "1", "bbox": [1, 1, 4, 4]}
    bare = {"id": 2, "file_name": "b.png"}
    root = small(tmp_path, images=[entry(1, "a.png"), bare], marks=[good, good | {"id": 8} | change])
    paint(root / "images/a.png")
    paint(root / "images/b.png")
    with pytest.raises(InputError, match=f"1 things can't be used: .*8.*{message}"):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match=message):
        assert labels(root, "skip") == {"a.png": ["dog"], "b.png": []}


@pytest.mark.parametrize("number", ["1", "64ab", "007", 0])
def test_ids_and_sizes_may_be_texts(tmp_path, number):
    mark = {"id": "x", "image_id": number, "category_id": "c1", "bbox": ["1", 1, 4, 4]}
    image = entry(1 if number == "1" else number, "a.png", width="12", height="8")
    root = small(tmp_path, images=[image], marks=[mark], categories=[{"id": "c1", "name": "dog"}])
    paint(root / "images/a.png")
    (picture,) = read_pictures(root, "train").pictures
    assert (picture.size, [(r.label, r.box) for r in picture.regions]) == ((12, 8), [("dog", (1, 1, 4, 4))])


@pytest.mark.parametrize(
    "name", ["images\\sub\\a.png", "C:\\x\\sub\\a.png", "./sub/a.png", "a.png", "sub/cafe\u0301.png"]
)
def test_names_written_on_other_systems(tmp_path, name):
    root = small(tmp_path, images=[entry(1, name)])
    paint(root / "images/sub/a.png")
    paint(root / "images/sub/caf\u00e9.png")
    assert [*labels(root).values()] == [["dog"]]


def test_one_bad_image_is_named_and_its_annotations_go_with_it(tmp_path):
    bad = [{"id": 2}, {"file_name": "c.png"}, entry(3, "c.png", width="wide"), None]
    marks = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in (1, 2, 3)]
    root = small(tmp_path, images=[entry(1, "a.png"), *bad], marks=marks)
    paint(root / "images/a.png")
    with pytest.raises(
        InputError, match=r"4 things .*image 1 .*no file_name.*image 2 .*no id.*image 3 .*width.*image 4"
    ):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="4 things"):
        assert labels(root, "skip") == {"a.png": ["dog"]}


def test_two_segments_of_one_id_are_reported(root):
    def twice(found):
        found["annotations"][0]["segments_info"].append({"id": 44, "category_id": 90})

    edit(root / "annotations/panoptic_train2017.json", twice)
    with pytest.raises(InputError, match="the id 44 is there twice"):
        read_pictures(root, "train")


def test_roboflows_export_lies_among_its_pictures(tmp_path):
    mark = {"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "segmentation": [], "iscrowd": 0}
    categories = [{"id": 0, "name": "animals", "supercategory": "none"}, {"id": 1, "name": "dog"}]
    made = {"images": [entry(0, "a_jpg.rf.0a1b.jpg")], "annotations": [mark], "categories": categories}
    for split in ("train", "valid"):
        put(tmp_path / split / "_annotations.coco.json", made)
        paint(tmp_path / split / "a_jpg.rf.0a1b.jpg")
    assert detect_format(tmp_path) == ("coco", ("train", "val"))
    assert labels(tmp_path) == {"a_jpg.rf.0a1b.jpg": ["dog"]}


def test_a_raw_value_is_the_id_less_one(tmp_path):
    root = coco(tmp_path, ("train",), "")
    own = [{"id": i, "name": n, "isthing": 1} for i, n in ((2, "ball"), (3, "kite"))]
    for kind in ("instances", "panoptic"):
        edit(root / f"annotations/{kind}_train.json", lambda f: f.update(categories=own, annotations=[]))
    numbers(root / "stuffthingmaps/train/000000000139.png", np.resize([1, 2, 255], (8, 12)))
    assert read_pictures(root, "train").pictures[0].label_map()[0, :3].tolist() == [0, 1, 255]


def test_names_of_2014_lose_their_beginning_and_others_keep_theirs():
    assert plain_name("COCO_val2014_000000000042.jpg") == "000000000042.jpg"
    assert plain_name("COCO_train2014_1.jpg") == "1.jpg"
    assert plain_name("my_2014_1.jpg") == "my_2014_1.jpg"
    assert plain_name("000000000042.jpg") == "000000000042.jpg"


def test_what_is_wrong_with_a_png_is_said_of_it_or_of_one_of_its_segments(tmp_path):
    Image.fromarray(colours([[7, 7, 0]])).save(tmp_path / "1.png")
    marks = [{"file_name": "1.png", "segments_info": [{"id": 7, "category_id": 5}]}, {"file_name": "2.png"}]
    found = []
    assert [*read_segments(marks, tmp_path, {1: ("dog", True)}, True, lambda *what: found.append(what))] == [[], []]
    assert found == [
        ("bad-segment", "1.png", "segments_info 0 (0 is the first): segment 7 has the unknown category 5"),
        ("bad-segment", "2.png", f"{tmp_path / '2.png'}: no such file"),
    ]


def test_files_of_a_split_that_are_not_read_are_told(tmp_path):
    """Annotations in two parts, packed, or of another year were passed over without a word."""
    root = coco(tmp_path, ("train",), "2017")
    put(root / "annotations/captions_train2017_part2.json", "{}")
    put(root / "annotations/instances_train2014.json.gz", "{}")
    put(root / "annotations/person_keypoints_train2017.json", "{}")
    with pytest.warns(UserWarning, match=r"captions_train2017_part2\.json: 2 files of train are not read beside"):
        read_pictures(root, "train")
