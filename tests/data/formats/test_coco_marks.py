import json

import numpy as np
import pytest

from data.formats.true_formats import coco, put
from segue.data import rle
from segue.data.formats.coco import read
from segue.data.formats.coco_marks import Marks
from segue.types import InputError, Region

SIZES = {1: (8, 12), 2: (20, 30)}
RUNS = rle.to_json(rle.from_json([[1, 1, 5, 1, 5, 5]], (8, 12), ""))


def mark(number, image=1, **others):
    corners = [[1, 1, 5, 1, 5, 5]]
    made = {"id": number, "image_id": image, "category_id": 3, "bbox": [1, 2.5, 3, 4], "segmentation": corners}
    return {key: value for key, value in (made | others).items() if value is not ...}


def added(kind, *records):
    marks = Marks()
    marks.add(kind, list(records), SIZES.get)
    return marks


def test_regular_annotations_become_columns():
    marks = added(
        "instances", mark(7), mark(8, 2, iscrowd=1, area=3), mark(9, segmentation=RUNS), mark(10, 5, segmentation=[])
    )
    drawn = [rle.from_json([[1, 1, 5, 1, 5, 5]], size, "") for size in SIZES.values()]
    assert ([*marks.images], [*marks.ids], marks.raw) == ([1, 2, 1, 5], [7, 8, 9, 10], {})
    regions = marks.regions([*range(4)], {3: ("dog", True)})
    box = (1.0, 2.5, 3.0, 4.0)
    assert regions == [
        Region("dog", box, drawn[0]),
        Region("dog", box, drawn[1], crowd=True),
        Region("dog", box, drawn[0]),
        Region("dog", box),
    ]


def test_a_region_is_found_in_its_part():
    marks = Marks()
    for first in range(0, 9, 3):
        marks.add("instances", [mark(i, bbox=[i, 1, 2, 3]) for i in range(first, first + 3)], SIZES.get)
    marks.add("instances", [mark("x")], SIZES.get)
    assert len(marks.parts) == 3
    for places in ([*range(9)], [0, 2, 7], [4], [2, 3], []):
        assert [region.box[0] for region in marks.regions(places, {3: ("dog", True)})] == places
    assert marks.column("boxes", np.full(4, -1.0))[:, 0].tolist() == [*range(9), -1]


@pytest.mark.parametrize(
    "odd",
    [
        "no record",
        mark("7"),
        mark(...),
        mark(7.0),
        mark(True),
        mark(2**70),
        mark(7, "1"),
        mark(7, 5),
        mark(7, category_id="3"),
        mark(7, bbox=...),
        mark(7, bbox=[1, 2, 3]),
        mark(7, bbox=[1, 2, 3, 4, 5, 6, 7, 8]),
        mark(7, bbox=[1, 2, 0, 4]),
        mark(7, bbox=[1, 2, "3", 4]),
        mark(7, bbox=[1, float("nan"), 3, 4]),
        mark(7, iscrowd="1"),
        mark(7, iscrowd=[]),
        mark(7, segmentation=[[1, 1, 5, 1]]),
        mark(7, segmentation=[[]]),
        mark(7, segmentation=[[1, 1, 5, 1, 5, 500]]),
        mark(7, segmentation=[[1, 1, 5, 1, 5, float("nan")]]),
        mark(7, segmentation=[[1, 1, 5, 1, 5, "5"]]),
        mark(7, segmentation=RUNS | {"size": [9, 12]}),
        mark(7, segmentation=3),
    ],
)
def test_what_is_not_regular_stays_and_its_neighbours_are_regular(odd):
    marks = added("instances", mark(1), mark(2), odd, mark(3), mark(4))
    assert [*marks.ids] == [1, 2, 0, 3, 4]
    assert [*marks.raw] == [2]
    assert sum(len(part.categories) for part in marks.parts) == 4


def test_captions_are_their_texts():
    marks = added("captions", {"id": 1, "image_id": 2, "caption": " a dog\n"}, {"id": 2, "image_id": 2, "caption": ""})
    assert ([*marks.images], [*marks.ids], marks.texts) == ([2, 0], [1, 0], ["a dog", ""])
    assert marks.raw == {1: {"id": 2, "image_id": 2, "caption": ""}}


def test_no_polygon_is_drawn_before_it_is_asked_for(monkeypatch):
    calls, draw = [], rle.from_polygons
    monkeypatch.setattr(rle, "from_polygons", lambda masks, *rest: calls.append(len(masks)) or draw(masks, *rest))
    marks = added("instances", *(mark(i, 1 + i % 2) for i in range(100)))
    (region,) = marks.regions([5], {3: ("dog", True)})
    mask = region.mask
    assert calls == []
    assert mask.counts == mask.counts
    assert calls == [1]


def test_two_files_that_give_an_image_two_sizes_are_told(tmp_path):
    root = coco(tmp_path)
    path = root / "annotations/panoptic_train2017.json"
    found = json.loads(path.read_text())
    found["images"][0]["height"] = 9
    put(path, found)
    with pytest.raises(InputError, match=r"0 of .*139\.jpg: its image has .* \(8, 12\) in its file and \(9, 12\)"):
        read(root, "train")
