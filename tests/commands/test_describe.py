"""`segue describe`: its files, its folders' pages and its refusals."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from pycocotools.coco import COCO

from methods.sgdiff.describing import IMAGE, LEFT, REGIONS, save_model, visual_genome, write_files
from methods.sgdiff.toys import SIDE, toy_model
from segue.api import Describer, load_describer
from segue.commands.describe import Prompt, _slug
from segue.data import rle
from segue.data.images import write_image, write_mask
from segue.methods.sgdiff.checkpoint import save
from segue.options import DescribeOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def describer(folder):
    return load_describer(folder)


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def test_what_is_in_a_box_can_be_named(segue, folder, describer, files):
    expected = describer.describe(IMAGE, box=LEFT, label="dog", options=DescribeOptions(num=2))
    args = ("describe", files / "7.png", "--model", folder, "--num", 2, "-o", files / "o", "--label", "dog")
    status, out, error = segue(*args, "--box", ",".join(str(v) for v in LEFT), "--json")
    assert status == 0, error
    assert [one["caption"] for one in json.loads(out)["prompts"][0]["captions"]] == [one.caption for one in expected]
    assert "--label: names what one place" in segue(*args, "--every")[2]


def test_the_command_writes_overlays_page_and_exports(segue, folder, files):
    box = ",".join(str(v) for v in LEFT)
    args = ("describe", files / "7.png", "--graph", files / "vg.json", "--model", folder, "--num", 2, "-o", files / "o")
    status, out, error = segue(*args, "--box", box, "--json", "--export", "coco", "grandf", "panoptic")
    assert status == 0, error
    (answer,) = json.loads(out)["prompts"]
    assert len(answer["captions"]) == 2
    assert answer["captions"][0]["groundings"][0]["area"] > 0
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


def test_every_object_of_every_picture_is_in_one_coco_file(segue, folder, describer, files, tmp_path):
    """As polygons and as run lengths, whose masks are those of the captions."""
    photos, graph = tmp_path / "photos", files / "g.json"
    photos.mkdir()
    shutil.copy(files / "7.png", photos / "7.png")
    shutil.copy(files / "7.png", photos / "8.png")
    circle = visual_genome() | {"image_id": 8, "objects": visual_genome()["objects"][1:], "relationships": []}
    graph.write_text(json.dumps([visual_genome(), circle]))
    args = ("describe", photos, "--every", "--graph", graph, "--model", folder, "--num", 2, "-o", tmp_path / "o")
    status, _, error = segue(*args, "--export", "coco", "coco-rle")
    assert status == 0, error
    assert sorted(p.name for p in (tmp_path / "o").glob("*.json")) == ["photos.coco-rle.json", "photos.coco.json"]
    expected = [
        list(describer.describe_objects(photos / f"{n}.png", graph=graph, options=DescribeOptions(num=2)))
        for n in (7, 8)
    ]
    for kind in ("coco", "coco-rle"):
        coco = read_coco(tmp_path / "o" / f"photos.{kind}.json")
        named = [(i, one["file_name"], one["height"], one["width"]) for i, one in coco.imgs.items()]
        assert named == [(1, "7.png", SIDE, SIDE), (2, "8.png", SIDE, SIDE)]
        assert [one["name"] for one in coco.cats.values()] == ["circle", "square"]
        for image_id, found in enumerate(expected, 1):
            captions = [caption for _, some in found for caption in some]
            texts = [c["caption"] for c in coco.dataset["captions"] if c["image_id"] == image_id]
            assert texts == [caption.caption for caption in captions]
            groundings = [one for caption in captions for one in caption.groundings if one.mask.any()]
            for one, true in zip(coco.loadAnns(coco.getAnnIds(imgIds=image_id)), groundings, strict=True):
                assert isinstance(one["segmentation"], list) == (kind == "coco")
                assert coco.cats[one["category_id"]]["name"] == true.label
                np.testing.assert_array_equal(coco.annToMask(one).astype(bool), true.mask)


def test_a_folders_pictures_never_get_the_only_graph_of_another_one(segue, folder, files, tmp_path):
    photos, graph = tmp_path / "photos", files / "g.json"
    photos.mkdir()
    shutil.copy(files / "7.png", photos / "7.png")
    shutil.copy(files / "7.png", photos / "8.png")
    graph.write_text(json.dumps(visual_genome() | {"image_id": 7}))
    args = ("--graph", graph, "--model", folder, "--num", 1, "-o", tmp_path / "o")
    status, _, error = segue("describe", photos, "--every", *args)
    assert status == 2
    assert "1 of 2 pictures could not be described" in error
    assert "no entry with the image_id 8" in error
    assert (tmp_path / "o" / "7.1.1.png").exists()
    assert not (tmp_path / "o" / "8.1.1.png").exists()
    status, _, error = segue("describe", photos / "8.png", "--every", *args)
    assert status == 0, error  # of one picture the only graph is meant


def test_a_name_that_is_no_text_is_refused(segue, folder, files, tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    shutil.copy(files / "7.png", tmp_path / name)
    for place, prompt in ((tmp_path / name, ("--box", "3,10,12,12", "--label", "square")), (tmp_path, ("--every",))):
        status, _, error = segue("describe", place, *prompt, "--model", folder, "-o", files / "o")
        assert status == 2
        assert "not UTF-8; rename this picture" in error


def test_a_file_in_the_place_of_the_folder_is_refused_before_the_work(segue, files, tmp_path):
    (tmp_path / "mine").write_text("mine")
    ask = ("describe", files / "7.png", "--box", "1,1,4,4", "--label", "dog", "--model", "none such")
    status, _, error = segue(*ask, "-o", tmp_path / "mine")
    assert (status, f"{tmp_path / 'mine'}: a file, expected a folder" in error) == (2, True)
    assert (tmp_path / "mine").read_text() == "mine"


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
        status, _, error = segue("describe", files / "7.png", *prompt, "--label", "square", "--model", folder)
        assert status == 0, error
    found = sorted(path.parent.name.partition("-it")[0] for path in Path("7.captions").rglob("7.html"))
    assert [name.partition("it-")[0] for name in found] == ["18,10,10,12", "3,10,12,12", "8,15-10,17", ""]
    long = " ".join(f"{i},{i}" for i in range(20))
    slugs = [_slug(Prompt(scribble=long)), _slug(Prompt(scribble=f"{long} 20,21")), _slug(Prompt(box="5,5,9,9"))]
    slugs += [
        _slug(Prompt(box="-5,5,9,9")),
        _slug(Prompt(mask=tmp_path / "a/it.png")),
        _slug(Prompt(mask=tmp_path / "it.png")),
    ]
    assert len(set(slugs)) == 6
    assert all(0 < len(slug) < 62 for slug in slugs)


def test_a_caption_without_masks_leaves_the_picture_its_size(segue, files):
    model = toy_model()
    model.caption_head.tags.bias.data[0] += 50  # no word is of a phrase
    save(model, files / "model")
    args = ("--box", "3,10,12,12", "--label", "square", "--model", files / "model", "-o", files / "o")
    status, _, error = segue("describe", files / "7.png", *args, "--export", "coco", "grandf")
    assert status == 0, error
    for kind in ("coco", "grandf"):
        made = json.loads((files / f"o/7.{kind}.json").read_text())
        assert made["annotations"] == []
        assert {(one["height"], one["width"]) for one in made["images"]} == {(SIDE, SIDE)}


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
    status, _, error = segue("describe", files / "7.png", "--graph", files / "vg.json", "--model", folder, *more)
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


def test_without_a_bundled_model_the_command_says_what_there_is(segue, files):
    status, _, error = segue("describe", files / "7.png", "--box", "1,1,5,5", "--model", "no-such-model")
    assert status == 2
    assert "neither a folder nor a bundled model" in error


def test_a_folder_gets_a_page_of_all_pictures_and_a_missing_graph_is_named(segue, folder, files, tmp_path):
    photos = tmp_path / "photos & co"
    photos.mkdir()
    shutil.copy(files / "7.png", photos)
    graph = files / "g.json"
    graph.write_text(json.dumps([visual_genome(), visual_genome() | {"image_id": 12}]))
    args = ("describe", photos, "--every", "--graph", graph, "--model", folder, "--num", 2, "-o", tmp_path / "o")
    status, out, error = segue(*args, "--json")
    assert status == 0, error
    assert "index.html" in error
    assert len(json.loads(out)["prompts"]) == len(REGIONS)
    shutil.copy(files / "7.png", photos / "lost.png")
    status, out, error = segue(*args)
    assert status == 2
    assert "1 of 2 pictures could not be described: lost.png: " in error
    page = (tmp_path / "o/index.html").read_text()
    assert page.count("<figure>") == len(REGIONS)
    assert "photos &amp; co" in page
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (tmp_path / "o" / unquote(name)).is_file()


def test_a_stopped_run_of_a_folder_resumes_and_ends_alike(segue, folder, files, tmp_path, monkeypatch):
    photos, graph = tmp_path / "photos", tmp_path / "vg.json"
    photos.mkdir()
    for name in ("7.png", "8.png", "9.png"):
        shutil.copy(files / "7.png", photos / name)
    graph.write_text(json.dumps([visual_genome() | {"image_id": number} for number in (7, 8, 9)]))
    asked, whole = [], Describer.describe_objects

    def describe_objects(self, image, **options):
        asked.append(len(asked))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return whole(self, image, **options)

    def run(out, *more):
        how = ("--graph", graph, "--model", folder, "--num", 2, "--export", "coco", "-o", out, "--json")
        return segue("describe", photos, "--every", *how, *more)

    status, at_once, error = run(tmp_path / "once")
    assert status == 0, error
    monkeypatch.setattr(Describer, "describe_objects", describe_objects)
    status, _, error = run(tmp_path / "twice")
    assert (status, error.splitlines()[-1]) == (130, "segue: stopped")
    status, out, error = run(tmp_path / "twice")
    assert status == 0, error
    assert len(asked) == 4  # two, the one that was stopped, and that one again
    assert out.endswith(at_once.replace("/once/", "/twice/"))  # before it is what was printed before the stop
    for name in ("index.html", "photos.coco.json", "9.2.html", "7.1.2.png"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_a_picture_unlike_those_of_the_training_is_told_and_refused_if_strict(
    segue, folder, files, tmp_path, monkeypatch
):
    photos, graph = tmp_path / "photos", tmp_path / "vg.json"
    photos.mkdir()
    shutil.copy(files / "7.png", photos / "7.png")
    write_image(255 - IMAGE, photos / "8.png")
    graph.write_text(json.dumps([visual_genome() | {"image_id": number} for number in (7, 8)]))
    ask = ("describe", photos, "--every", "--graph", graph, "--model", folder, "--json", "-o", tmp_path / "out")
    status, out, _ = segue(*ask)  # by a model that doesn't measure it
    assert (status, [json.loads(line)["domain_distance"] for line in out.splitlines()]) == (0, [None, None])
    shutil.rmtree(tmp_path / "out")
    far = {(255 - IMAGE).tobytes(): 2.0}
    monkeypatch.setattr(
        Describer, "measure_distances", lambda self, images: [far.get(image.tobytes(), 0.5) for image in images]
    )
    for _ in range(2):  # the second time from what is kept
        status, out, error = segue(*ask)
        rows = [json.loads(line) for line in out.splitlines()]
        assert [(row["domain_distance"], row["out_of_domain"]) for row in rows] == [(0.5, False), (2.0, True)]
        assert (status, error.count("8.png: unlike the pictures that the model learned from")) == (0, 1)
        page = (tmp_path / "out" / "index.html").read_text()
        assert page.count("unlike the pictures that the model learned from") == 1
    for out in ("out", "strict"):
        status, told, error = segue(*ask[:-1], tmp_path / out, "--strict")
        assert (status, len(told.splitlines())) == (2, 1)
        assert "1 of 2 pictures could not be described: 8.png: unlike the pictures" in error
    assert not list((tmp_path / "strict").glob("8*"))


def test_a_picture_is_described_again_only_if_something_has_changed(segue, folder, files, tmp_path, monkeypatch):
    photos, graph, out, model = tmp_path / "photos", tmp_path / "vg.json", tmp_path / "o", tmp_path / "model"
    photos.mkdir()
    shutil.copytree(folder, model)
    for name in ("7.png", "8.png"):
        shutil.copy(files / "7.png", photos / name)
    graph.write_text(json.dumps([visual_genome() | {"image_id": number} for number in (7, 8)]))
    asked, whole = [], Describer.describe_objects

    def describe_objects(self, image, **options):
        asked.append(image)
        if options["options"].seed == 9 and len(asked) > before + 1:
            raise KeyboardInterrupt
        return whole(self, image, **options)

    def again(*more, out=out, image=photos, status_expected=0):
        nonlocal before
        before = len(asked)
        args = ("describe", image, "--every", "--graph", graph, "--model", model, "--export", "coco", "-o", out, *more)
        status, _, error = segue(*args)
        assert status == status_expected, error
        return len(asked) - before

    before = 0
    monkeypatch.setattr(Describer, "describe_objects", describe_objects)
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
    again("--seed", 9, status_expected=130)  # has overwritten the files of 7.png, not yet those of 8.png
    assert again("--seed", 1) == 2  # 8.png's was begun
    again(image=photos / "7.png")
    assert again("--seed", 1) == 1


def test_a_folder_that_cannot_be_described_is_refused(segue, folder, files, tmp_path):
    status, _, error = segue("describe", files / "7.png", "--box", "1,1,5,5", "--label", "square", "-o", files)
    assert status == 2
    assert "captions would be written among the pictures" in error
    for more, message in (
        (("--box", "1,1,5,5"), "a folder of pictures takes --every"),
        (("--every", "-o", files), "captions would be written among the pictures"),
    ):
        status, _, error = segue("describe", files, "--model", folder, *more)
        assert status == 2
        assert message in error
    (tmp_path / "empty").mkdir()
    assert "no pictures there" in segue("describe", tmp_path / "empty", "--every", "--model", folder)[2]
    shutil.copy(files / "7.png", files / "7.jpg")
    assert "two pictures are called 7" in segue("describe", files, "--every", "--model", folder)[2]
