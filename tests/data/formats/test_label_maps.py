"""Data sets of pictures and index PNGs: which number stands for which class."""

import json
import pickle

import numpy as np
import pytest

from data.formats.true_formats import numbers, paint, put
from segue.data.formats import check_pictures, detect_format, pascal, read_pictures
from segue.data.images import read_index
from segue.types import InputError


def grid(*values):
    return np.resize(values, (8, 12))


def first(found):
    return found.pictures[0].label_map().ravel()


@pytest.fixture
def ade(tmp_path):
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        paint(tmp_path / f"ADEChallengeData2016/images/{split}/{name}.jpg")
        numbers(tmp_path / f"ADEChallengeData2016/annotations/{split}/{name}.png", grid(0, 1, 150))
    known = {"dataset_id": "ADE20k", "image_id": "ADE_train_00000001", "annotator_id": 1}
    narratives = [known | {"caption": c} for c in "ab"]
    put(tmp_path / "ade20k_train_localized_narratives.jsonl", "".join(json.dumps(t) + "\n" for t in narratives))
    return tmp_path


def test_ade20k_ignores_0_and_moves_the_others_down(ade):
    assert detect_format(ade) == ("ade20k", ("train", "val"))
    found = read_pictures(ade, "train")
    assert first(found)[:3].tolist() == [255, 0, 149]
    assert (found.classes[0], found.classes[149]) == ("wall", "flag")
    assert found.pictures[0].captions == ("a", "b")
    assert read_pictures(ade, "val").pictures[0].captions == ()


def test_hidden_files_beside_the_pictures_are_passed_over(ade):
    put(ade / "ADEChallengeData2016/images/training/._ADE_train_00000001.jpg", b"\x00\x05\x16\x07")
    assert [p.name for p in read_pictures(ade, "train").pictures] == ["ADE_train_00000001"]


def test_ade20k_tells_other_values_and_broken_narratives(ade):
    numbers(ade / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png", grid(0, 151))
    with pytest.raises(InputError, match="the values 151 stand for no class"):
        check_pictures(read_pictures(ade, "train"))
    put(ade / "ade20k_train_localized_narratives.jsonl", '{"image_id": "ADE_train_00000009", "caption": "x"}\n')
    with pytest.raises(InputError, match="a narrative of a picture that is not there"):
        read_pictures(ade, "train")
    put(ade / "ade20k_train_localized_narratives.jsonl", "\n{")
    with pytest.raises(InputError, match="line 1"):
        read_pictures(ade, "train")


@pytest.fixture
def voc(tmp_path):
    base = tmp_path / "VOCdevkit/VOC2012"
    paint(base / "JPEGImages/2007_000032.jpg")
    put(base / "ImageSets/Segmentation/train.txt", "2007_000032\n")
    numbers(base / "SegmentationClass/2007_000032.png", grid(0, 20, 255), palette=True)
    box = "<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>12</xmax><ymax>8</ymax></bndbox>"
    put(base / "Annotations/2007_000032.xml", f"<annotation><object><name>dog</name>{box}</object></annotation>")
    return tmp_path


def test_voc_reads_the_palettes_numbers_and_not_its_colours(voc):
    assert detect_format(voc) == ("pascal", ("train",))
    found = read_pictures(voc, "train")
    assert first(found)[:3].tolist() == [0, 20, 255]
    assert (found.classes[0], found.classes[20]) == ("background", "tv monitor")
    assert [(r.label, r.box) for r in found.pictures[0].regions] == [("dog", (0, 2, 12, 6))]


def test_voc_tells_what_its_list_names_and_is_not_there(voc):
    put(voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt", "2007_000032\n2007_1\n")
    with pytest.raises(InputError, match=r"2007_1\.jpg: the list names it"):
        read_pictures(voc, "train")
    paint(voc / "VOCdevkit/VOC2012/JPEGImages/2007_1.jpg")
    with pytest.raises(InputError, match=r"2007_1\.jpg: no label map of that name"):
        read_pictures(voc, "train")


def test_context_has_59_classes_or_60(tmp_path):
    base = tmp_path / "VOC2010"
    paint(base / "JPEGImages/a.jpg")
    put(base / "ImageSets/SegmentationContext/val.txt", "a\n")
    numbers(base / "SegmentationClassContext/a.png", grid(0, 1, 59, 255))
    found = read_pictures(tmp_path, "val")
    assert (len(found.classes), first(found)[:4].tolist()) == (59, [255, 0, 58, 255])
    found = pascal.read_context(tmp_path, "val", background=True)
    assert (len(found.classes), first(found)[:4].tolist()) == (60, [0, 1, 59, 255])
    assert found.classes[59] == "wood"


def test_cityscapes_scores_19_of_34_ids(tmp_path):
    paint(tmp_path / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png")
    numbers(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png", grid(0, 7, 9, 33))
    numbers(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png", grid(200))
    assert detect_format(tmp_path) == ("cityscapes", ("val",))
    found = read_pictures(tmp_path, "val")
    assert first(found)[:4].tolist() == [255, 0, 255, 18]
    assert (found.classes[0], found.classes[18]) == ("road", "bicycle")


@pytest.fixture
def camvid(tmp_path):
    put(tmp_path / "classes.txt", "sky\nVoid\nroad\n")
    for split in ("train", "val"):
        paint(tmp_path / split / "images/a.jpg")
        numbers(tmp_path / split / "masks/a.png", grid(0, 1, 2))
    return tmp_path


def test_void_may_stand_anywhere(camvid):
    assert detect_format(camvid) == ("camvid", ("train", "val"))
    found = read_pictures(camvid, "val")
    assert found.classes == ("sky", "road")
    assert first(found)[:3].tolist() == [0, 255, 1]
    again = pickle.loads(pickle.dumps(found.pictures[0]))
    assert (again.label_map().ravel() == first(found)).all()


def test_pairs_that_are_not_whole_are_reported_both_ways(camvid):
    paint(camvid / "train/images/b.jpg")
    numbers(camvid / "train/masks/c.png", grid(0))
    with pytest.raises(InputError, match=r"2 things .* b\.jpg: no label map of that name; c\.png: no picture"):
        read_pictures(camvid, "train")
    with pytest.warns(UserWarning, match="2 things"):
        found = read_pictures(camvid, "train", on_bad="skip")
    assert [(p.name, p.label_map is None) for p in found.pictures] == [("a", False), ("b", True)]


def test_label_maps_of_another_size_or_in_colours_are_reported(camvid):
    numbers(camvid / "train/masks/a.png", np.zeros((8, 11)))
    with pytest.raises(InputError, match="12x8 pixels, its label map 11x8"):
        check_pictures(read_pictures(camvid, "train"))
    paint(camvid / "train/masks/a.png")
    with pytest.raises(InputError, match="mode RGB, expected a label map of one channel"):
        check_pictures(read_pictures(camvid, "train"))
    put(camvid / "classes.txt", "sky\nsky\n")
    with pytest.raises(InputError, match="the name of a class a line, each once"):
        read_pictures(camvid, "train")


@pytest.mark.parametrize("text", ["sky\n\nvoid\nroad\n", "0 sky\n1 void\n2 road\n", "sky,128,128,128\nroad,0,0,64\n"])
def test_a_line_of_classes_txt_that_is_no_mere_name_is_refused(camvid, text):
    """A blank line moved all classes after it; numbers and colours became parts of names."""
    put(camvid / "classes.txt", text)
    with pytest.raises(InputError, match=r"classes\.txt: .*expected .*the name of a class a line"):
        read_pictures(camvid, "train")


def test_a_label_map_in_jpeg_is_refused(camvid):
    """Its numbers are others near edges, and often those of other classes."""
    path = camvid / "train/masks/a.png"
    numbers(path.with_suffix(".jpg"), np.zeros((8, 12)))
    path.unlink()
    with pytest.raises(InputError, match="a JPEG, which blurs the numbers of classes"):
        check_pictures(read_pictures(camvid, "train"))


def test_pictures_without_cityscapes_ending_are_told(tmp_path):
    for name in ("a_1_leftImg8bit.png", "a_2.png"):
        paint(tmp_path / "leftImg8bit/val/a" / name)
    numbers(tmp_path / "gtFine/val/a/a_1_gtFine_labelIds.png", np.zeros((8, 12)))
    with pytest.warns(UserWarning, match="1 pictures whose names don't end in _leftImg8bit are not read"):
        assert len(read_pictures(tmp_path, "val").pictures) == 1


def test_voc_tells_pictures_without_xml_among_others_with_it(voc):
    base = voc / "VOCdevkit/VOC2012"
    put(base / "ImageSets/Segmentation/train.txt", "2007_000032\n2007_1\n")
    paint(base / "JPEGImages/2007_1.jpg")
    numbers(base / "SegmentationClass/2007_1.png", grid(0))
    with pytest.warns(UserWarning, match=r"2007_1\.xml: 1 of 2 pictures have no XML in Annotations/, so no boxes"):
        read_pictures(voc, "train")


def test_16_bit_numbers_are_read_when_they_fit(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((2, 2), 254, np.uint16)).save(tmp_path / "a.png")
    assert (read_index(tmp_path / "a.png") == 254).all()
    Image.fromarray(np.full((2, 2), 256, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"from 256 to 256, expected 0\.\.255"):
        read_index(tmp_path / "a.png")


@pytest.fixture
def seqs(tmp_path):
    put(tmp_path / "classes.txt", "sky\nroad\n")
    for at, seq in enumerate(("seq1", "seq2")):
        paint(tmp_path / f"train/images/{seq}/0001.png", colour=100 * at)
        numbers(tmp_path / f"train/masks/{seq}/0001.png", grid(at))
    return tmp_path


def test_label_maps_in_folders_keep_their_pictures(seqs):
    found = read_pictures(seqs, "train").pictures
    assert [(p.name, p.load()[0, 0, 0], p.label_map()[0, 0]) for p in found] == [
        ("seq1/0001", 0, 0),
        ("seq2/0001", 100, 1),
    ]


def test_a_picture_never_gets_another_folders_map(seqs):
    (seqs / "train/images/seq1/0001.png").unlink()
    (seqs / "train/masks/seq2/0001.png").unlink()
    message = r"0001\.png: no label map .*seq1/0001 is called so, in another folder; 0001\.png: no picture of that name"
    with pytest.raises(InputError, match=message):
        read_pictures(seqs, "train")
    with pytest.warns(UserWarning, match="2 things"):
        assert read_pictures(seqs, "train", "skip").pictures[0].label_map is None


def test_maps_may_lie_flat_where_the_names_are_each_once(tmp_path):
    put(tmp_path / "classes.txt", "sky\nroad\n")
    paint(tmp_path / "train/images/seq1/a.png")
    numbers(tmp_path / "train/masks/a.png", grid(1))
    assert first(read_pictures(tmp_path, "train"))[0] == 1
    paint(tmp_path / "train/images/seq2/a.png")
    with pytest.raises(InputError, match=r"a would also be the picture of|would also be the picture of"):
        read_pictures(tmp_path, "train")


def test_pictures_that_differ_in_their_endings_are_reported(camvid):
    paint(camvid / "train/images/a.png")
    with pytest.raises(InputError, match="a: 2 pictures differ in their endings only"):
        read_pictures(camvid, "train")


def test_one_bad_object_of_vocs_xml_is_named_and_the_others_are_read(voc):
    box = "<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>{}</xmax><ymax>8</ymax></bndbox>"
    marks = "".join(
        f"<object>{name}{box.format(right)}</object>"
        for name, right in (("<name>dog</name>", 12), ("", 12), ("<name>cat</name>", 0), ("<name>hen</name>", "nan"))
    )
    put(voc / "VOCdevkit/VOC2012/Annotations/2007_000032.xml", f"<annotation>{marks}</annotation>")
    message = (
        "3 things .*object 1 of 2007_000032.xml: name: got null.*object 2 .*width 0.*object 3 .*expected four numbers"
    )
    with pytest.raises(InputError, match=message):
        read_pictures(voc, "train")
    with pytest.warns(UserWarning, match="3 things"):
        assert [r.label for r in read_pictures(voc, "train", "skip").pictures[0].regions] == ["dog"]
    put(voc / "VOCdevkit/VOC2012/Annotations/2007_000032.xml", "<annotation>")
    with pytest.raises(InputError, match=r"1 things .*2007_000032.xml: can't be read as XML"):
        read_pictures(voc, "train")


def test_a_null_narrative_is_reported(ade):
    rows = [
        {"image_id": "ADE_train_00000001", "caption": None},
        {"image_id": "ADE_train_00000001", "caption": "a wall"},
    ]
    put(ade / "ade20k_train_localized_narratives.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="line 1: caption: got null"):
        read_pictures(ade, "train")
    with pytest.warns(UserWarning, match="1 things"):
        assert read_pictures(ade, "train", "skip").pictures[0].captions == ("a wall",)


def test_a_map_of_which_pictures_differ_in_their_endings_only_is_not_without_a_picture(camvid):
    paint(camvid / "train/images/a.png")
    with pytest.raises(InputError) as error:
        read_pictures(camvid, "train")
    assert "2 pictures differ in their endings only" in str(error.value)
    assert "no picture of that name" not in str(error.value)
