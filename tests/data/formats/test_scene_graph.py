"""One picture's graph from a file: what can't be used is named, and may be skipped."""

import json

import pytest

from segue.data.formats.scene_graph import read_graph
from segue.types import InputError, Relation

NAN = float("nan")


def coco(*boxes, image_id=1, **more):
    marks = [{"id": i, "image_id": image_id, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)]
    images = [{"id": 1, "file_name": "7.png", "width": 32, "height": 32} | more]
    return {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "ball"}]}


def visual_genome(*boxes):
    objects = [
        {"object_id": i, "names": ["ball"], **dict(zip("xywh", box or (), strict=False))} for i, box in enumerate(boxes)
    ]
    edges = [{"subject_id": 0, "predicate": "by", "object_id": i} for i in range(len(boxes))]
    return {"image_id": 7, "objects": objects, "relationships": edges[1:]}


def read(folder, value, on_bad="stop"):
    (folder / "g.json").write_text(json.dumps(value))
    return read_graph(folder / "g.json", "7.png", (32, 32), on_bad=on_bad)


@pytest.mark.parametrize("make", [coco, visual_genome])
@pytest.mark.parametrize(
    "box",
    [[NAN, 1, 2, 2], [1, 1, float("inf"), 2], [9, 9, -4, 2], [9, 9, 0, 2], [40, 1, 5, 5], [-9, 1, 5, 5], [], None],
)
def test_a_bad_box_is_named_in_both_formats_and_only_it_is_skipped(tmp_path, make, box):
    made = make([1, 1, 4, 4], [8, 8, 4, 4], box)
    with pytest.raises(InputError, match=r"[12] things of 7.png can't be used: (annotation|object) 2: "):
        read(tmp_path, made)
    with pytest.warns(UserWarning, match="can't be used"):
        regions, relations = read(tmp_path, made, "skip")
    assert [region.box for region in regions] == [(1, 1, 4, 4), (8, 8, 4, 4)]
    assert relations == (() if make is coco else (Relation(0, "by", 1),))


def test_ids_and_sizes_may_be_texts(tmp_path):
    assert len(read(tmp_path, coco([1, 1, 4, 4], image_id="1", width="32", height="32"))[0]) == 1
    made = coco([1, 1, 4, 4], image_id="64ab")
    made["images"][0]["id"] = "64ab"
    assert len(read(tmp_path, made)[0]) == 1
    graph = visual_genome([1, 1, 4, 4], [8, 8, 4, 4])
    graph["objects"][0]["object_id"] = graph["relationships"][0]["subject_id"] = "a"
    assert read(tmp_path, graph)[1] == (Relation(0, "by", 1),)


def test_an_object_may_say_that_it_is_stuff(tmp_path):
    graph = visual_genome([1, 1, 4, 4], [8, 8, 4, 4])
    graph["objects"][1]["thing"] = False
    assert [region.thing for region in read(tmp_path, graph)[0]] == [True, False]


def test_null_is_never_a_name_nor_a_predicate(tmp_path):
    graph = visual_genome([1, 1, 4, 4], [8, 8, 4, 4], [2, 2, 4, 4])
    graph["objects"][2]["names"] = [None]
    graph["relationships"][0]["predicate"] = None
    message = (
        "3 things .*object 2: names: got null.*relationship 0 .*predicate: got null.*relationship 1 .*dangling edge"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, graph)
    made = coco([1, 1, 4, 4])
    made["categories"][0]["name"] = None
    with pytest.raises(InputError, match=r"category 0 .*name: got null"):
        read(tmp_path, made)


def test_what_is_left_out_is_noted(tmp_path):
    made = coco([1, 1, 4, 4], [8, 8, 4, 4])
    made["annotations"][1]["iscrowd"] = 1
    made["annotations"].append({"id": 9, "image_id": 5, "category_id": 1, "bbox": [1, 1, 2, 2]})
    with pytest.warns(UserWarning, match="left-out|crowds|annotations") as told:
        assert len(read(tmp_path, made)[0]) == 2
    text = "; ".join(str(one.message) for one in told)
    assert "1 crowds, which are not described" in text
    assert "1 annotations of an image_id that is not in images" in text


def test_twins_are_reported(tmp_path):
    made = coco([1, 1, 4, 4], [8, 8, 4, 4])
    made["annotations"][1]["id"] = 0
    with pytest.raises(InputError, match="annotation 0: a second annotation of this id"):
        read(tmp_path, made)
    made["images"].append({"id": 1, "file_name": "8.png"})
    with pytest.raises(InputError, match="2 images have the id 1"):
        read(tmp_path, made)


@pytest.mark.parametrize(("box", "outside"), [([20, 1, 4, 4], True), ([15, 39, 4, 4], False), ([1, 40, 4, 4], True)])
def test_a_box_lies_outside_to_the_right_of_the_width_or_below_the_height(tmp_path, box, outside):
    (tmp_path / "g.json").write_text(json.dumps(coco(box, width=16, height=40)))
    if outside:
        with pytest.raises(InputError, match="lies outside the picture of 16x40"):
            read_graph(tmp_path / "g.json", "7.png", (16, 40))
    else:
        assert len(read_graph(tmp_path / "g.json", "7.png", (16, 40))[0]) == 1


def test_an_entry_with_neither_objects_nor_relations_is_no_empty_graph(tmp_path):
    with pytest.raises(InputError, match="objects"):
        read(tmp_path, {"image_id": 7, "attributes": []})
    assert read(tmp_path, {"image_id": 7, "objects": []}) == ((), ())
