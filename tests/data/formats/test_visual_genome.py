import sys

import numpy as np
import pytest

from data.formats.true_formats import paint, put
from segue.data.formats import detect_format, read_pictures, visual_genome
from segue.types import InputError, Relation


def thing(number, x, **more):
    return {"object_id": number, "x": x, "y": 1, "w": 4, "h": 5, **more}


@pytest.fixture
def root(tmp_path):
    paint(tmp_path / "VG_100K/1.jpg", (40, 20))
    paint(tmp_path / "VG_100K_2/2.jpg", (10, 20))
    put(
        tmp_path / "image_data.json", [{"image_id": 1, "width": 40, "height": 20}, {"id": 2, "width": 10, "height": 20}]
    )
    objects = [thing(10, 3, names=["Man ", "person"], synsets=[]), thing(11, 20, names=["kite"])]
    put(tmp_path / "objects.json", [{"image_id": 1, "objects": objects}, {"image_id": 2, "objects": []}])
    attributes = [thing(10, 3, names=["man"], attributes=["Tall", "tall"]), thing(11, 20, names=["kite"])]
    put(tmp_path / "attributes.json", [{"image_id": 1, "attributes": attributes}])
    relations = [
        {"predicate": "Holding", "subject": thing(10, 3, name="man"), "object": thing(11, 20, names=["kite"])},
        {"predicate": "on", "subject": thing(10, 3, name="man"), "object": thing(99, 8, name="grass")},
    ]
    put(tmp_path / "relationships.json", [{"image_id": 1, "relationships": relations}])
    return tmp_path


def test_name_and_names_attributes_and_objects_that_only_relations_know(root):
    assert detect_format(root) == ("visual-genome", ("train",))
    one, two = read_pictures(root, "train").pictures
    assert [r.label for r in one.regions] == ["man", "kite", "grass"]
    assert [r.attributes for r in one.regions] == [("tall",), (), ()]
    assert one.relations == (Relation(0, "holding", 1), Relation(0, "on", 2))
    assert one.regions[0].box == (3, 1, 4, 5)
    assert (one.size, two.size) == ((40, 20), (10, 20))
    assert two.load().shape == (20, 10, 3)


def test_objects_without_a_name_or_picture_are_reported(root):
    put(root / "objects.json", [{"image_id": 1, "objects": [thing(10, 3, names=[""])]}])
    with pytest.raises(InputError, match="object 10 of image 1: names: got an empty text"):
        read_pictures(root, "train")
    put(root / "objects.json", [{"image_id": 7, "objects": []}])
    with pytest.raises(InputError, match=r"7\.jpg: no such picture"):
        read_pictures(root, "train")


def vg150(root, grid=1024, **change):
    h5py = pytest.importorskip("h5py")
    scale = grid / 40
    rows = {
        f"boxes_{grid}": (np.array([[5, 6, 4, 2], [21, 3.5, 4, 5], [9, 9, 2, 2]]) * scale).round().astype(np.int32),
        "labels": np.array([[2], [1], [2]]),
        "predicates": np.array([[1], [2]]),
        "relationships": np.array([[0, 1], [1, 0]], np.int32),
        "img_to_first_box": np.array([0, 2], np.int32),
        "img_to_last_box": np.array([1, 2], np.int32),
        "img_to_first_rel": np.array([0, -1], np.int32),
        "img_to_last_rel": np.array([1, -1], np.int32),
        "split": np.array([0, 2], np.int32),
    } | change
    with h5py.File(root / "VG-SGG.h5", "w") as file:
        for key, value in rows.items():
            file.create_dataset(key, data=value)
    names = {"idx_to_label": {"1": "airplane", "2": "zebra"}, "idx_to_predicate": {"1": "above", "2": "with"}}
    put(root / "VG-SGG-dicts.json", names)


@pytest.mark.parametrize("grid", [1024, 512])
def test_vg150_counts_from_one_and_tells_centres_on_its_own_grid(root, grid):
    vg150(root, grid)
    assert detect_format(root) == ("visual-genome", ("train", "val", "test"))
    found = visual_genome.read_vg150(root, "train", val=0)
    (picture,) = found.pictures
    assert found.classes == ("airplane", "zebra")
    assert [r.label for r in picture.regions] == ["zebra", "airplane"]
    assert np.allclose([r.box for r in picture.regions], [(3, 5, 4, 2), (19, 1, 4, 5)], atol=0.1)
    assert picture.relations == (Relation(0, "above", 1), Relation(1, "with", 0))
    (other,) = read_pictures(root, "test").pictures
    assert other.relations == ()
    assert len(other.regions) == 1  # the rows run to the last inclusive, and a picture's own count from its first


def test_vg150s_validation_is_cut_from_the_related_pictures_of_training():
    rows = {
        "split": np.array([0, 0, 2, 0, 0]),
        "img_to_first_box": np.array([0, -1, 3, 4, 5]),
        "img_to_first_rel": np.array([0, -1, 0, -1, 2]),
    }
    assert visual_genome.vg150_rows(rows, "val", 1) == [0]
    assert visual_genome.vg150_rows(rows, "train", 1) == [1, 3, 4]
    assert visual_genome.vg150_rows(rows, "val", 5000) == [0, 4]
    assert visual_genome.vg150_rows(rows, "test", 1) == [2]


def test_the_four_broken_pictures_have_no_row(root):
    more = [{"image_id": int(n.split(".")[0]), "width": 9, "height": 9} for n in visual_genome.VG150_WITHOUT]
    sizes = [{"image_id": 1, "width": 40, "height": 20}, *more, {"image_id": 2, "width": 10, "height": 20}]
    put(root / "image_data.json", sizes)
    vg150(root)
    assert [p.name for p in read_pictures(root, "test").pictures] == ["2"]
    put(root / "image_data.json", sizes[:3])
    with pytest.raises(InputError, match=r"VG-SGG\.h5 has 2 pictures and image_data.json"):
        read_pictures(root, "test")


def test_a_broken_h5_and_a_missing_h5py_are_reported(root, monkeypatch):
    vg150(root, labels=np.array([[0], [1], [2]]))
    with pytest.raises(InputError, match="not laid out as expected"):
        visual_genome.read_vg150(root, "train", val=0)
    put(root / "VG-SGG.h5", b"nothing")
    with pytest.raises(InputError, match="can't be read as HDF5"):
        read_pictures(root, "train")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r'pip install "(\.|segue)\[formats\]"'):
        read_pictures(root, "train")


def test_one_bad_object_is_named_and_the_others_are_read(root):
    good, nameless = thing(10, 3, names=["man"]), thing(12, 9, names=[])
    bad = [nameless, thing(13, 9, names=[None]), thing(14, float("nan"), names=["x"]), thing(15, 3, names=["y"], w=0)]
    put(root / "objects.json", [{"image_id": "1", "objects": [good, *bad]}, {"image_id": 2, "objects": []}])
    put(root / "attributes.json", [])
    related = [
        {"predicate": p, "subject": good, "object": o} for p, o in ((None, good), ("on", nameless), ("by", good))
    ]
    put(root / "relationships.json", [{"image_id": 1, "relationships": related}])
    message = "6 things .*object 12 of image 1: names: got null.*object 13 .*object 14 .*object 15 .*relationship 0"
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")
    with pytest.warns(UserWarning, match="6 things"):
        one, _ = read_pictures(root, "train", "skip").pictures
    assert [r.label for r in one.regions] == ["man"]
    assert one.relations == (Relation(0, "by", 0),)


def test_twins_of_images_and_objects_are_reported(root):
    objects = [thing(10, 3, names=["man"]), thing(10, 7, names=["man"])]
    put(root / "objects.json", [{"image_id": 1, "objects": objects}, {"image_id": 1, "objects": []}])
    message = "2 things .*object 10 of image 1: there twice, with two boxes.*entry 1 .*a second entry of the image 1"
    with pytest.raises(InputError, match=message):
        read_pictures(root, "train")
    paint(root / "thumbs/1.jpg")
    put(root / "objects.json", [{"image_id": 1, "objects": []}])
    with pytest.raises(InputError, match=r"1\.jpg: 2 files fit"):
        read_pictures(root, "train")
