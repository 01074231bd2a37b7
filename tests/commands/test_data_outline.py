import json

import numpy as np
import pytest

from data.formats.true_formats import paint, put
from segue.data import rle
from segue.data.formats import read_pictures
from segue.methods.sam import load_sam, outline_boxes
from segue.types import InputError
from tiny_sam import tiny_sam

XML = """<annotation>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>9</xmax><ymax>6</ymax></bndbox></object>
</annotation>"""


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return tiny_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture
def root(tmp_path):
    for number in ("1", "2"):
        paint(tmp_path / f"flickr30k-images/{number}.jpg")
        put(tmp_path / f"Annotations/{number}.xml", XML)
        put(tmp_path / f"Sentences/{number}.txt", "[/EN#1/people A man] with [/EN#2/animals a dog] .\n")
    return tmp_path


def test_every_box_gets_a_mask_on_the_pictures_own_grid(sam):
    model, image = load_sam(str(sam)), np.zeros((30, 40, 3), np.uint8)
    boxes = [(float(i), 2.0, 6.0, 9.0) for i in range(33)]  # more than are outlined at a time
    found = outline_boxes(image, boxes, model)
    assert (found.shape, found.dtype) == ((33, 30, 40), np.bool_)
    assert (outline_boxes(image, boxes[32:], model)[0] == found[32]).all()
    assert outline_boxes(image, [], model).shape == (0, 30, 40)


def test_the_masks_are_read_with_the_boxes_and_a_second_run_goes_on(segue, sam, root):
    assert segue("data", "outline", root, "--sam", sam)[1].endswith("2 pictures outlined\n")
    pictures = read_pictures(root, "train").pictures
    for picture in pictures:
        shapes = {rle.decode(region.mask).shape for region in picture.regions}
        assert shapes == {picture.load().shape[:2]}
    first, second = (root / "Masks" / f"{number}.json" for number in ("1", "2"))
    before = first.stat().st_mtime_ns
    second.unlink()
    assert segue("data", "outline", root, "--sam", sam)[1].endswith("1 pictures outlined\n")
    assert first.stat().st_mtime_ns == before
    answer = json.loads(second.read_text())
    assert answer["sam"] == str(sam)
    second.write_text(json.dumps(answer | {"masks": answer["masks"][:1]}))
    with pytest.raises(InputError, match="1 masks of 2 boxes"):
        read_pictures(root, "train")


def test_a_picture_that_is_none_stops_before_the_work_or_is_skipped(segue, sam, root):
    (root / "flickr30k-images/2.jpg").write_bytes(b"torn")
    status, _, error = segue("data", "outline", root, "--sam", sam)
    assert (status, "2.jpg" in error, (root / "Masks").exists()) == (2, True, False)
    status, output, error = segue("data", "outline", root, "--sam", sam, "--on-bad", "skip")
    assert (status, output.endswith("1 pictures outlined\n"), "2.jpg" in error) == (0, True, True)
    assert [path.name for path in (root / "Masks").iterdir()] == ["1.json"]


def test_what_can_not_be_outlined_is_reported(segue, root, tmp_path):
    status, _, error = segue("data", "outline", tmp_path / "nowhere")
    assert (status, "Flickr30k Entities" in error) == (2, True)
    status, _, error = segue("data", "outline", root, "--sam", tmp_path / "none")
    assert (status, "neither a folder" in error) == (2, True)
