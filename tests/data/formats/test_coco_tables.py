import json
import pickle
import random

import pytest

from data.formats.true_formats import paint, put
from segue.data.formats import coco_marks, coco_tables, stream
from segue.data.formats.coco import read

STRANGE = [None, "1", "a", 2.0, 1.5, True, -1, 2**70, 18446744073709551617, [], {}, " ", "\ud800x", 0, ...]
MASKS = [
    [],
    None,
    3,
    [[1, 2]],
    [[1, 1, 5, 1, 5, "5"]],
    [[1, 1, 5, 1, 5, 500]],
    [[1.333, 1, 5, 1, 5, 5], [2, 2, 6, 2, 6, 7]],
    {"size": [8, 12], "counts": [10, 20, 66]},
    {"size": [9, 12], "counts": [108]},
]


def messy(rng, record, share):
    """The record, or with this probability one with something wrong, or none at all."""
    if rng.random() < share:
        key, value = rng.choice([*record]), rng.choice(STRANGE)
        return rng.choice([{k: value if k == key else v for k, v in record.items() if k != key or value is not ...}, 3])
    return record


def folder(root, seed):
    """A COCO folder with things wrong here and there."""
    rng = random.Random(seed)
    share, numbers = rng.choice([0.01, 0.1, 0.4]), rng.sample(range(-3, 40), 9)
    images = [{"id": n, "file_name": f"{n}.png", "width": 12, "height": 8} for n in numbers]
    for image in images[1:]:
        paint(root / "images" / image["file_name"])
    mark = {"category_id": 1, "bbox": [1, 1.5, 4, 2], "iscrowd": 0}
    instances = [
        mark
        | {"id": rng.choice([i, i, i, 3]), "image_id": rng.choice([*numbers, 99]), "segmentation": [[1, 1, 5, 1, 5, 5]]}
        | ({"segmentation": rng.choice(MASKS)} if rng.random() < 0.3 else {})
        for i in range(40)
    ]
    captions = [
        {"id": i, "image_id": rng.choice(numbers), "caption": rng.choice(["a dog", "b: c ", 'd "e": f, {'])}
        for i in range(30)
    ]
    for kind, marks in (("instances", instances), ("captions", captions)):
        made = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "dog"}]}
        made = {key: [messy(rng, one, share) for one in value] for key, value in made.items()}
        put(root / f"annotations/{kind}_train.json", json.dumps(made).encode("utf-8", "surrogatepass"))
    return root


def contents(root):
    told = []
    found = read(root, "train", lambda *problem: told.append(problem))
    return told, found.classes, [(one.name, one.size, one.captions, one.regions) for one in found.pictures]


@pytest.mark.parametrize("seed", range(30))
def test_columns_say_what_records_say_one_by_one(tmp_path, monkeypatch, seed):
    root = folder(tmp_path, seed)
    found = contents(root)
    monkeypatch.setattr(stream, "CHUNK", 300)
    assert contents(root) == found

    def refuse(*_):
        raise ValueError

    monkeypatch.setattr(coco_marks, "_whole_numbers", refuse)
    monkeypatch.setattr(coco_tables.Images, "_regular", lambda *_: False)
    monkeypatch.setattr(stream, "_read_quickly", lambda _: [])
    assert contents(root) == found


def test_ids_of_records_and_columns_meet_in_the_order_of_the_file(tmp_path):
    image = {"id": 1, "file_name": "a.png", "width": 12, "height": 8}
    mark = {"image_id": 1, "category_id": 1}
    boxes = [[i, 1, 2, 2] for i in range(6)]
    numbers = ["5", 5, 6, "6", 7, 7.0]
    marks = [mark | {"id": number, "bbox": box} for number, box in zip(numbers, boxes, strict=True)]
    categories = [{"id": 1, "name": "dog"}]
    put(
        tmp_path / "annotations/instances_train.json",
        {"images": [image], "annotations": marks, "categories": categories},
    )
    paint(tmp_path / "images/a.png")
    told, _, ((*_, regions),) = contents(tmp_path)
    assert [name for _, name, _ in told] == ["instances 5", "instances 6", "instances 7.0"]
    assert [region.box[0] for region in regions] == [0, 2, 4]


def test_the_pictures_can_be_sent_to_other_processes(tmp_path):
    found = read(folder(tmp_path, 0), "train", lambda *_: None).pictures
    again = pickle.loads(pickle.dumps(found))
    assert [(one.name, one.captions, one.regions) for one in again] == [
        (one.name, one.captions, one.regions) for one in found
    ]
