"""Which format a folder is in, and `segue data check`, `segue data show` and `segue bench data` on all of them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import coco, numbers, paint, put
from segue.data.formats import READERS, detect_format, get_format, read_pictures
from segue.data.formats.check import check_folder
from segue.types import InputError


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    put(path, found)


def codes(report, level="error"):
    return {(f.code, f.split, f.name) for f in report.findings if f.level == level}


@pytest.fixture
def root(tmp_path):
    return coco(tmp_path / "data")


def test_a_folder_of_no_known_format_hears_what_was_expected(tmp_path):
    with pytest.raises(InputError) as refusal:
        read_pictures(tmp_path, "train")
    assert all(get_format(name).expected in str(refusal.value) for name in READERS)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="no such folder"):
        detect_format(tmp_path / "none")
    with pytest.raises(InputError, match='expected "stop" or "skip"'):
        read_pictures(coco(tmp_path), "train", on_bad="pass")


def test_a_set_of_which_nothing_is_left_is_an_error(root):
    (root / "images/val2017/000000000140.jpg").unlink()
    with pytest.warns(UserWarning, match="1 things"), pytest.raises(InputError, match="no picture of val can be used"):
        read_pictures(root, "val", on_bad="skip")


def test_a_split_of_which_nothing_is_left_is_a_finding(root):
    (root / "images/val2017/000000000140.jpg").unlink()
    assert ("no-pictures", "val", "val") in codes(check_folder(root))


def test_figures_of_a_sound_folder(root):
    report = check_folder(root)
    assert report.ok
    assert codes(report, "warning") == {
        ("line-break", "train", "000000000139.jpg"),
        ("line-break", "val", "000000000140.jpg"),
    }
    assert report.stats["format"] == "coco"
    assert report.stats["splits"]["val"] == {
        "pictures": 1,
        "captions": 2,
        "regions": 5,
        "masks": 5,
        "crowds": 1,
        "label_maps": 1,
        "classes": 171,
        "sizes": {"12x8": 1},
    }


def test_everything_that_is_broken_is_named_at_once(root):
    annotations = root / "annotations"
    empty = np.zeros((8, 12), bool)

    def captions(found):
        found["annotations"][0]["caption"] = " "
        found["annotations"] += [{"image_id": 139, "caption": c} for c in ("twin", "twin", "word " * 80)]
        found["annotations"].append({"id": 9, "image_id": 1, "caption": "lost"})

    def instances(found):
        found["annotations"][0].update(bbox=[8, 0, 9, 9])
        found["annotations"][1].update(category_id=12)
        found["annotations"][2].update(segmentation={"size": [8, 12], "counts": [empty.size]}, bbox=[0, 0, 0, 0])

    edit(annotations / "captions_train2017.json", captions)
    edit(annotations / "instances_train2017.json", instances)
    numbers(root / "stuffthingmaps/train2017/000000000139.png", np.full((8, 12), 11))
    (root / "images/val2017/000000000140.jpg").write_bytes(b"")
    report = check_folder(root)
    name = "000000000139.jpg"
    assert codes(report) == {
        ("dangling-image", "train", "captions 9"),
        ("bad-annotation", "train", f"annotation 1 of {name}"),
        ("bad-annotation", "train", f"annotation 2 of {name}"),
        ("bad-caption", "train", f"caption 0 of {name}"),
        ("unreadable-picture", "train", name),
        ("unreadable-picture", "val", "000000000140.jpg"),
    }
    kinds = {code for code, split, _ in codes(report, "warning") if split == "train"}
    assert kinds == {"same-caption", "long-caption", "box-outside"}


@pytest.mark.parametrize("drawn", [True, False])
def test_an_orientation_beside_boxes_is_reported(root, drawn):
    """Sizes agree, so nothing looked wrong: the picture is turned upright by its EXIF, and the boxes were not."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (12, 8)).save(root / "images/train2017/000000000139.jpg", exif=exif)
    if not drawn:
        for path in ("annotations/instances_train2017.json", "annotations/panoptic_train2017.json"):
            (root / path).unlink(missing_ok=True)
        (root / "stuffthingmaps/train2017/000000000139.png").unlink()
    found = check_folder(root)
    assert (("turned", "train", "000000000139.jpg") in codes(found, "warning")) is drawn


def test_boxes_of_the_picture_as_it_is_stored_name_exif(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8)).save(root / "images/train2017/000000000139.jpg", exif=exif)
    (finding,) = [f for f in check_folder(root).findings if f.code == "unreadable-picture"]
    assert "8x12 pixels, its annotations say 12x8: those of the picture before its EXIF turned it?" in finding.message


def test_a_picture_in_two_splits_is_an_error_and_twins_in_one_a_warning(tmp_path):
    put(tmp_path / "classes.txt", "sky\n")
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        paint(tmp_path / split / f"images/{name}.png", colour=7)
        numbers(tmp_path / split / f"masks/{name}.png", np.zeros((8, 12)))
    report = check_folder(tmp_path)
    assert codes(report) == {("same-picture", "val", "c")}
    assert codes(report, "warning") == {("same-picture", "train", "b")}


def test_a_split_that_can_not_be_read_is_a_finding_and_the_others_are_checked(root):
    put(root / "annotations/captions_train2017.json", "{")
    report = check_folder(root)
    assert [f.code for f in report.findings if f.level == "error"] == ["layout"]
    assert list(report.stats["splits"]) == ["val"]


def test_the_commands(root, segue, tmp_path):
    status, out, _ = segue("data", "check", root)
    assert status == 0
    assert "train  pictures 1, captions 2" in out
    status, out, _ = segue("data", "check", root, "--json")
    assert json.loads(out)["ok"]
    status, _, _ = segue("data", "show", root, "-o", tmp_path / "sheet.png", "--split", "val")
    assert status == 0
    assert Image.open(tmp_path / "sheet.png").size[0] > 100
    (root / "images/val2017/000000000140.jpg").write_bytes(b"")
    assert segue("data", "check", root)[0] == 1
    status, _, err = segue("data", "check", tmp_path / "none")
    assert (status, err.count("\n")) == (2, 1)


def test_a_file_of_captions_is_checked_too(segue, tmp_path):
    path = put(tmp_path / "a.txt", f"a dog\na dog\n\n{'word ' * 80}\n")
    status, out, _ = segue("data", "check", path, "--json")
    stats = json.loads(out)["stats"]["text"]
    assert (status, stats) == (0, {"captions": 3, "distinct": 2, "median_words": 2, "longest": 80, "truncated": 1})
    put(path, b"a dog\n\xff\n")
    status, out, _ = segue("data", "check", path)
    assert status == 1
    assert "a.txt: line 2: not UTF-8" in out
    put(path, b"\n")
    assert segue("data", "check", path)[0] == 1
    assert segue("data", "check", put(tmp_path / "a.doc", "x"))[0] == 2


def test_the_sheet_shows_masks_boxes_and_label_maps(root, tmp_path):
    from segue.data.visualize import contact_sheet

    (picture,) = read_pictures(root, "train").pictures
    nothing = replace(picture, regions=(), relations=(), phrases=(), label_map=None)
    bare = contact_sheet([nothing], tile=64, columns=1).astype(int)
    drawn = contact_sheet([picture], tile=64, columns=1).astype(int)
    changed = np.abs(drawn - bare).sum(-1)[:84, :84] > 60
    assert 50 < changed.sum() < 64 * 64


def test_bench_of_a_folder_and_of_drawn_scenes(root, segue, monkeypatch):
    status, out, _ = segue("lab", "bench", "data", "--json", "--folder", root)
    figures = json.loads(out)
    assert status == 0
    assert figures["drawn_per_s"] is None
    assert figures["read_per_s"] > 0
    assert figures["decoded_per_s"] > 0
    drawing = ModuleType("write")
    drawing.make_scenes = lambda out, *, seed, train, val, test, size, style: coco(out)
    monkeypatch.setitem(sys.modules, "segue.synthetic.scenes.writer", drawing)
    status, out, _ = segue("lab", "bench", "data", "--json", "--pictures", 3)
    assert status == 0
    assert {"drawn_per_s", "read_per_s", "decoded_per_s"} <= json.loads(out).keys()
    assert json.loads(out)["drawn_per_s"] > 0


def test_the_page_on_formats_names_them_all():
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    assert [name for name in READERS if f"| `{name}` |" not in page] == []


def test_boxes_outside_are_told_also_where_no_file_has_the_pictures_sizes(tmp_path):
    paint(tmp_path / "JPEGImages/a.jpg")
    put(tmp_path / "ImageSets/Segmentation/train.txt", "a\n")
    numbers(tmp_path / "SegmentationClass/a.png", np.zeros((8, 12)))
    box = "<bndbox><xmin>50</xmin><ymin>3</ymin><xmax>60</xmax><ymax>8</ymax></bndbox>"
    put(tmp_path / "Annotations/a.xml", f"<annotation><object><name>dog</name>{box}</object></annotation>")
    assert codes(check_folder(tmp_path), "warning") == {("box-outside", "train", "a")}


def test_boxes_in_fractions_are_told(root):
    def change(found):
        found["annotations"][0].update(bbox=[0.1, 0.2, 0.5, 0.5])

    edit(root / "annotations/instances_train2017.json", change)
    assert ("tiny-box", "train", "000000000139.jpg") in codes(check_folder(root), "warning")


def test_pictures_of_kinds_that_are_not_read_are_told(root):
    Image.new("L", (9, 9)).save(root / "images/val2017/moving.gif")
    assert ("unread-picture", "", "moving.gif") in codes(check_folder(root), "warning")
