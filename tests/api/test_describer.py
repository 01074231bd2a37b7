import contextlib
import io
import json
import pathlib
import re
import shutil
import warnings
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from pycocotools.coco import COCO

import segue as package
from methods.sgdiff.toys import SIDE, toy_example, toy_model
from segue.api import Describer, load_describer
from segue.commands.describe import Asked, _slug
from segue.data import rle
from segue.data.formats import scene_graph
from segue.data.images import write_image, write_mask
from segue.methods.sgdiff.checkpoint import save
from segue.methods.sgdiff.graph import graph_of
from segue.methods.sgdiff.inference import explain_all
from segue.types import InputError, Relation

IMAGE, PICTURE, _ = toy_example()
REGIONS, RELATIONS = PICTURE.regions, PICTURE.relations
LEFT = REGIONS[0].box


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network that is not trained, whose words all begin phrases and whose masks fill their boxes."""
    model = toy_model()
    model.head.tags.bias.data[1] += 50
    model.masks.embed[-1].bias.data[-1] += 50
    path = tmp_path_factory.mktemp("models") / "toy"
    save(model, path)
    return path


@pytest.fixture
def explainer(folder):
    return load_describer(folder)


def visual_genome():
    boxes = [dict(zip("xywh", region.box, strict=True)) for region in REGIONS]
    objects = [
        {"object_id": 10 + i, "names": [r.label]} | b for i, (r, b) in enumerate(zip(REGIONS, boxes, strict=True))
    ]
    edges = [{"subject_id": 10 + r.subject, "predicate": r.predicate, "object_id": 10 + r.object} for r in RELATIONS]
    return {"image_id": 7, "objects": objects, "relationships": edges}


def coco():
    marks = [
        {"id": i, "image_id": 7, "category_id": i, "bbox": list(r.box), "segmentation": rle.to_json(r.mask)}
        for i, r in enumerate(REGIONS)
    ]
    categories = [{"id": i, "name": r.label} for i, r in enumerate(REGIONS)]
    images = [{"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in (6, 7)]
    return {"images": images, "annotations": marks, "categories": categories}


@pytest.fixture
def files(tmp_path):
    write_image(IMAGE, tmp_path / "7.png")
    (tmp_path / "vg.json").write_text(json.dumps([visual_genome(), {"image_id": 8, "objects": []}]))
    (tmp_path / "coco.json").write_text(json.dumps(coco()))
    return tmp_path


def told(stories):
    return [(s.caption, round(s.score, 5), [(x.phrase, x.label, int(x.mask.sum())) for x in s.links]) for s in stories]


def test_a_graph_is_a_graph_however_it_is_given(explainer, files):
    graph, _ = graph_of(PICTURE, (SIDE, SIDE))
    first = explainer.explain(IMAGE, box=LEFT, graph=graph, top=3)
    assert len(first) == 3
    assert all(link.mask.shape == (SIDE, SIDE) for story in first for link in story.links)
    assert {link.label for story in first for link in story.links} <= {"square", "circle"}
    assert first[0].links
    given = {"regions": REGIONS, "relations": RELATIONS}
    assert told(first) == told(explainer.explain(IMAGE, box=LEFT, top=3, **given))
    assert told(first) == told(explainer.explain(files / "7.png", box=LEFT, graph=files / "vg.json", top=3))
    spatial = explainer.explain(IMAGE, box=LEFT, regions=REGIONS, top=3)
    assert told(spatial) == told(explainer.explain(files / "7.png", box=LEFT, graph=str(files / "coco.json"), top=3))


def test_prompts_of_every_kind(explainer):
    x, y, w, h = LEFT
    for prompt in ({"point": (x + w / 2, y + h / 2)}, {"mask": rle.decode(REGIONS[0].mask)}, {"scribble": [(x, y)]}):
        assert len(explainer.explain(IMAGE, **prompt, regions=REGIONS, top=2)) == 2
    every = explainer.explain_every(IMAGE, regions=REGIONS, top=2)
    assert [box for box, _ in every] == [region.box for region in REGIONS]
    assert told(every[0][1]) == told(explainer.explain(IMAGE, box=LEFT, regions=REGIONS, top=2))


def test_every_object_is_told_a_few_at_a_time(explainer, monkeypatch):
    at_once = explainer.explain_every(IMAGE, regions=REGIONS, temperature=1.0, seed=3)
    monkeypatch.setattr("segue.api.describer.TOGETHER", 1)
    outside = replace(REGIONS[0], box=(200.0, 0.0, 5.0, 5.0))
    one_by_one = explainer.explain_every(IMAGE, regions=(*REGIONS, outside), temperature=1.0, seed=3)
    assert [(box, told(stories)) for box, stories in at_once] == [(box, told(stories)) for box, stories in one_by_one]


def test_a_detectors_features_are_left_out_where_the_model_takes_none(explainer):
    graph = replace(graph_of(PICTURE, (SIDE, SIDE))[0], features=np.ones((2, 8), np.float32))
    assert explainer.explain(IMAGE, box=LEFT, graph=graph, top=1)


def test_a_picture_is_encoded_once_and_the_oldest_is_forgotten(explainer):
    calls = []
    explainer.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    for box in (LEFT, REGIONS[1].box):
        explainer.explain(IMAGE.copy(), box=box, regions=REGIONS, top=1)
    assert len(calls) == 1
    for i in range(6):
        explainer.explain(np.roll(IMAGE, i + 1), box=LEFT, regions=REGIONS, top=1)
    assert len(calls) == 7
    explainer.explain(IMAGE, box=LEFT, regions=REGIONS, top=1)
    assert len(calls) == 8
    assert len(explainer._seen) == 4


def test_load_finds_the_method(folder):
    assert isinstance(package.load(folder), Describer)


def test_what_is_around_a_place_can_be_named(explainer, segue, folder, files):
    mask = rle.decode(REGIONS[0].mask)
    named = [
        explainer.explain(IMAGE, box=LEFT, label="dog", top=2),
        explainer.explain(IMAGE, mask=mask, label="dog", top=2),
    ]
    alone = [replace(REGIONS[0], label="dog", mask=None)]
    expected = explainer.explain(IMAGE, box=LEFT, regions=alone, top=2)
    assert told(named[0]) == told(expected)
    assert len(named[1]) == 2
    box = ",".join(str(v) for v in LEFT)
    args = ("explain", files / "7.png", "--model", folder, "--top", 2, "-o", files / "o", "--label", "dog")
    status, out, error = segue(*args, "--box", box, "--json")
    assert status == 0, error
    assert [one["caption"] for one in json.loads(out)["prompts"][0]["stories"]] == [one.caption for one in expected]
    assert "--label: names what one place" in segue(*args, "--every")[2]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"box": LEFT}, "no scene graph.*--graph .*--detector"),
        ({"box": (200, 0, 5, 5), "regions": REGIONS}, "outside the picture of 32x32"),
        ({"box": (3, 3, 0, 5), "regions": REGIONS}, "an empty box"),
        ({"box": LEFT, "regions": ()}, "a picture without any object"),
        ({"box": LEFT, "regions": REGIONS, "relations": [Relation(0, "on", 9)]}, "points outside its 2 regions"),
        ({"box": LEFT, "regions": REGIONS, "length": 0}, "length: got 0"),
        ({"box": LEFT, "regions": REGIONS, "include": ("zebra",)}, "zebra is outside"),
        ({"box": LEFT, "regions": REGIONS, "graph": "x.json"}, "both graph and regions"),
        ({"box": LEFT, "relations": RELATIONS}, "got relations without regions"),
        ({"regions": REGIONS}, "prompt: got nothing"),
        ({"box": LEFT, "regions": REGIONS, "label": "dog"}, "label: names what a box"),
        ({"point": (4, 4), "label": "dog"}, "label: names what a box"),
        ({"box": (3, 3, 0, 5), "label": "dog"}, "an empty box"),
        ({"box": ("a", "b", "c", "d"), "regions": REGIONS}, "expected four numbers"),
        ({"box": (1, 2, 3, None), "regions": REGIONS}, "expected four numbers"),
        ({"box": LEFT, "regions": REGIONS, "length": 2.5}, "length: got 2.5, expected a whole number"),
        ({"box": LEFT, "regions": REGIONS, "top": 2.0}, "top: got 2.0, expected a whole number"),
        ({"box": LEFT, "regions": REGIONS, "include": "dog"}, "include: got one text 'dog', expected a list"),
        ({"regions": REGIONS, "scribble": [(1, 2), (3,)]}, "expected one or more points"),
    ],
)
def test_bad_requests_are_refused(explainer, request_, message):
    with pytest.raises(InputError, match=message):
        explainer.explain(IMAGE, **request_)


def test_bad_graph_files_are_refused(explainer, files):
    dangling, strange, small = visual_genome(), {"image_id": 7, "objects": [{"x": 1}]}, coco()
    narrow, nowhere, twice = visual_genome(), visual_genome(), visual_genome()
    narrow["objects"][0]["w"] = -5
    nowhere["objects"][1]["x"] = float("nan")
    twice["objects"][1]["object_id"] = 10
    dangling["relationships"][0]["object_id"] = 99
    small["images"][1]["width"] = 640
    for value, message in (
        (dangling, "dangling edge, 'left of' names the object 99"),
        (strange, "not laid out as expected"),
        (narrow, "object 10 has the box x .* w -5"),
        (nowhere, "object 11 has the box x nan"),
        (twice, "the object 10 is there twice, with two boxes"),
        (small, "of a picture of 640x32 pixels, this one has 32x32"),
        ([{"image_id": 1}, {"image_id": 2}], "no entry with the image_id 7"),
        (3, "not laid out as expected"),
    ):
        (files / "g.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match=message):
            explainer.explain(files / "7.png", box=LEFT, graph=files / "g.json")
    with pytest.raises(InputError, match="can't be read as JSON"):
        explainer.explain(files / "7.png", box=LEFT, graph=files / "missing.json")


def test_the_command_writes_overlays_page_and_exports(segue, folder, files):
    box = ",".join(str(v) for v in LEFT)
    args = ("explain", files / "7.png", "--graph", files / "vg.json", "--model", folder, "--top", 2, "-o", files / "o")
    status, out, error = segue(*args, "--box", box, "--json", "--export", "coco", "grandf", "panoptic")
    assert status == 0, error
    (answer,) = json.loads(out)["prompts"]
    assert len(answer["stories"]) == 2
    assert answer["stories"][0]["links"][0]["area"] > 0
    made = {path.name for path in (files / "o").iterdir()}
    assert {"7.1.png", "7.2.png", "7.html", "7.coco.json", "7.grandf.json", "7.panoptic.json"} <= made
    assert {path.rpartition("/")[2] for path in answer["files"]} == made
    exported = json.loads((files / "o/7.coco.json").read_text())
    assert exported["images"][0]["file_name"] == "7.png"
    assert isinstance(exported["annotations"][0]["segmentation"], list)  # polygons
    page = (files / "o" / "7.html").read_text()
    assert "mouseenter" in page
    assert 'data-lights="s0-' in page
    write_mask(rle.decode(REGIONS[1].mask), files / "m.png")
    for prompt in (("--point", "9,16"), ("--scribble", "8,15 10,17"), ("--mask", files / "m.png"), ("--every",)):
        status, out, error = segue(*args, *prompt)
        assert status == 0, error
        assert "7.html" in out or "7.1.html" in out


def read_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_every_object_of_every_picture_is_in_one_coco_file(segue, folder, explainer, files, tmp_path):
    """As polygons and as run lengths, whose masks are those of the stories; a picture without any mask has its size."""
    photos, graph = tmp_path / "photos", files / "g.json"
    photos.mkdir()
    shutil.copy(files / "7.png", photos / "7.png")
    shutil.copy(files / "7.png", photos / "8.png")
    circle = visual_genome() | {"image_id": 8, "objects": visual_genome()["objects"][1:], "relationships": []}
    graph.write_text(json.dumps([visual_genome(), circle]))
    args = ("explain", photos, "--every", "--graph", graph, "--model", folder, "--top", 2, "-o", tmp_path / "o")
    status, _, error = segue(*args, "--export", "coco", "coco-rle")
    assert status == 0, error
    assert sorted(p.name for p in (tmp_path / "o").glob("*.json")) == ["photos.coco-rle.json", "photos.coco.json"]
    expected = [explainer.explain_every(photos / f"{n}.png", graph=graph, top=2) for n in (7, 8)]
    for kind in ("coco", "coco-rle"):
        coco = read_coco(tmp_path / "o" / f"photos.{kind}.json")
        named = [(i, one["file_name"], one["height"], one["width"]) for i, one in coco.imgs.items()]
        assert named == [(1, "7.png", SIDE, SIDE), (2, "8.png", SIDE, SIDE)]
        assert [one["name"] for one in coco.cats.values()] == ["circle", "square"]
        for image_id, found in enumerate(expected, 1):
            stories = [story for _, stories in found for story in stories]
            captions = [c["caption"] for c in coco.dataset["captions"] if c["image_id"] == image_id]
            assert captions == [story.caption for story in stories]
            links = [link for story in stories for link in story.links if link.mask.any()]
            for one, link in zip(coco.loadAnns(coco.getAnnIds(imgIds=image_id)), links, strict=True):
                assert isinstance(one["segmentation"], list) == (kind == "coco")
                assert coco.cats[one["category_id"]]["name"] == link.label
                np.testing.assert_array_equal(coco.annToMask(one).astype(bool), link.mask)


def test_a_folders_pictures_never_get_the_only_graph_of_another_one(segue, folder, files, tmp_path):
    photos, graph = tmp_path / "photos", files / "g.json"
    photos.mkdir()
    shutil.copy(files / "7.png", photos / "7.png")
    shutil.copy(files / "7.png", photos / "8.png")
    graph.write_text(json.dumps(visual_genome() | {"image_id": 7}))
    args = ("--graph", graph, "--model", folder, "--top", 1, "-o", tmp_path / "o")
    status, _, error = segue("explain", photos, "--every", *args)
    assert status == 2
    assert "1 of 2 pictures could not be explained" in error
    assert "no entry with the image_id 8" in error
    assert (tmp_path / "o" / "7.1.1.png").exists()
    assert not (tmp_path / "o" / "8.1.1.png").exists()
    status, _, error = segue("explain", photos / "8.png", "--every", *args)
    assert status == 0, error  # of one picture the only graph is meant


def test_a_picture_that_a_graph_file_has_twice_is_refused(tmp_path):
    one = {"image_id": 7, "objects": [{"object_id": 1, "x": 1, "y": 1, "w": 5, "h": 5, "names": ["cup"]}]}
    (tmp_path / "vg.json").write_text(json.dumps([one, one, one | {"image_id": 8}]))
    images = [{"id": i, "file_name": f"{place}/7.png", "width": 9, "height": 9} for i, place in enumerate("ab")]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    for file in ("vg.json", "coco.json"):
        with pytest.raises(InputError, match=r"7(\.png)? is there twice, and one may be another picture's"):
            scene_graph.read_graph(tmp_path / file, "7.png", (9, 9))
    assert len(scene_graph.read_graph(tmp_path / "vg.json", "8.png", (9, 9))[0]) == 1


def test_a_graph_of_another_layout_or_turned_is_told_so(explainer, files, tmp_path):
    for layout in ({"image_id": 7, "regions": []}, [{"image_id": 7, "attributes": []}]):
        (tmp_path / "g.json").write_text(json.dumps(layout))
        with pytest.raises(InputError, match=r"expected Visual Genome's \{image_id, objects"):
            scene_graph.read_graph(tmp_path / "g.json", "7.png", (9, 9))
    (tmp_path / "g.json").write_text(json.dumps({"image_id": 7, "width": 8, "height": 9, "objects": []}))
    with pytest.raises(InputError, match="one of the picture as its EXIF turns it"):
        scene_graph.read_graph(tmp_path / "g.json", "7.png", (9, 8))
    with pytest.raises(InputError, match="an array has no name to be found there by"):
        explainer.explain(IMAGE, box=LEFT, graph=files / "vg.json")
    with pytest.raises(InputError, match="in which there is no word"):
        explainer.explain(IMAGE, box=LEFT, regions=REGIONS, include=["!!!"])


def test_a_graph_file_is_read_once_until_it_changes(explainer, files, monkeypatch):
    reads = []

    def read(path, whole=scene_graph.read_json):
        reads.append(path)
        return whole(path)

    monkeypatch.setattr(scene_graph, "read_json", read)
    graph = files / "often.json"
    graph.write_text(json.dumps(visual_genome()))
    for _ in range(3):
        explainer.explain(files / "7.png", box=LEFT, graph=graph, top=1)
    assert len(reads) == 1
    graph.write_text(json.dumps(visual_genome() | {"objects": []}, indent=1))
    with pytest.raises(InputError):
        explainer.explain(files / "7.png", box=LEFT, graph=graph, top=1)
    assert len(reads) == 2


def test_an_accent_may_be_written_in_two_ways(tmp_path):
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    images = [{"id": 1, "file_name": composed}, {"id": 2, "file_name": "8.png"}]
    marks = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    made = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "g.json").write_text(json.dumps(made))
    for name in (composed, apart):
        assert scene_graph.read_graph(tmp_path / "g.json", name, (9, 9))[0][0].box == (1, 2, 3, 4)


def test_a_name_that_is_no_text_is_refused(segue, folder, files, tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    shutil.copy(files / "7.png", tmp_path / name)
    for place, prompt in ((tmp_path / name, ("--box", "3,10,12,12", "--label", "square")), (tmp_path, ("--every",))):
        status, _, error = segue("explain", place, *prompt, "--model", folder, "-o", files / "o")
        assert status == 2
        assert "not UTF-8; rename this picture" in error


def test_classes_count_in_any_case_of_letters_and_unknown_ones_are_told(explainer):
    lexicon = explainer.model.lexicon
    assert lexicon.class_number(" Square") == lexicon.class_number("square") > 0
    with pytest.warns(UserWarning, match="this model doesn't know dragon: unknown objects to it, 1 of 1"):
        explainer.explain(IMAGE, box=LEFT, label="dragon", top=1)


def test_a_graph_of_unknown_classes_and_a_place_without_objects_are_told(explainer):
    strange = [replace(region, label="dragon") for region in REGIONS]
    with pytest.warns(UserWarning, match="this model doesn't know dragon: unknown objects to it, 2 of 2"):
        explainer.explain(IMAGE, box=LEFT, regions=strange, top=1)
    with pytest.warns(UserWarning, match=r"no known object is at this place: .* nearest, square at"):
        explainer.explain(IMAGE, box=(0, 0, 2, 2), regions=REGIONS, top=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        explainer.explain(IMAGE, box=LEFT, regions=REGIONS, top=1)


def test_each_prompt_has_a_folder_of_its_own(segue, folder, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask = np.zeros(IMAGE.shape[:2], bool)
    mask[10:20, 3:15] = True
    write_mask(mask, files / "it.png")
    prompts = (
        ("--box", "3,10,12,12"),
        ("--box", "18,10,10,12"),
        ("--scribble", "8,15 10,17"),
        ("--mask", files / "it.png"),
    )
    for prompt in prompts:
        status, _, error = segue("explain", files / "7.png", *prompt, "--label", "square", "--model", folder)
        assert status == 0, error
    found = sorted(path.parent.name.partition("-it")[0] for path in pathlib.Path("7.stories").rglob("7.html"))
    assert [name.partition("it-")[0] for name in found] == ["18,10,10,12", "3,10,12,12", "8,15-10,17", ""]
    long = " ".join(f"{i},{i}" for i in range(20))
    slugs = [_slug(Asked(scribble=long)), _slug(Asked(scribble=f"{long} 20,21")), _slug(Asked(box="5,5,9,9"))]
    slugs += [
        _slug(Asked(box="-5,5,9,9")),
        _slug(Asked(mask=tmp_path / "a/it.png")),
        _slug(Asked(mask=tmp_path / "it.png")),
    ]
    assert len(set(slugs)) == 6
    assert all(0 < len(slug) < 62 for slug in slugs)


def test_objects_of_a_large_picture_are_told_a_few_at_a_time(explainer, monkeypatch):
    whole = explainer.explain_every(IMAGE, regions=REGIONS, top=2)
    batches = []

    def tell(model, encoded, graph, boxes, *, whole=explain_all, **options):
        batches.append(len(boxes))
        return whole(model, encoded, graph, boxes, **options)

    monkeypatch.setattr("segue.api.describer.ROOM", 1)
    monkeypatch.setattr("segue.api.describer.explain_all", tell)
    one_by_one = list(explainer.each_object(IMAGE, regions=REGIONS, top=2))
    assert batches == [1] * len(REGIONS)
    assert [(box, [s.caption for s in some]) for box, some in one_by_one] == [
        (box, [s.caption for s in some]) for box, some in whole
    ]


def test_objects_outside_the_picture_are_no_prompts(explainer):
    graph, _ = graph_of(PICTURE, (SIDE, SIDE))
    beside = np.concatenate([graph.boxes, np.float32([[2 * SIDE, 0, 5, 5]])])
    more = replace(graph, labels=(*graph.labels, "square"), boxes=beside, stuff=None)
    assert len(explainer.explain_every(IMAGE, graph=more)) == len(REGIONS)
    with pytest.raises(InputError, match="no object inside the picture"):
        explainer.explain_every(IMAGE, graph=replace(graph, boxes=graph.boxes + 2 * SIDE))


def test_a_story_without_masks_leaves_the_picture_its_size(segue, files):
    silent = toy_model()
    silent.head.tags.bias.data[0] += 50  # no word is of a phrase
    save(silent, files / "silent")
    args = ("--box", "3,10,12,12", "--label", "square", "--model", files / "silent", "-o", files / "o")
    status, _, error = segue("explain", files / "7.png", *args, "--export", "coco", "grandf")
    assert status == 0, error
    for kind in ("coco", "grandf"):
        told = json.loads((files / f"o/7.{kind}.json").read_text())
        assert told["annotations"] == []
        assert {(one["height"], one["width"]) for one in told["images"]} == {(SIDE, SIDE)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "prompt: got nothing, expected one of --box"),
        (("--box", "1,2,3"), "expected x,y,w,h"),
        (("--box", "a,b,c,d"), "expected x,y,w,h"),
        (("--box", "1,1,5,5", "--every"), "got --box, --every"),
        (("--box", "90,90,5,5"), "outside the picture"),
        (("--point", "40,16"), "outside the picture"),
        (("--box", "3,3,9,9", "--length", "0"), "length: got 0"),
        (("--box", "3,3,9,9", "--include", "zebra"), "zebra is outside"),
    ],
)
def test_the_command_refuses_in_one_line(segue, folder, files, more, message):
    status, _, error = segue("explain", files / "7.png", "--graph", files / "vg.json", "--model", folder, *more)
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


def test_without_a_bundled_model_the_command_says_what_there_is(segue, files):
    status, _, error = segue("explain", files / "7.png", "--box", "1,1,5,5", "--model", "no-such-model")
    assert status == 2
    assert "neither a folder nor a bundled model" in error


def test_a_folder_gets_a_page_of_all_pictures_and_tells_whose_graph_is_missing(segue, folder, files, tmp_path):
    photos = tmp_path / "photos & co"
    photos.mkdir()
    shutil.copy(files / "7.png", photos)
    graph = files / "g.json"
    graph.write_text(json.dumps([visual_genome(), visual_genome() | {"image_id": 12}]))
    args = ("explain", photos, "--every", "--graph", graph, "--model", folder, "--top", 2, "-o", tmp_path / "o")
    status, out, error = segue(*args, "--json")
    assert status == 0, error
    assert "index.html" in error
    assert len(json.loads(out)["prompts"]) == len(REGIONS)
    shutil.copy(files / "7.png", photos / "lost.png")
    status, out, error = segue(*args)
    assert status == 2
    assert "1 of 2 pictures could not be explained: lost.png: " in error
    page = (tmp_path / "o/index.html").read_text()
    assert page.count("<figure>") == len(REGIONS)
    assert "photos &amp; co" in page
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (tmp_path / "o" / unquote(name)).is_file()


def test_a_stopped_run_of_a_folder_goes_on_and_ends_alike(segue, folder, files, tmp_path, monkeypatch):
    photos, graph = tmp_path / "photos", tmp_path / "vg.json"
    photos.mkdir()
    for name in ("7.png", "8.png", "9.png"):
        shutil.copy(files / "7.png", photos / name)
    graph.write_text(json.dumps([visual_genome() | {"image_id": number} for number in (7, 8, 9)]))
    asked, whole = [], Describer.each_object

    def tell(self, image, **options):
        asked.append(len(asked))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return whole(self, image, **options)

    def run(out, *more):
        how = ("--graph", graph, "--model", folder, "--top", 2, "--export", "coco", "-o", out, "--json")
        return segue("explain", photos, "--every", *how, *more)

    status, at_once, error = run(tmp_path / "once")
    assert status == 0, error
    monkeypatch.setattr(Describer, "each_object", tell)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "twice")
    status, told, error = run(tmp_path / "twice")
    assert status == 0, error
    assert len(asked) == 4  # two, the one that was stopped, and that one again
    assert told.endswith(at_once.replace("/once/", "/twice/"))  # before it stands what was told before the stop
    for name in ("index.html", "photos.coco.json", "9.2.html", "7.1.2.png"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_what_was_told_is_told_again_only_if_something_has_changed(segue, folder, files, tmp_path, monkeypatch):
    photos, graph, out, model = tmp_path / "photos", tmp_path / "vg.json", tmp_path / "o", tmp_path / "model"
    photos.mkdir()
    shutil.copytree(folder, model)
    for name in ("7.png", "8.png"):
        shutil.copy(files / "7.png", photos / name)
    graph.write_text(json.dumps([visual_genome() | {"image_id": number} for number in (7, 8)]))
    asked, whole = [], Describer.each_object

    def tell(self, image, **options):
        asked.append(image)
        if options["seed"] == 9 and len(asked) > before + 1:
            raise KeyboardInterrupt
        return whole(self, image, **options)

    def again(*more, out=out, image=photos):
        nonlocal before
        before = len(asked)
        args = ("explain", image, "--every", "--graph", graph, "--model", model, "--export", "coco", "-o", out, *more)
        status, _, error = segue(*args)
        assert status == 0, error
        return len(asked) - before

    before = 0
    monkeypatch.setattr(Describer, "each_object", tell)
    assert (again(), again()) == (2, 0)
    monkeypatch.chdir(tmp_path)
    shutil.move(out, tmp_path / "moved")
    assert again(out="moved") == 0
    shutil.move(tmp_path / "moved", out)
    (out / "8.1.html").unlink()
    assert again() == 1
    assert again("--seed", 1) == 2
    write_image(255 - IMAGE, photos / "8.png")
    assert again("--seed", 1) == 1
    graph.write_text(json.dumps([visual_genome() | {"image_id": number, "width": 32} for number in (7, 8)]))
    assert again("--seed", 1) == 2
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    assert (again("--seed", 1), again("--seed", 1)) == (2, 0)
    with pytest.raises(KeyboardInterrupt):
        again("--seed", 9)  # has overwritten the files of 7.png, not yet those of 8.png
    assert again("--seed", 1) == 2  # 8.png's was begun
    again(image=photos / "7.png")
    assert again("--seed", 1) == 1


def test_a_folder_that_cannot_be_explained_is_refused(segue, folder, files, tmp_path):
    status, _, error = segue("explain", files / "7.png", "--box", "1,1,5,5", "--label", "square", "-o", files)
    assert status == 2
    assert "stories would be written among the pictures" in error
    for more, message in (
        (("--box", "1,1,5,5"), "a folder of pictures takes --every"),
        (("--every", "-o", files), "stories would be written among the pictures"),
    ):
        status, _, error = segue("explain", files, "--model", folder, *more)
        assert status == 2
        assert message in error
    (tmp_path / "empty").mkdir()
    assert "no pictures there" in segue("explain", tmp_path / "empty", "--every", "--model", folder)[2]
    shutil.copy(files / "7.png", files / "7.jpg")
    assert "two pictures are called 7" in segue("explain", files, "--every", "--model", folder)[2]
