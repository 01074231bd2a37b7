import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segue.synthetic.scenes.scene import CLASSES, COLOURS, PREDICATES, SIZES, STUFF_CLASSES, THING_CLASSES
from segue.synthetic.scenes.writer import CATEGORY_IDS, make_scenes
from segue.types import InputError

SPLITS = {"train": 12, "val": 3, "test": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(out, seed=3, size=64, workers=1, **SPLITS)
    return out


def digest(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).digest() for p in folder.rglob("*") if p.is_file()}


def load(path):
    return json.loads(path.read_text())


def coco(root, kind, split, capsys):
    made = COCO(str(root / f"annotations/{kind}_{split}.json"))
    capsys.readouterr()
    return made


def test_the_same_bytes_whatever_the_workers(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        make_scenes(tmp_path / name, seed=5, train=62, val=1, test=2, size=32, workers=workers)
    one = digest(tmp_path / "one")
    assert one == digest(tmp_path / "two")
    make_scenes(tmp_path / "other", seed=6, train=3, val=0, test=0, size=32)
    other = digest(tmp_path / "other")
    assert not {v for k, v in other.items() if k.suffix == ".jpg"} & set(one.values())


def test_a_split_is_not_moved_by_the_size_of_another(root, tmp_path):
    make_scenes(tmp_path / "small", seed=3, size=64, train=0, val=3, test=0)
    small, large = digest(tmp_path / "small"), digest(root)
    small.pop((tmp_path / "small/dataset_scenes.json").relative_to(tmp_path / "small"))
    assert small.items() <= large.items()


@pytest.mark.parametrize("split", SPLITS)
def test_instances_are_coco(root, split, capsys):
    made = coco(root, "instances", split, capsys)
    assert len(made.getImgIds()) == SPLITS[split]
    assert [made.cats[i]["name"] for i in sorted(made.cats)] == list(THING_CLASSES)
    assert max(made.cats) > len(THING_CLASSES)  # ids have gaps
    for mark in made.loadAnns(made.getAnnIds()):
        mask, (x, y, w, h) = made.annToMask(mark).astype(bool), mark["bbox"]
        rows, columns = np.nonzero(mask)
        assert mark["area"] == mask.sum() >= 4
        assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert mark["iscrowd"] == 0


def test_panoptic_ids_are_the_colours_of_the_png(root):
    panoptic = load(root / "annotations/panoptic_train.json")
    categories = {c["id"]: c for c in panoptic["categories"]}
    assert sorted(c["name"] for c in categories.values() if not c["isthing"]) == sorted(STUFF_CLASSES)
    for entry in panoptic["annotations"]:
        rgb = np.asarray(Image.open(root / "annotations/panoptic_train" / entry["file_name"])).astype(int)
        ids, counts = np.unique(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], return_counts=True)
        found = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        found.pop(0, None)
        assert found == {s["id"]: s["area"] for s in entry["segments_info"]}
        stuff = [s["category_id"] for s in entry["segments_info"] if not categories[s["category_id"]]["isthing"]]
        assert len(stuff) == len(set(stuff))


def test_masks_panoptic_and_label_map_agree(root, capsys):
    instances, panoptic = coco(root, "instances", "val", capsys), load(root / "annotations/panoptic_val.json")
    names = {number: kind for kind, number in CATEGORY_IDS.items()}
    for entry in panoptic["annotations"]:
        stem = entry["file_name"][:-4]
        labels = np.asarray(Image.open(root / f"stuffthingmaps/val/{stem}_labelTrainIds.png"))
        rgb = np.asarray(Image.open(root / "annotations/panoptic_val" / entry["file_name"])).astype(int)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        assert labels.shape == (64, 64)
        assert ((labels == 255) == (ids == 0)).all()
        for segment in entry["segments_info"]:
            assert set(labels[ids == segment["id"]]) == {CLASSES.index(names[segment["category_id"]])}
        for mark in instances.loadAnns(instances.getAnnIds(imgIds=[entry["image_id"]])):
            mask = instances.annToMask(mark).astype(bool)
            assert len(set(ids[mask])) == 1
            assert set(labels[mask]) == {CLASSES.index(names[mark["category_id"]])}


def test_pictures_are_there_and_of_the_size_stated(root):
    for split, count in SPLITS.items():
        images = load(root / f"annotations/captions_{split}.json")["images"]
        assert len({i["file_name"] for i in images}) == count == len(list((root / "images" / split).iterdir()))
        for image in images:
            assert Image.open(root / "images" / split / image["file_name"]).size == (image["width"], image["height"])


def test_captions_are_the_same_in_coco_and_karpathy(root, capsys):
    karpathy = load(root / "dataset_scenes.json")["images"]
    assert [i["imgid"] for i in karpathy] == list(range(sum(SPLITS.values())))
    for image in karpathy:
        captions = coco(root, "captions", image["split"], capsys)
        marks = captions.loadAnns(captions.getAnnIds(imgIds=[image["cocoid"]]))
        assert [m["caption"] for m in marks] == [s["raw"] for s in image["sentences"]]
        assert [m["id"] for m in marks] == [s["sentid"] for s in image["sentences"]] == image["sentids"]
        assert len(marks) == 5
        assert (root / image["filepath"] / image["filename"]).exists()
        for sentence in image["sentences"]:
            assert " ".join(sentence["tokens"]) == sentence["raw"].lower().replace(",", "").rstrip(".")


def test_visual_genome_ties_objects_and_relations(root, capsys):
    objects = {p["image_id"]: p["objects"] for p in load(root / "objects_train.json")}
    described = {p["image_id"]: p["attributes"] for p in load(root / "attributes_train.json")}
    instances = coco(root, "instances", "train", capsys)
    numbers = []
    for picture in load(root / "relationships_train.json"):
        there = {o["object_id"]: o for o in objects[picture["image_id"]]}
        numbers += [r["relationship_id"] for r in picture["relationships"]]
        for relation in picture["relationships"]:
            assert relation["predicate"] in PREDICATES
            assert relation["subject"] == there[relation["subject"]["object_id"]]
            assert relation["object"] == there[relation["object"]["object_id"]]
            assert relation["subject"]["names"][0] in THING_CLASSES
        for one in described[picture["image_id"]]:
            assert there[one["object_id"]]["names"] == one["names"]
            if one["names"][0] in THING_CLASSES:
                assert one["attributes"][0] in COLOURS
                assert set(one["attributes"][1:2]) <= {*SIZES, *one["attributes"]}
                assert instances.anns[one["object_id"]]["bbox"] == [one[k] for k in "xywh"]
    assert len(numbers) == len(set(numbers)) > 10


def test_phrases_and_omissions_name_objects_of_their_picture(root):
    objects = {p["image_id"]: {o["object_id"] for o in p["objects"]} for p in load(root / "objects_test.json")}
    captions = {c["id"]: c for c in load(root / "annotations/captions_test.json")["annotations"]}
    named = {number: set() for number in captions}
    for phrase in load(root / "phrases_test.json"):
        caption = captions[phrase["caption_id"]]
        assert caption["caption"][phrase["start"] : phrase["end"]] == phrase["text"]
        assert set(phrase["object_ids"]) <= objects[caption["image_id"]]
        named[phrase["caption_id"]] |= set(phrase["object_ids"])
    omitted = load(root / "omitted_test.json")
    assert sorted(o["caption_id"] for o in omitted) == sorted(captions)
    for one in omitted:
        left = {t["id"] for t in one["things"] + one["stuff"]}
        assert left | named[one["caption_id"]] == objects[one["image_id"]]
        assert not left & named[one["caption_id"]]


def test_domains_and_styles_are_made(tmp_path):
    for name, more in (("b", {"domain": "b"}), ("s", {"style": "synthetic"}), ("c", {"view": "close"}), ("p", {})):
        make_scenes(tmp_path / name, train=2, val=0, test=0, size=32, **more)
    captions = {
        n: [c["caption"] for c in load(tmp_path / n / "annotations/captions_train.json")["annotations"]] for n in "bscp"
    }
    assert captions["b"] != captions["p"]
    first = "images/train/000000000001.jpg"
    assert len({(tmp_path / name / first).read_bytes() for name in "scp"}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "oil"}, "style: got 'oil', expected one of photo, synthetic"),
        ({"domain": "c"}, "domain: got 'c', expected one of a, b"),
        ({"view": "far"}, "view: got 'far', expected one of wide, close"),
        ({"size": 0}, "size: got 0, expected at least 32 pixels"),
        ({"seed": -1}, "seed: got -1, expected zero or more"),
        ({"train": -1}, "expected none negative"),
        ({"train": 0, "val": 0, "test": 0}, "one above zero"),
    ],
)
def test_bad_requests_leave_nothing(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make_scenes(tmp_path / "d", **({"train": 1, "val": 0, "test": 0, "size": 32} | options))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already; name a new folder"):
        make_scenes(tmp_path, train=1, val=0, test=0, size=32)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_command(segue, tmp_path):
    make = ("data", "make", "scenes", "--train", 2, "--val", 1, "--test", 0, "--size", 32, "--seed", 4)
    status, output, _ = segue(*make, "--out", tmp_path / "d", "--domain", "b", "--style", "synthetic")
    assert (status, output) == (0, f"{tmp_path / 'd'}: 2 train, 1 val, 0 test pictures of 32x32\n")
    assert len(list((tmp_path / "d/images/train").iterdir())) == 2
    status, _, error = segue(*make, "--out", tmp_path / "d")
    assert status == 2
    assert "is there already" in error
    status, _, error = segue(*make, "--out", tmp_path / "e", "--style", "a")
    assert status == 2
    assert "got 'a', expected one of photo, synthetic" in error
    assert segue("data", "make", "chest", "--out", tmp_path / "e", "--domain", "b")[0] == 2
