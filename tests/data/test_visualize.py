from dataclasses import replace

import numpy as np
import pytest

from segue.data.class_colours import COLOURS as CLASS_COLOURS
from segue.data.medical.lvit import read_lvit
from segue.data.visualize import COLOURS, RIM, contact_sheet, heat_map, layout_picture, outline
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


def test_a_broken_picture_is_told_in_its_tile_and_the_others_are_drawn(lvit):
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
