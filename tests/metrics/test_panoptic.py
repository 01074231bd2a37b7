import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segue.data import rle
from segue.metrics.panoptic import Confusion, PanopticCounts, Segment, mask_ap, match, matched_iou
from segue.types import InputError

MAPS = arrays(np.int64, (4, 5), elements=st.integers(0, 3))
IOUS = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(0, 5)), elements=st.floats(0, 1, width=16))


def counted(pred, truth, crowd=()):
    segments = [{int(i): Segment(int(i), bool(i in crowd)) for i in np.unique(m) if i} for m in (pred, truth)]
    said = {i: Segment(s.category) for i, s in segments[0].items()}
    return PanopticCounts.of(pred, said, truth, segments[1], [1, 2, 3])


def test_panoptic_by_hand():
    truth = np.array([[1, 1, 1, 2, 2, 0]])
    pred = np.array([[1, 1, 0, 3, 3, 3]])
    scores = counted(pred, truth).scores([True, False, False])
    assert scores["things"] == {"pq": 2 / 3, "sq": 2 / 3, "rq": 1, "n": 1}
    assert scores["stuff"] == {"pq": 0, "sq": 0, "rq": 0, "n": 2}
    assert scores["all"]["pq"] == pytest.approx(2 / 9)


def test_void_and_crowds_are_no_fault():
    assert counted(np.array([[1, 1, 2]]), np.array([[0, 0, 2]])).fp.tolist() == [0, 0, 0]
    found = counted(np.array([[1, 1, 2]]), np.array([[1, 1, 2]]), crowd={1})
    assert (found.tp.tolist(), found.fp.tolist(), found.fn.tolist()) == ([0, 1, 0], [0, 0, 0], [0, 0, 0])
    assert counted(np.array([[2, 2, 2]]), np.array([[1, 1, 1]]), crowd={1}).fp.tolist() == [0, 1, 0]  # another class


@settings(max_examples=100, deadline=None)
@given(MAPS, MAPS)
def test_panoptic_bounds_symmetry_and_addition(pred, truth):
    counts = counted(pred, truth)
    quality = counts.class_quality()
    there = ~np.isnan(quality[0])
    assert ((quality[:, there] >= 0) & (quality[:, there] <= 1)).all()
    np.testing.assert_allclose(quality[0, there], (quality[1] * quality[2])[there])
    assert (counted(truth, truth).class_quality()[0, np.unique(truth[truth > 0]) - 1] == 1).all()
    twice = counts + counts
    np.testing.assert_allclose(twice.class_quality(), quality)


def test_a_map_and_its_segments_must_agree():
    with pytest.raises(InputError, match="truth: segment 2 is in the map alone"):
        PanopticCounts.of(np.array([[1]]), {1: Segment(1)}, np.array([[2]]), {}, [1])
    with pytest.raises(InputError, match="class 9 is not among the 1 categories"):
        PanopticCounts.of(np.array([[1]]), {1: Segment(9)}, np.array([[0]]), {}, [1])


@settings(max_examples=100, deadline=None)
@given(IOUS)
def test_hungarian_is_no_worse_than_greedy(ious):
    best, fast = matched_iou(ious), matched_iou(ious, "greedy")
    assert 0 <= fast <= best + 1e-12 <= 1 + 2e-12
    assert best >= ious.max(initial=0) / len(ious) - 1e-12
    for how in ("hungarian", "greedy"):
        pairs = match(ious, how)
        assert len({g for g, _ in pairs}) == len({p for _, p in pairs}) == len(pairs)


def test_a_true_mask_without_a_partner_counts_0():
    assert matched_iou(np.array([[0.8], [0.6]])) == 0.4


@pytest.mark.parametrize("how", ["hungarian", "greedy"])
def test_without_a_true_mask_there_is_no_mean(how):
    with pytest.raises(InputError, match="got no true mask, expected one or more"):
        matched_iou(np.zeros((0, 3)), how)
    assert match(np.array([[0.6, 0.5], [0.5, 0.0]])) == [(0, 1), (1, 0)]
    assert match(np.array([[0.6, 0.5], [0.5, 0.0]]), "greedy") == [(0, 0)]


def test_confusion_by_hand():
    found = Confusion.of(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 255]]), 3)
    assert found.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    scores = found.scores(empty="skip")
    assert (scores["miou"], scores["pixel_accuracy"], scores["pixels"]) == (0.5, 2 / 3, 3)
    assert scores["class_iou"] == [0.5, 0.5, None]
    assert found.scores(empty="zero")["miou"] == pytest.approx(1 / 3)


@settings(max_examples=100, deadline=None)
@given(MAPS, MAPS)
def test_confusion_adds_up_and_its_iou_is_symmetric(pred, truth):
    halves = Confusion.of(pred[:2], truth[:2], 4) + Confusion.of(pred[2:], truth[2:], 4)
    whole, turned = Confusion.of(pred, truth, 4), Confusion.of(truth, pred, 4)
    assert (halves.counts == whole.counts).all()
    np.testing.assert_array_equal(whole.class_iou(empty="skip"), turned.class_iou(empty="skip"))


@pytest.mark.parametrize(
    ("pred", "truth", "message"),
    [
        ([[0, 3]], [[0, 0]], "the prediction holds the value 3"),
        ([[0, 0]], [[0, 7]], "the truth holds the value 7"),
        ([[0]], [[0, 0]], "two \\(H, W\\) maps of one size"),
    ],
)
def test_bad_maps(pred, truth, message):
    with pytest.raises(InputError, match=message):
        Confusion.of(np.array(pred), np.array(truth), 3)


def test_mask_ap():
    mask = rle.to_json(rle.encode(np.eye(8, dtype=bool)))
    row = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": mask,
        "area": 8,
        "bbox": [0, 0, 8, 8],
        "iscrowd": 0,
    }
    truth = {"images": [{"id": 1, "width": 8, "height": 8}], "annotations": [row], "categories": [{"id": 1}]}
    said = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}]
    assert mask_ap(truth, said) == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})
    assert mask_ap(truth, [])["ap"] == 0
