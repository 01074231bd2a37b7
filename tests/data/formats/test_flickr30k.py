import pytest

from data.formats.true_formats import paint, put
from segue.data.formats import detect_format, flickr30k, read_pictures
from segue.types import InputError

XML = """<annotation><filename>36979.jpg</filename><size><width>12</width><height>8</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax></bndbox></object>
<object><name>1</name><name>2</name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>6</xmax><ymax>3</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>
<object><name>4</name><scene>0</scene><nobndbox>1</nobndbox></object></annotation>"""
SAID = (
    "[/EN#1/people Two young guys] with [/EN#2/clothing/bodyparts shaggy hair] in [/EN#3/scene the\u2028yard] .\n"
    "[/EN#0/notvisual It] is [/EN#4/other a day] .\n"
)


@pytest.fixture
def root(tmp_path):
    paint(tmp_path / "flickr30k-images/36979.jpg")
    put(tmp_path / "Annotations/36979.xml", XML)
    put(tmp_path / "Sentences/36979.txt", SAID)
    put(tmp_path / "val.txt", "36979\n")
    return tmp_path


def test_phrases_point_to_their_boxes(root):
    assert detect_format(root) == ("flickr30k-entities", ("val",))
    (picture,) = read_pictures(root, "val").pictures
    assert picture.captions == ("Two young guys with shaggy hair in the\u2028yard .", "It is a day .")
    words = [(picture.captions[p.caption][p.start : p.end], p.regions) for p in picture.phrases]
    assert words == [
        ("Two young guys", (0, 1)),  # several boxes
        ("shaggy hair", (1,)),  # a box of two entities
        ("the\u2028yard", ()),  # the scene
        ("a day", ()),  # no box; "It" has id 0 and is no phrase
    ]
    assert [r.label for r in picture.regions] == ["people", "people"]


def test_corners_count_from_one_and_belong_to_the_box(root):
    (picture,) = read_pictures(root, "val").pictures
    assert [r.box for r in picture.regions] == [(0, 0, 4, 8), (4, 1, 2, 2)]


def test_markup_of_any_caption():
    assert flickr30k.parse("No marks.") == ("No marks.", [])
    assert flickr30k.parse("[/EN#7/a/b X y][/EN#0/notvisual z]!") == (
        "X yz!",
        [("7", "a", 0, 3), ("0", "notvisual", 3, 4)],
    )


def test_entities_without_xml_and_broken_xml_are_reported(root):
    put(root / "Sentences/36979.txt", "[/EN#9/people A man] .\n")
    with pytest.raises(InputError, match="marks the entity 9, which the XML does not name"):
        read_pictures(root, "val")
    put(root / "Annotations/36979.xml", XML[:200])
    with pytest.raises(InputError, match="can't be read as XML"):
        read_pictures(root, "val")
    put(root / "Annotations/36979.xml", XML.replace("<xmin>1</xmin>", ""))
    with pytest.raises(InputError, match=r"36979: bndbox: got \[null, .*expected numbers xmin"):
        read_pictures(root, "val")


def test_pictures_and_captions_that_are_missing_are_reported(root):
    put(root / "val.txt", "36979\n1\n")
    with pytest.raises(InputError, match=r"1\.jpg: no such picture"):
        read_pictures(root, "val")
    paint(root / "flickr30k-images/1.jpg")
    with pytest.raises(InputError, match="1: no such file in Sentences"):
        read_pictures(root, "val")


def test_karpathys_json_tells_the_splits_where_there_are_no_lists(root):
    (root / "val.txt").unlink()
    entry = {"filename": "36979.jpg", "split": "restval", "sentences": [{"raw": "x"}]}
    put(root / "dataset_flickr30k.json", {"images": [entry]})
    assert detect_format(root) == ("flickr30k-entities", ("train",))
    assert len(read_pictures(root, "train").pictures[0].phrases) == 4
    (root / "dataset_flickr30k.json").unlink()
    assert len(read_pictures(root, "train").pictures) == 1


@pytest.mark.parametrize("right", ["0", "nan", "-3", ""])
def test_a_bad_box_is_reported_with_its_picture_and_the_others_are_read(root, right):
    put(root / "val.txt", "36979\n1\n")
    paint(root / "flickr30k-images/1.jpg")
    put(root / "Sentences/1.txt", SAID)
    put(root / "Annotations/1.xml", XML.replace("<xmax>4</xmax>", f"<xmax>{right}</xmax>"))
    with pytest.raises(InputError, match=r"1 things .*1: bndbox: got"):
        read_pictures(root, "val")
    with pytest.warns(UserWarning, match="1 things"):
        assert [p.name for p in read_pictures(root, "val", "skip").pictures] == ["36979"]


def test_two_pictures_of_one_name_are_reported(root):
    paint(root / "thumbs/36979.jpg")
    with pytest.raises(InputError, match=r"36979\.jpg: 2 files fit"):
        read_pictures(root, "val")
