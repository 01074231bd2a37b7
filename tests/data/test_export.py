import base64
import contextlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segue.data import rle
from segue.data.export import join_coco, overlay, to_coco, to_grandf, to_html, to_panoptic, write_grounded_captions
from segue.data.formats.panoptic import read_segments
from segue.evaluation.files import score_panoptic_files
from segue.types import GroundedCaption, InputError, PhraseGrounding

CAPTION = "a red square <left of> a dog"
IMAGE = np.full((20, 30, 3), 200, np.uint8)


def mask(rows, columns):
    made = np.zeros((20, 30), np.bool_)
    made[rows, columns] = True
    return made


SQUARE, DOG, TAIL = mask(slice(2, 8), slice(3, 9)), mask(slice(5, 15), slice(8, 20)), mask(slice(0, 2), slice(25, 30))
CAPTIONED = GroundedCaption(
    CAPTION,
    0.7,
    (
        PhraseGrounding(0, 12, "a red square", SQUARE, 0.9, "square"),
        PhraseGrounding(23, 28, "a dog", DOG, 0.6, "dog"),
        PhraseGrounding(23, 28, "a dog", TAIL, 0.3, "dog"),
    ),
)
UNCAPTIONED = GroundedCaption("", 0.5, (PhraseGrounding(0, 0, "dog", DOG, 0.5, "dog"),))


@pytest.mark.parametrize("as_polygons", [False, True])
def test_coco_reads_it(tmp_path, as_polygons):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(to_coco([("p.png", [CAPTIONED, UNCAPTIONED])], as_polygons=as_polygons)))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["dog", "square"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [a["category_id"] for a in found] == [2, 1, 1, 1]
    assert (coco.annToMask(found[1]).astype(bool) == DOG).all()
    assert found[0]["bbox"] == [3, 2, 6, 6]
    assert (found[0]["area"], found[0]["score"], found[0]["caption_id"]) == (36, 0.9, 1)


def test_coco_keeps_to_given_categories():
    made = to_coco([("p.png", [CAPTIONED])], ("dog", "square", "cat"))
    assert [a["category_id"] for a in made["annotations"]] == [2, 1, 1]
    with pytest.raises(InputError, match="class 'square' is not among the categories"):
        to_coco([("p.png", [CAPTIONED])], ("dog",))


def test_pictures_exported_one_by_one_are_joined_as_if_exported_at_once():
    cat = GroundedCaption("a cat", 0.2, (PhraseGrounding(0, 5, "a cat", TAIL, 0.8, "cat"),))
    pictures = [("p.png", [CAPTIONED, UNCAPTIONED]), ("empty.png", []), ("q.png", [cat, CAPTIONED])]
    sizes = [(20, 30), (7, 9), (20, 30)]
    for as_polygons in (True, False):
        each = [
            to_coco([one], as_polygons=as_polygons, sizes=[size]) for one, size in zip(pictures, sizes, strict=True)
        ]
        assert join_coco(each) == to_coco(pictures, as_polygons=as_polygons, sizes=sizes)
    assert join_coco([]) == to_coco([])


def test_grandf_ties_characters_to_masks():
    made = to_grandf([("p.png", [CAPTIONED, GroundedCaption("silence", 0.9)]), ("q.png", [CAPTIONED])])
    assert [(i["id"], i["file_name"]) for i in made["images"]] == [(1, "p.png"), (2, "p.png"), (3, "q.png")]
    with pytest.raises(InputError, match="'dog' is the class of a mask without a phrase"):
        to_grandf([("p.png", [UNCAPTIONED])])
    mark = made["annotations"][1]
    start, end = mark["tokens_positive"][0]
    assert made["images"][0]["caption"][start:end] == "a dog"
    assert (rle.decode(rle.from_json(mark["sam_mask"], (20, 30), "test")) == DOG).all()
    json.dumps(made)


def test_panoptic_puts_the_surer_mask_on_top():
    pngs, index = to_panoptic([GroundedCaption("silence", 0.9), CAPTIONED], "p", "p.jpg")
    (file, pixels), (entry,) = *pngs.items(), index["annotations"]
    assert file == entry["file_name"] == "p.2.panoptic.png"
    assert index["images"] == [{"id": 2, "file_name": "p.jpg", "height": 20, "width": 30}]
    ids, segments = pixels.astype(int) @ [1, 256, 65536], entry["segments_info"]
    assert (ids[SQUARE] == 1).all()
    assert (ids[DOG & ~SQUARE] == 2).all()
    assert ids[19, 0] == 0
    assert {s["id"]: s["area"] for s in segments} == {i: int((ids == i).sum()) for i in (1, 2, 3)}
    names = {c["id"]: c["name"] for c in index["categories"]}
    assert [names[s["category_id"]] for s in segments] == ["square", "dog", "dog"]
    hidden = GroundedCaption("", 1, (PhraseGrounding(0, 0, "a", SQUARE, 0.9), PhraseGrounding(0, 0, "b", SQUARE, 0.1)))
    (entry,) = to_panoptic([hidden], "p", "p.jpg")[1]["annotations"]
    assert [s["category_id"] for s in entry["segments_info"]] == [1]


def test_panoptic_files_are_read_as_cocos(tmp_path):
    """Scored against themselves all is found; and COCO's reader gives the masks back where nothing covers them."""
    write_grounded_captions(tmp_path, "p", IMAGE, [CAPTIONED], ("panoptic",))
    found = score_panoptic_files(tmp_path / "p.panoptic.json", tmp_path, tmp_path / "p.panoptic.json", tmp_path)
    assert {name: one["pq"] for name, one in found["classes"].items()} == {"dog": 1, "square": 1}
    index = json.loads((tmp_path / "p.panoptic.json").read_text())
    categories = {c["id"]: (c["name"], True) for c in index["categories"]}
    (regions,) = read_segments(index["annotations"], tmp_path, categories, True, lambda *why: pytest.fail(str(why)))
    assert [r.label for r in regions] == ["square", "dog", "dog"]
    for region, true in zip(regions, (SQUARE, DOG & ~SQUARE, TAIL), strict=True):
        assert (rle.decode(region.mask) == true).all()


def test_overlay_tints_masks_and_leaves_the_rest():
    made = overlay(IMAGE, CAPTIONED)
    anything = SQUARE | DOG | TAIL
    assert (made[~anything] == 200).all()
    assert (made[anything] != 200).any(-1).all()


def test_an_overlay_has_a_rim_around_each_mask_and_at_the_pictures_edge():
    mask = np.zeros((20, 30), bool)
    mask[0:6, 4:12] = True
    made = overlay(IMAGE, GroundedCaption("a dog", 1.0, (PhraseGrounding(0, 5, "a dog", mask, 1.0),)))
    rim = (made == (230, 80, 60)).all(-1)
    expected = mask.copy()
    expected[1:5, 5:11] = False
    np.testing.assert_array_equal(rim, expected)
    assert (made[2, 7] == np.round(0.55 * 200 + 0.45 * np.array([230, 80, 60]))).all()


def test_the_page_of_a_photograph_is_small_and_its_masks_are_where_they_were():
    image = np.random.default_rng(0).integers(0, 255, (900, 3200, 3), np.uint8)
    mask = np.zeros((900, 3200), bool)
    mask[100:200, 3000:3100] = True
    page = to_html(image, [GroundedCaption("a dog", 1.0, (PhraseGrounding(0, 5, "a dog", mask, 1.0),))])
    assert 'viewBox="0 0 3200 900"' in page
    assert "M3000 100" in page
    data = re.search('href="data:image/jpeg;base64,([^"]+)"', page)[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1600, 450)


def test_the_page_highlights_the_masks_of_a_phrase():
    page = to_html(IMAGE, [CAPTIONED, UNCAPTIONED], "<p>")
    assert "<title>&lt;p&gt;</title>" in page
    assert '<b data-lights="s0-23-28">a dog</b>' in page
    assert "&lt;left of&gt;" in page
    assert page.count('class="s0-23-28"') == 2
    lights, shapes = set(re.findall('data-lights="([^"]+)"', page)), set(re.findall('path class="([^"]+)"', page))
    assert lights == shapes
    assert len(lights) == 3
    assert "http" not in page


def test_phrases_inside_others_stay_in_the_list():
    caption = GroundedCaption(
        "a big dog", 1.0, (PhraseGrounding(0, 9, "a big dog", DOG, 1.0), PhraseGrounding(6, 9, "dog", TAIL, 1.0))
    )
    page = to_html(IMAGE, [caption])
    assert page.count("<b ") == 1
    assert page.count('data-lights="s0-6-9"') == 1


def test_masks_of_another_size_are_refused():
    for draw in (lambda: overlay(IMAGE[:9], CAPTIONED), lambda: to_html(IMAGE[:9], [CAPTIONED])):
        with pytest.raises(InputError, match="mask of 30x20, the picture has 30x9"):
            draw()
    small = GroundedCaption("", 1.0, (PhraseGrounding(0, 0, "dog", DOG[:5], 0.5),))
    with pytest.raises(InputError, match="masks of 2 sizes"):
        to_coco([("p.png", [CAPTIONED, small])])


def test_all_files_of_a_picture(tmp_path):
    files = write_grounded_captions(tmp_path / "out", "p", IMAGE, [CAPTIONED, GroundedCaption("nothing", 0.1)])
    assert sorted(f.name for f in files) == sorted(f.name for f in (tmp_path / "out").iterdir())
    assert {"p.1.png", "p.2.png", "p.1.panoptic.png", "p.html", "p.grandf.json"} <= {f.name for f in files}
    assert Image.open(tmp_path / "out" / "p.1.panoptic.png").size == (30, 20)
    write_grounded_captions(tmp_path / "every", "p.3", IMAGE, [CAPTIONED], ("grandf",), picture="p.jpg")
    assert '"file_name": "p.jpg"' in (tmp_path / "every" / "p.3.grandf.json").read_text()
    with pytest.raises(InputError, match="export: got 'coco', expected some of overlay, html, grandf, panoptic"):
        write_grounded_captions(tmp_path / "coco", "p", IMAGE, [CAPTIONED], ("coco",))


def test_a_picture_without_masks_has_its_size_too(tmp_path):
    write_grounded_captions(tmp_path, "p", IMAGE, [GroundedCaption("nothing", 0.1)], ("grandf",))
    (one,) = json.loads((tmp_path / "p.grandf.json").read_text())["images"]
    assert (one["height"], one["width"]) == (20, 30)
    with pytest.raises(InputError, match="mask of 30x20, the picture has 30x9"):
        write_grounded_captions(tmp_path, "p", IMAGE[:9], [CAPTIONED], ("grandf",))


def test_a_grounded_caption_checks_itself():
    with pytest.raises(InputError, match="got the phrase 'a cat', but the caption has 'a dog' there"):
        GroundedCaption(CAPTION, 1.0, (PhraseGrounding(23, 28, "a cat", DOG, 1.0),))
    with pytest.raises(InputError, match="differ in size"):
        GroundedCaption("", 1.0, (PhraseGrounding(0, 0, "a", DOG, 1.0), PhraseGrounding(0, 0, "b", DOG[:4], 1.0)))
