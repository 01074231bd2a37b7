import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segue.data import rle
from segue.types import RLE, InputError

masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(masks)
def test_a_mask_survives_run_lengths_and_json(mask):
    code = rle.encode(mask)
    assert (rle.decode(code) == mask).all()
    assert rle.area(code) == mask.sum()
    assert rle.from_json(rle.to_json(code), mask.shape, "here") == code


@given(masks)
def test_the_box_holds_the_mask_and_no_more(mask):
    x, y, w, h = (int(v) for v in rle.box(rle.encode(mask)))
    assert mask[y : y + h, x : x + w].sum() == mask.sum()
    if mask.any():
        cut = mask[y : y + h, x : x + w]
        assert cut.any(1)[[0, -1]].all()
        assert cut.any(0)[[0, -1]].all()


def test_polygons_and_uncompressed_run_lengths():
    square = rle.from_json([[1, 1, 4, 1, 4, 3, 1, 3]], (5, 6), "here")
    assert rle.decode(square)[1:3, 1:4].all()
    assert rle.area(square) == 6
    runs = rle.from_json({"size": [2, 2], "counts": [1, 2, 1]}, (2, 2), "here")
    assert rle.decode(runs).tolist() == [[False, True], [True, False]]  # columns first


def test_iou_of_lists():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert rle.iou([rle.encode(a)], [rle.encode(a), rle.encode(b)]).tolist() == [[1.0, 1 / 3]]
    assert rle.iou([], [rle.encode(a)]).shape == (0, 1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([[1, 1, 2, 2]], "6 or more"),
        ([], "6 or more"),
        ("oops", "expected COCO's polygons"),
        ([["0", "0", "2", "0", "2", "2"]], "expected COCO's polygons"),
        ([[None, 0, 2, 0, 2, 2]], "expected COCO's polygons"),
        ({"size": [2, 2]}, "expected COCO's polygons"),
        ({"size": [2, 2], "counts": [1, 2, 1]}, "expected the picture's"),
        ({"size": [3, 3], "counts": [-1, 10]}, "expected COCO's polygons"),
        ({"size": None, "counts": "1"}, "expected COCO's polygons"),
        ({"size": [3, 3], "counts": 2**40}, "expected COCO's polygons"),
        ([[1e9, 0, 0, 1e9, 5, 5]], "far outside the picture of 3x3"),
        ([[0, 0, 2, 0, 2, float("nan")]], "far outside"),
    ],
)
def test_bad_annotations_are_reported(found, message):
    with pytest.raises(InputError, match=message):
        rle.from_json(found, (3, 3), "annotation 7")


@given(masks)
def test_run_lengths_fill_their_mask(mask):
    assert rle.filled(rle.encode(mask).counts) == mask.size


def test_run_lengths_that_were_cut_short_or_grew_are_reported():
    mask = np.random.default_rng(0).random((40, 30)) > 0.5
    whole = rle.to_json(rle.encode(mask))
    for broken in (whole["counts"][:-9], whole["counts"] + "11", ""):
        with pytest.raises(InputError, match="pixels, expected 1200; export it again"):
            rle.from_json(whole | {"counts": broken}, (40, 30), "here")
    with pytest.raises(InputError, match="run lengths of 3 pixels, expected 4"):
        rle.from_json({"size": [2, 2], "counts": [1, 2]}, (2, 2), "here")
    with pytest.raises(InputError, match="Invalid RLE"):
        rle.decode(RLE((4, 4), b"zzzzzz"))


@given(st.integers(1, 700), st.integers(1, 700))
def test_long_runs_are_filled_too(height, width):
    mask = np.zeros((height, width), bool)
    mask[height // 2 :, width // 3 :: 7] = True
    assert rle.filled(rle.encode(mask).counts) == mask.size


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
    max_leaves=20,
)
codes = st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=40)
sizes = st.just([9, 7]) | st.lists(st.integers(-9, 99), max_size=3)
lengths = st.fixed_dictionaries({"size": sizes, "counts": codes | st.lists(st.integers(), max_size=9)})
outlines = st.lists(st.lists(st.floats() | st.integers(), max_size=9), max_size=3)


@settings(max_examples=400, deadline=None)
@given(json_like | lengths | outlines)
def test_any_annotation_ends_in_an_input_error_or_a_mask(found):
    try:
        mask = rle.decode(rle.from_json(found, (9, 7), "here"))
    except InputError:
        return
    assert mask.shape == (9, 7)


@pytest.mark.parametrize("counts", [[2**32 - 1, 2**32 - 1, 0, 0] * 40, [62], [0, 64]])
def test_run_lengths_that_do_not_fill_the_mask_are_refused_before_they_are_packed(counts, monkeypatch):
    """Long ones overflow pycocotools' buffer of six characters each, which ended the process some time later."""
    monkeypatch.setattr(rle.coco, "frPyObjects", None)
    with pytest.raises(InputError, match=r"here: run lengths of .* pixels, expected 63; export it again"):
        rle.from_json({"size": [9, 7], "counts": counts}, (9, 7), "here")


def test_only_a_mask_is_encoded():
    with pytest.raises(InputError, match="mask"):
        rle.encode(np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match="mask"):
        rle.encode(np.zeros((3, 3, 1), bool))


@given(masks)
def test_a_mask_survives_its_polygons(mask):
    code = rle.encode(mask)
    polygons = rle.to_polygons(code)
    assert bool(polygons) == mask.any()
    if polygons:
        assert all(len(p) >= 8 for p in polygons)
        assert rle.from_json(polygons, mask.shape, "here") == code


def test_polygons_have_few_corners_and_open_holes():
    square = np.zeros((20, 30), bool)
    square[2:8, 3:9] = True
    (outline,) = rle.to_polygons(rle.encode(square))
    assert {(x, y) for x, y in zip(outline[::2], outline[1::2], strict=True)} == {(3, 2), (9, 2), (9, 8), (3, 8)}
    assert len(outline) == 8
    square[4:6, 5:7] = False
    code = rle.encode(square)
    assert len(rle.to_polygons(code)) == 2
    assert rle.from_json(rle.to_polygons(code), square.shape, "here") == code


corners = st.tuples(st.floats(0, 30), st.floats(0, 30))


@given(st.lists(corners, min_size=3, max_size=8))
def test_polygons_survive_run_lengths_within_a_pixel(points):
    code = rle.from_json([[v for point in points for v in point]], (31, 31), "here")
    if rle.area(code):
        again = rle.decode(rle.from_json(rle.to_polygons(code), (31, 31), "here"))
        mask = rle.decode(code)
        assert not (again & ~ndimage.binary_dilation(mask, np.ones((3, 3)))).any()
        assert not (mask & ~ndimage.binary_dilation(again, np.ones((3, 3)))).any()
