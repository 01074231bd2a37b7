import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import CROWD, SEGMENTS, coco, colours, numbers, paint, put
from segue.data import rle
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.formats.classes import COCO_STUFF_171
from segue.data.formats.panoptic import segment_ids
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


def test_label_maps_of_other_classes_follow_the_categories(tmp_path):
    root = coco(tmp_path, ("train",), "")
    own = [{"id": i, "name": n, "isthing": 1} for i, n in ((1, "ball"), (2, "kite"), (4, "sky"))]
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
    told = [{"predicate": "HOLDING", "subject": man, "object": kite}]
    put(root / "annotations/relationships_train2017.json", [{"image_id": 139, "relationships": told}])
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
    "layout": ("captions", lambda f: f["images"][0].pop("id"), "no 'id'.*expected COCO's json"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_what_is_broken_is_told(root, kind):
    file, change, told = BREAKS[kind]
    edit(root / f"annotations/{file}_train2017.json", change)
    with pytest.raises(InputError, match=told):
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
