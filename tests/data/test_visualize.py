import base64
import colorsys
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segue.data import rle
from segue.data.class_colours import COLOURS as CLASS_COLOURS
from segue.data.medical.lvit import read_lvit
from segue.data.visualize import (
    COLOURS,
    HIT,
    MISSED,
    RIM,
    WRONG,
    compare_masks,
    contact_sheet,
    data_url,
    heat_map,
    layout_picture,
    name_classes,
    outline,
    palette,
    side_by_side,
)
from segue.types import InputError, Picture, Region

IMAGE = np.full((30, 40, 3), 100, np.uint8)


def test_an_outline_marks_the_rim_most_and_leaves_the_rest():
    mask = np.zeros((30, 40), bool)
    mask[10:20, 10:20] = True
    drawn = outline(IMAGE, mask).astype(int)
    assert (drawn[~mask] == 100).all()
    assert drawn[10, 10, 1] > drawn[15, 15, 1] > 100


def test_a_heat_map_leaves_zeros_alone():
    values = np.zeros((30, 40), np.float32)
    values[5, 5] = 1
    drawn = heat_map(IMAGE, values)
    assert (drawn[0] == 100).all()
    assert drawn[5, 5, 0] > 150


def test_a_sheet_has_a_tile_for_each_example(lvit):
    records = read_lvit(lvit, "train")
    sheet = contact_sheet(records, columns=2, tile=64)
    assert sheet.shape == (2 * (64 + 62 + 10) + 10, 2 * 74 + 10, 3)
    assert contact_sheet(records, columns=2, tile=64, limit=2).shape[0] < sheet.shape[0]
    with pytest.raises(InputError, match="got 0 records"):
        contact_sheet([])


def test_a_broken_picture_is_reported_in_its_tile_and_the_others_are_drawn(lvit):
    records = read_lvit(lvit, "train")
    whole = contact_sheet(records, columns=4, tile=64).astype(int)
    records[1].image.write_bytes(b"")
    sheet = contact_sheet(records, columns=4, tile=64).astype(int)
    changed = np.unique(np.nonzero((sheet != whole).any((0, 2)))[0])
    assert changed.min() > 74  # nothing of the first tile
    assert (sheet[20:64, 90:140] == (250, 250, 248)).all()
    red = (sheet[..., 0] - sheet[..., 1] > 100).any(0)
    assert red[84:160].any()


def test_regions_that_have_boxes_only_are_framed():
    """Flickr30k Entities and Visual Genome have no masks."""
    boxes = [Region("dog", (8, 6, 16, 12)), Region("mark", (0, 0, 0, 5))]
    picture = Picture("a", lambda: IMAGE, regions=tuple(boxes))
    bare, framed = (contact_sheet([p], tile=40, columns=1) for p in (replace(picture, regions=()), picture))
    changed = (framed != bare).any(-1)[10:50, 10:50]  # the tile; the 30 rows of the picture stand in its middle
    expected = np.zeros((40, 40), bool)
    expected[11:23, 8:24] = True
    expected[13:21, 10:22] = False
    assert (changed == expected).all()
    assert (framed[10:50, 10:50][expected] == COLOURS[0]).all()


def test_the_command_writes_it(lvit, segue, tmp_path):
    status, _, _ = segue("data", "show", lvit, "-o", tmp_path / "sheet.png")
    assert status == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_layout_s_picture_has_its_colours_rims_between_them_and_a_legend():
    labels = np.full((64, 64), 1, np.uint8)
    labels[:32] = 0
    picture = layout_picture(labels, ("sky", "grass", "dog"))
    assert picture.shape[1] == 320
    assert picture.shape[0] > 320 + 15
    assert picture[10, 10].tolist() == list(CLASS_COLOURS["sky"])
    assert picture[300, 10].tolist() == list(CLASS_COLOURS["grass"])
    assert (picture[160, :320] == RIM).all()
    below = {tuple(c) for c in picture[320:].reshape(-1, 3).tolist()}
    assert {CLASS_COLOURS["sky"], CLASS_COLOURS["grass"], RIM} <= below
    assert CLASS_COLOURS["dog"] not in below


def test_an_outlines_colours_are_exact():
    """Inside 18 % of the colour, on the rim all of it; the rim is 1 pixel wide for each 150 of the shorter side."""
    image, mask = np.full((450, 500, 3), 100, np.uint8), np.zeros((450, 500), bool)
    mask[100:200, 100:200] = True
    drawn = outline(image, mask, (200, 0, 50))
    inside = [round(100 * 0.82 + 0.18 * c) for c in (200, 0, 50)]
    assert (drawn[103:197, 103:197] == inside).all()
    assert (drawn[100:103, 100:200] == (200, 0, 50)).all()
    assert (drawn[~mask] == 100).all()


def test_a_palette_goes_on_by_the_golden_angle():
    assert (palette(3) == COLOURS[:3]).all()
    assert palette(0).shape == (0, 3)
    hues = [(0, 0.5, 0.95), (0.618034, 0.65, 0.8), (0.236068, 0.8, 0.65), (0.854102, 0.5, 0.5), (0.472136, 0.65, 0.95)]
    expected = [[round(255 * v) for v in colorsys.hsv_to_rgb(*hue)] for hue in hues]
    assert palette(16)[11:].tolist() == expected


def test_heat_goes_by_red_to_yellow():
    values = np.array([[0, 0.25, 0.5, 0.75, 1, 2, -1]], np.float32)
    drawn = heat_map(np.full((1, 7, 3), 100, np.uint8), values)[0]
    expected = [
        [100 * (1 - 0.65 * v) + 0.65 * v * c for c in (255 * min(2 * v, 1), 255 * max(2 * v - 1, 0), 0)]
        for v in values.clip(0, 1)[0]
    ]
    np.testing.assert_allclose(drawn, expected, atol=0.51)


@pytest.fixture
def written(monkeypatch):
    """What is written on sheets and where: (x, y), text, colour."""
    found = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, xy, text, fill, font: found.append((xy, text, fill)))
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "multiline_text",
        lambda _, xy, text, fill, font, spacing: found.append((xy, text, fill)),
    )
    return found


def test_classes_are_tinted_and_named_below(written):
    image, index = np.full((40, 100, 3), 100, np.uint8), np.full((40, 100), 9)
    index[:10, :50], index[10:11, :10], index[20:21, 0] = 1, 2, 0
    sheet = name_classes(image, index, ["dust", "dog", "cat"])
    assert sheet.shape[1] == 400  # four times as large, for 320 pixels
    colours = palette(3)
    assert (sheet[0, 0] == (45 + 0.55 * colours[1]).astype(np.uint8)).all()
    assert (sheet[43, 39] == (45 + 0.55 * colours[2]).astype(np.uint8)).all()
    assert (sheet[159] == 100).all()
    assert [(text, fill) for _, text, fill in written] == [("dog 12%", (30, 30, 30)), ("cat 0%", (30, 30, 30))]
    assert written[0][0] == (6 + 17, 4 - 1)
    legend = sheet[160:]
    assert legend.shape[0] == 24
    assert (legend[4:16, 6:18] == colours[1]).all()
    assert (legend[:4] == (250, 250, 248)).all()
    assert (legend[16:] == (250, 250, 248)).all()
    written.clear()
    assert len(name_classes(image, index, ["dust", "dog", "cat"], least=0.0)) == 160 + 24
    assert [text.split()[0] for _, text, _ in written] == ["dog", "cat", "dust"]


def test_a_legend_takes_as_many_lines_as_it_needs(written):
    index = np.arange(8).repeat(50).reshape(8, 50)
    sheet = name_classes(np.zeros((8, 50, 3), np.uint8), index, [f"a long name {i}" for i in range(8)])
    rows = [y for (_, y), _, _ in written]
    columns = [x for (x, _), _, _ in written]
    assert len(sheet) == 8 * 7 + max(rows) + 1 + 20
    assert sorted(set(rows)) == list(range(3, max(rows) + 1, 20))
    assert len(set(rows)) > 1
    assert all(x == 23 for x, y, before in zip(columns[1:], rows[1:], rows, strict=False) if y > before)


def test_a_sheets_tiles_names_and_texts_have_their_places(written):
    picture = Picture("a", lambda: IMAGE, captions=("one two " * 30, "unused"))
    long = replace(
        picture, name="n" * 30, captions=(), regions=(Region("dog", (0, 0, 4, 4)), Region("cat", (0, 0, 2, 2)))
    )
    sheet = contact_sheet([picture, long, replace(picture, captions=())], columns=2, tile=60)
    assert sheet.shape == (2 * (60 + 62 + 10) + 10, 2 * 70 + 10, 3)
    gap, below = (250, 250, 248), 10 + 60
    assert [xy for xy, _, _ in written] == [
        (10, below + 3), (10, below + 17), (80, below + 3), (80, below + 17), (10, below + 135), (10, below + 149)
    ]  # fmt: skip
    names, texts = [t for _, t, _ in written[::2]], [t for _, t, _ in written[1::2]]
    assert names == ["a", "n" * 9 + "…", "a"]
    assert texts[0].split("\n") == ["one two", "one two", "one two …"]
    assert texts[1:] == ["dog, cat", "(no\ncaption)"]
    assert [fill for *_, fill in written[:2]] == [(120, 120, 120), (30, 30, 30)]
    assert (sheet[10:17, 10:70] == gap).all()  # 60 x 45 in the middle of 60 x 60
    assert (sheet[18:62, 10:70] == 100).all()
    assert (sheet[63:70, 10:70] == gap).all()
    assert (sheet[10:70, 70:80] == gap).all()


def test_a_narrow_tile_has_room_for_eight_letters(written):
    contact_sheet([Picture("n" * 9, lambda: IMAGE), Picture("n" * 8, lambda: IMAGE)], columns=2, tile=32)
    assert [text for _, text, _ in written[::2]] == ["n" * 7 + "…", "n" * 8]


def test_few_of_many_records_are_spread_evenly(written):
    many = [Picture(str(i), lambda: IMAGE) for i in range(9)]
    contact_sheet(many, columns=3, tile=32, limit=3)
    assert [text for _, text, _ in written[::2]] == ["0", "4", "8"]
    for wrong in ({"columns": 0}, {"tile": 31}, {"limit": 0}):
        with pytest.raises(InputError, match="contact sheet: got 9 records"):
            contact_sheet(many, **wrong)


def test_pictures_stand_side_by_side(written):
    wide, high = np.full((20, 40, 3), 10, np.uint8), np.full((40, 20, 3), 20, np.uint8)
    sheet = side_by_side([("one", "first", wide), ("two", "second", high)], tile=40)
    assert sheet.shape == (40 + 62 + 20, 2 * 50 + 10, 3)
    assert (sheet[20:40, 10:50] == 10).all()
    assert (sheet[10:50, 70:90] == 20).all()
    assert (sheet == 10).all(-1).sum() == (sheet == 20).all(-1).sum() == 800
    assert [(xy, text) for xy, text, _ in written] == [
        ((10, 53), "one"), ((10, 67), "first"), ((60, 53), "two"), ((60, 67), "second")
    ]  # fmt: skip


def test_masks_are_outlined_the_larger_first_and_label_maps_tinted():
    small, large = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    small[5:10, 5:10], large[2:28, 2:38] = True, True
    regions = tuple(Region("x", rle.box(rle.encode(m)), rle.encode(m)) for m in (small, large))
    drawn = contact_sheet([Picture("", lambda: IMAGE, regions=regions)], columns=1, tile=40)[15:45, 10:50]
    assert (drawn == outline(outline(IMAGE, large, COLOURS[0]), small, COLOURS[1])).all()
    labels = np.full((30, 40), 255, np.uint8)
    labels[:, :20] = 12
    boxes = (Region("x", (0, 0, 1, 1)),)
    tinted = contact_sheet([Picture("", lambda: IMAGE, regions=boxes, label_map=lambda: labels)], columns=1, tile=40)
    assert (tinted[17:45, 12:30] == (50 + 0.5 * np.array(COLOURS[1])).astype(np.uint8)).all()
    assert (tinted[15:45, 30:50] == 100).all()
    untinted = contact_sheet(
        [Picture("", lambda: IMAGE, regions=regions, label_map=lambda: labels)], columns=1, tile=40
    )
    assert (untinted[15:45, 10:50] == drawn).all()


def test_two_masks_are_compared_in_three_colours():
    truth, predicted = np.zeros((40, 40), np.bool_), np.zeros((40, 40), np.bool_)
    truth[5:20, 5:35] = True
    predicted[15:30, 5:35] = True
    drawn = compare_masks(np.full((40, 40, 3), 100, np.uint8), predicted, truth).astype(int)
    assert drawn[17, 5].tolist() == list(HIT)
    assert drawn[5, 5].tolist() == list(MISSED)
    assert drawn[29, 5].tolist() == list(WRONG)
    assert drawn[35, 35].tolist() == [100] * 3


@pytest.mark.parametrize(("longest", "small", "kind", "size"), [
    (64, False, "png", (60, 40)), (64, True, "jpeg", (60, 40)), (30, False, "jpeg", (30, 20)),
])  # fmt: skip
def test_a_picture_as_a_url(longest, small, kind, size):
    url = data_url(np.full((40, 60, 3), 100, np.uint8), longest, small=small)
    head, _, data = url.partition(";base64,")
    assert head == f"data:image/{kind}"
    read = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (read.format.lower(), read.size) == (kind, size)
    assert np.asarray(read).tolist() == np.full((size[1], size[0], 3), 100).tolist()


def test_an_outline_changes_no_pixel_outside_of_its_mask():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:50] = True
    drawn = outline(image, mask, (0, 200, 100))
    assert (drawn[~mask] == image[~mask]).all()
    assert (drawn[10, 20:50] == (0, 200, 100)).all()
    assert (drawn[12, 25] == (0.82 * image[12, 25] + 0.18 * np.array([0, 200, 100])).round()).all()
