import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import segue as package
from methods.sgdiff.describing import (
    IMAGE,
    LEFT,
    PICTURE,
    REGIONS,
    RELATIONS,
    coco,
    save_model,
    visual_genome,
    write_files,
)
from methods.sgdiff.toys import SIDE
from segue.api import Describer, load_describer
from segue.api.photographs import PhotoPredictor
from segue.data import rle
from segue.data.formats import scene_graph
from segue.methods.sgdiff.graph import build_graph
from segue.methods.sgdiff.inference import SGDiffGenerator
from segue.methods.sgdiff.photographs.checkpoint import PhotoCheckpoint
from segue.nn.feature_distance import FeatureDistance
from segue.options import DescribeOptions
from segue.types import InputError, Relation
from tiny_photographs import tiny_network, tiny_reader

ONE, TWO, THREE = (DescribeOptions(num=num) for num in (1, 2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def describer(folder):
    return load_describer(folder)


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def summary(captions):
    return [
        (c.caption, round(c.score, 5), [(g.phrase, g.label, int(g.mask.sum())) for g in c.groundings]) for c in captions
    ]


def test_a_describer_knows_its_folder(folder, describer):
    assert describer.folder == folder
    assert Describer(describer.model).folder is None


def test_the_distance_of_a_photograph_is_that_of_its_dual_encoder(describer):
    reader = tiny_reader()
    tokenizer, width = reader.captioner.checkpoint.tokenizer, reader.encoder.image_encoder.width
    reader.encoder.domain = FeatureDistance(torch.zeros(width), torch.eye(width)[:, :2], 0.5)
    made = PhotoCheckpoint(tiny_network(tokenizer), tokenizer, "captions-photos", {})
    (distance,) = Describer(PhotoPredictor(made, lambda: reader)).measure_distances([IMAGE])
    assert distance == reader.encoder.measure_distances([IMAGE])[0] > 0
    assert describer.measure_distances([IMAGE, IMAGE]) == [None, None]  # one of scenes doesn't measure it


def test_a_graph_is_a_graph_however_it_is_given(describer, files):
    graph, _ = build_graph(PICTURE, (SIDE, SIDE))
    first = describer.describe(IMAGE, box=LEFT, graph=graph, options=THREE)
    assert len(first) == 3
    assert all(one.mask.shape == (SIDE, SIDE) for caption in first for one in caption.groundings)
    assert {one.label for caption in first for one in caption.groundings} <= {"square", "circle"}
    assert first[0].groundings
    given = {"regions": REGIONS, "relations": RELATIONS}
    assert summary(first) == summary(describer.describe(IMAGE, box=LEFT, options=THREE, **given))
    assert summary(first) == summary(
        describer.describe(files / "7.png", box=LEFT, graph=files / "vg.json", options=THREE)
    )
    spatial = describer.describe(IMAGE, box=LEFT, regions=REGIONS, options=THREE)
    assert summary(spatial) == summary(
        describer.describe(files / "7.png", box=LEFT, graph=str(files / "coco.json"), options=THREE)
    )


def test_prompts_of_every_kind(describer):
    x, y, w, h = LEFT
    for prompt in ({"point": (x + w / 2, y + h / 2)}, {"mask": rle.decode(REGIONS[0].mask)}, {"scribble": [(x, y)]}):
        assert len(describer.describe(IMAGE, **prompt, regions=REGIONS, options=TWO)) == 2
    every = list(describer.describe_objects(IMAGE, regions=REGIONS, options=TWO))
    assert [box for box, _ in every] == [region.box for region in REGIONS]
    assert summary(every[0][1]) == summary(describer.describe(IMAGE, box=LEFT, regions=REGIONS, options=TWO))


def test_many_pictures_are_described_each_around_its_prompt(describer):
    prompts = [{"box": one.box, "label": one.label} for one in REGIONS[:2]]
    found = list(describer.describe_many([IMAGE, IMAGE[::-1].copy()], iter(prompts), options=TWO))
    alone = [describer(IMAGE, **prompts[0], options=TWO), describer(IMAGE[::-1].copy(), **prompts[1], options=TWO)]
    assert [summary(some) for some in found] == [summary(some) for some in alone]
    with pytest.raises(ValueError, match="shorter"):
        list(describer.describe_many([IMAGE] * 2, prompts[:1], options=ONE))


def test_a_photographs_describer_moves_with_its_reader_loaded_before_or_after():
    tokenizer = tiny_reader().captioner.checkpoint.tokenizer
    made = PhotoCheckpoint(tiny_network(tokenizer), tokenizer, "captions-photos", {})
    before, after = PhotoPredictor(made, tiny_reader), PhotoPredictor(made, tiny_reader)
    assert before.reader.encoder is not None
    for predictor in (before, after):
        assert Describer(predictor).to("meta").generator is predictor
        networks = predictor.model, predictor.reader.encoder, predictor.reader.model
        assert {p.device.type for network in networks for p in network.parameters()} == {"meta"}


def test_a_few_objects_are_described_at_a_time(describer, monkeypatch):
    options = DescribeOptions(num=1, temperature=1.0, seed=3)
    at_once = list(describer.describe_objects(IMAGE, regions=REGIONS, options=options))
    monkeypatch.setattr("segue.api.describer.MAX_ROWS", 1)
    outside = replace(REGIONS[0], box=(200.0, 0.0, 5.0, 5.0))
    one_by_one = list(describer.describe_objects(IMAGE, regions=(*REGIONS, outside), options=options))
    assert [(box, summary(some)) for box, some in at_once] == [(box, summary(some)) for box, some in one_by_one]


def test_a_detectors_features_are_left_out_where_the_model_takes_none(describer):
    graph = replace(build_graph(PICTURE, (SIDE, SIDE))[0], features=np.ones((2, 8), np.float32))
    assert describer.describe(IMAGE, box=LEFT, graph=graph, options=ONE)


def test_a_picture_is_encoded_once_and_the_oldest_leaves_the_cache(describer):
    calls = []
    describer.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    for box in (LEFT, REGIONS[1].box):
        describer.describe(IMAGE.copy(), box=box, regions=REGIONS, options=ONE)
    assert len(calls) == 1
    for i in range(6):
        describer.describe(np.roll(IMAGE, i + 1), box=LEFT, regions=REGIONS, options=ONE)
    assert len(calls) == 7
    describer.describe(IMAGE, box=LEFT, regions=REGIONS, options=ONE)
    assert len(calls) == 8
    assert len(describer._cache) == 4


def test_what_is_around_a_place_can_be_named(describer):
    mask = rle.decode(REGIONS[0].mask)
    named = [
        describer.describe(IMAGE, box=LEFT, label="dog", options=TWO),
        describer.describe(IMAGE, mask=mask, label="dog", options=TWO),
    ]
    alone = [replace(REGIONS[0], label="dog", mask=None)]
    expected = describer.describe(IMAGE, box=LEFT, regions=alone, options=TWO)
    assert summary(named[0]) == summary(expected)
    assert len(named[1]) == 2


def test_load_finds_the_method(folder):
    assert isinstance(package.load(folder), Describer)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"box": LEFT}, "no scene graph.*--graph .*--detector"),
        ({"box": (200, 0, 5, 5), "regions": REGIONS}, "outside the picture of 32x32"),
        ({"box": (3, 3, 0, 5), "regions": REGIONS}, "an empty box"),
        ({"box": LEFT, "regions": ()}, "a picture without any object"),
        ({"box": LEFT, "regions": REGIONS, "relations": [Relation(0, "on", 9)]}, "points outside its 2 regions"),
        ({"box": LEFT, "regions": REGIONS, "options": {"length": 0}}, "length: got 0"),
        ({"box": LEFT, "regions": REGIONS, "options": {"include": ("zebra",)}}, "zebra is outside"),
        ({"box": LEFT, "regions": REGIONS, "graph": "x.json"}, "both graph and regions"),
        ({"box": LEFT, "relations": RELATIONS}, "got relations without regions"),
        ({"regions": REGIONS}, "prompt: got nothing"),
        ({"box": LEFT, "regions": REGIONS, "label": "dog"}, "label: names what a box"),
        ({"point": (4, 4), "label": "dog"}, "label: names what a box"),
        ({"box": (3, 3, 0, 5), "label": "dog"}, "an empty box"),
        ({"box": ("a", "b", "c", "d"), "regions": REGIONS}, "expected four numbers"),
        ({"box": (1, 2, 3, None), "regions": REGIONS}, "expected four numbers"),
        ({"box": LEFT, "regions": REGIONS, "options": {"length": 2.5}}, "length: got 2.5, expected a whole number"),
        ({"box": LEFT, "regions": REGIONS, "options": {"num": 2.0}}, "num: got 2.0, expected a whole number"),
        ({"box": LEFT, "regions": REGIONS, "options": {"include": "dog"}}, "include: got 'dog', expected a list"),
        ({"regions": REGIONS, "scribble": [(1, 2), (3,)]}, "expected one or more points"),
    ],
)
def test_bad_requests_are_refused(describer, request_, message):
    def ask(options=(), **request):
        describer.describe(IMAGE, **request, options=DescribeOptions(**dict(options)))

    with pytest.raises(InputError, match=message):
        ask(**request_)


def test_bad_graph_files_are_refused(describer, files):
    dangling, strange, small = visual_genome(), {"image_id": 7, "objects": [{"x": 1}]}, coco()
    narrow, nowhere, twice = visual_genome(), visual_genome(), visual_genome()
    narrow["objects"][0]["w"] = -5
    nowhere["objects"][1]["x"] = float("nan")
    twice["objects"][1]["object_id"] = 10
    dangling["relationships"][0]["object_id"] = 99
    small["images"][1]["width"] = 640
    for value, message in (
        (dangling, "dangling edge, 'left of' names the object 99"),
        (strange, "object number 0: no object_id"),
        (narrow, "object 10: x, y, w, h: got x .* width -5"),
        (nowhere, r"object 11: x, y, w, h: got \[NaN"),
        (twice, "object 10: there twice, with two boxes"),
        (small, "of a picture of 640x32 pixels, this one has 32x32"),
        ([{"image_id": 1}, {"image_id": 2}], "no entry with the image_id 7"),
        (3, "not laid out as expected"),
    ):
        (files / "g.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match=message):
            describer.describe(files / "7.png", box=LEFT, graph=files / "g.json")
    with pytest.raises(InputError, match="can't be read as JSON"):
        describer.describe(files / "7.png", box=LEFT, graph=files / "missing.json")


def test_a_picture_that_a_graph_file_has_twice_is_refused(tmp_path):
    one = {"image_id": 7, "objects": [{"object_id": 1, "x": 1, "y": 1, "w": 5, "h": 5, "names": ["cup"]}]}
    (tmp_path / "vg.json").write_text(json.dumps([one, one, one | {"image_id": 8}]))
    images = [{"id": i, "file_name": f"{place}/7.png", "width": 9, "height": 9} for i, place in enumerate("ab")]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    for file in ("vg.json", "coco.json"):
        with pytest.raises(InputError, match=r"7(\.png)? is there twice, and one may be another picture's"):
            scene_graph.read_graph(tmp_path / file, "7.png", (9, 9))
    assert len(scene_graph.read_graph(tmp_path / "vg.json", "8.png", (9, 9))[0]) == 1


def test_a_graph_of_another_layout_or_turned_is_refused(describer, files, tmp_path):
    for layout in ({"image_id": 7, "regions": []}, [{"image_id": 7, "attributes": []}]):
        (tmp_path / "g.json").write_text(json.dumps(layout))
        with pytest.raises(InputError, match=r"expected Visual Genome's \{image_id, objects"):
            scene_graph.read_graph(tmp_path / "g.json", "7.png", (9, 9))
    (tmp_path / "g.json").write_text(json.dumps({"image_id": 7, "width": 8, "height": 9, "objects": []}))
    with pytest.raises(InputError, match="one of the picture as its EXIF turns it"):
        scene_graph.read_graph(tmp_path / "g.json", "7.png", (9, 8))
    with pytest.raises(InputError, match="an array has no name to be found there by"):
        describer.describe(IMAGE, box=LEFT, graph=files / "vg.json")
    with pytest.raises(InputError, match="in which there is no word"):
        describer.describe(IMAGE, box=LEFT, regions=REGIONS, options=DescribeOptions(include=("!!!",)))


def test_a_graph_file_is_read_once_until_it_changes(describer, files, monkeypatch):
    reads = []

    def read(path, whole=scene_graph.read_json):
        reads.append(path)
        return whole(path)

    monkeypatch.setattr(scene_graph, "read_json", read)
    graph = files / "often.json"
    graph.write_text(json.dumps(visual_genome()))
    for _ in range(3):
        describer.describe(files / "7.png", box=LEFT, graph=graph, options=ONE)
    assert len(reads) == 1
    graph.write_text(json.dumps(visual_genome() | {"objects": []}, indent=1))
    with pytest.raises(InputError):
        describer.describe(files / "7.png", box=LEFT, graph=graph, options=ONE)
    assert len(reads) == 2


def test_an_accent_may_be_written_in_two_ways(tmp_path):
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    images = [{"id": 1, "file_name": composed}, {"id": 2, "file_name": "8.png"}]
    marks = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    made = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "g.json").write_text(json.dumps(made))
    for name in (composed, apart):
        assert scene_graph.read_graph(tmp_path / "g.json", name, (9, 9))[0][0].box == (1, 2, 3, 4)


def test_classes_are_found_in_any_case_of_letters_and_unknown_ones_are_warned_of(describer):
    lexicon = describer.model.lexicon
    assert lexicon.class_id(" Square") == lexicon.class_id("square") > 0
    with pytest.warns(UserWarning, match="this model doesn't know dragon: unknown objects to it, 1 of 1"):
        describer.describe(IMAGE, box=LEFT, label="dragon", options=ONE)
    with pytest.raises(InputError, match="label: got ' ', expected the name"):
        describer.describe(IMAGE, box=LEFT, label=" ", options=ONE)


def test_unknown_classes_and_a_place_without_objects_are_warned_of(describer):
    strange = [replace(region, label="dragon") for region in REGIONS]
    with pytest.warns(UserWarning, match="this model doesn't know dragon: unknown objects to it, 2 of 2"):
        describer.describe(IMAGE, box=LEFT, regions=strange, options=ONE)
    with pytest.warns(UserWarning, match=r"no known object is at this place: .* nearest, square at"):
        describer.describe(IMAGE, box=(0, 0, 2, 2), regions=REGIONS, options=ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        describer.describe(IMAGE, box=LEFT, regions=REGIONS, options=ONE)


def test_a_box_that_reaches_out_of_the_picture_is_cut_with_a_warning(describer):
    height, width = IMAGE.shape[:2]
    with pytest.warns(UserWarning, match=rf"box -5,0,{width + 9},{height} reaches out .* cut to 0,0,{width},{height}"):
        found = describer.describe(IMAGE, box=(-5, 0, width + 9, height), regions=REGIONS, options=ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        whole = describer.describe(IMAGE, box=(0, 0, width, height + 1e-4), regions=REGIONS, options=ONE)
    assert summary(whole) == summary(found)
    with pytest.warns(UserWarning, match=rf"scribble: its box -5,0,{width + 5},{height} reaches out of the picture"):
        drawn = describer.describe(IMAGE, scribble=[(-5, 0), (width - 1, height - 1)], regions=REGIONS, options=ONE)
    assert summary(drawn) == summary(found)


def test_objects_of_a_large_picture_are_described_one_at_a_time(describer, monkeypatch):
    whole = list(describer.describe_objects(IMAGE, regions=REGIONS, options=TWO))
    batches = []

    def generate(self, encoded, graph, boxes, options, *, whole=SGDiffGenerator.generate):
        batches.append(len(boxes))
        return whole(self, encoded, graph, boxes, options)

    monkeypatch.setattr("segue.api.describer.MAX_MASK_BYTES", 1)
    monkeypatch.setattr(SGDiffGenerator, "generate", generate)
    one_by_one = list(describer.describe_objects(IMAGE, regions=REGIONS, options=TWO))
    assert batches == [1] * len(REGIONS)
    assert [(box, [s.caption for s in some]) for box, some in one_by_one] == [
        (box, [s.caption for s in some]) for box, some in whole
    ]


def test_objects_outside_the_picture_are_no_prompts(describer):
    graph, _ = build_graph(PICTURE, (SIDE, SIDE))
    beside = np.concatenate([graph.boxes, np.float32([[2 * SIDE, 0, 5, 5]])])
    more = replace(graph, labels=(*graph.labels, "square"), boxes=beside, stuff=None)
    assert len(list(describer.describe_objects(IMAGE, graph=more))) == len(REGIONS)
    with pytest.raises(InputError, match="no object inside the picture"):
        list(describer.describe_objects(IMAGE, graph=replace(graph, boxes=graph.boxes + 2 * SIDE)))


def test_a_mask_source_makes_the_masks_once_for_each_box(folder):
    asked = []

    def corners(image, boxes):
        asked.extend(boxes)
        masks = np.zeros((len(boxes), *image.shape[:2]), np.bool_)
        for mask, (x, y, _, _) in zip(masks, np.array(boxes, int), strict=True):
            mask[y : y + 2, x : x + 2] = (x, y) != tuple(np.array(LEFT[:2], int))  # nothing is found in the left box
        return masks

    plain, other = load_describer(folder), Describer(load_describer(folder).model, masks=corners)
    given = {"box": LEFT, "regions": REGIONS, "relations": RELATIONS, "options": TWO}
    before, after = plain.describe(IMAGE, **given), other.describe(IMAGE, **given)
    assert [one.caption for one in after] == [one.caption for one in before]
    kept = [[(g.phrase, g.label) for g in one.groundings if g.label != REGIONS[0].label] for one in before]
    assert [[(g.phrase, g.label) for g in one.groundings] for one in after] == kept
    assert sum(map(len, kept))
    assert all(int(g.mask.sum()) == 4 for one in after for g in one.groundings)
    other.describe(IMAGE, **given)
    assert len(asked) == len(set(asked))
