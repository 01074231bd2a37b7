import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segue.metrics.masks import Counts, class_miou, dice, iou, scores
from segue.types import InputError

NOTHING = np.zeros((2, 3), dtype=bool)
# tp 1, fp 1, fn 2, tn 2
PRED = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
TRUTH = np.array([[1, 0, 1], [1, 0, 0]], dtype=bool)


@st.composite
def pairs(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)))
    return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


# --- golden values


def test_counts_by_hand():
    counts = Counts.of([PRED, NOTHING], [TRUTH, NOTHING])
    assert [counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist(), counts.tn.tolist()] == [
        [1, 0],
        [1, 0],
        [2, 0],
        [2, 6],
    ]
    assert counts.tp.dtype == np.int64
    assert counts.empty.tolist() == [False, True]


@pytest.mark.parametrize(("empty", "expected"), [("zero", 0.0), ("one", 1.0), ("skip", np.nan)])
def test_scores_of_an_image_by_hand(empty, expected):
    counts = Counts.of([PRED, NOTHING, NOTHING], [TRUTH, NOTHING, TRUTH])
    np.testing.assert_allclose(dice(counts, empty=empty), [2 / 5, expected, 0])
    np.testing.assert_allclose(iou(counts, empty=empty), [1 / 4, expected, 0])


def test_class_miou_by_hand():
    assert class_miou(Counts.of([PRED], [TRUTH])) == pytest.approx((1 / 4 + 2 / 5) / 2)
    # Pooled, not averaged over images: foreground 1 / 4, background 8 / 11.
    assert class_miou(Counts.of([PRED, NOTHING], [TRUTH, NOTHING])) == pytest.approx((1 / 4 + 8 / 11) / 2)


def test_class_miou_leaves_out_a_class_that_never_occurs():
    assert class_miou(Counts.of([NOTHING], [NOTHING])) == 1.0
    assert class_miou(Counts.of([~NOTHING], [~NOTHING])) == 1.0
    assert class_miou(Counts.of([~NOTHING], [NOTHING])) == 0.0


@pytest.mark.parametrize(("empty", "expected"), [("zero", (0.2, 0.125)), ("one", (0.7, 0.625)), ("skip", (0.4, 0.25))])
def test_table_by_hand(empty, expected):
    table = scores(Counts.of([PRED, NOTHING], [TRUTH, NOTHING]), empty=empty)
    assert json.loads(json.dumps(table)) == table
    assert (table["dice"], table["iou"]) == pytest.approx(expected)
    assert table["miou"] == pytest.approx(0.125)  # whatever the policy
    assert table["class_miou"] == pytest.approx((1 / 4 + 8 / 11) / 2)
    assert (table["n"], table["n_empty"], table["empty_policy"]) == (2, 1, empty)


def test_equals_monai():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    random = np.random.default_rng(0)
    pred, truth = random.random((2, 6, 8, 8)) > 0.6
    pred[0], truth[0] = False, False
    ours = Counts.of(pred, truth)
    y_pred, y = torch.tensor(pred)[:, None], torch.tensor(truth)[:, None]
    theirs = monai.DiceMetric(ignore_empty=False)(y_pred, y)[:, 0]
    np.testing.assert_allclose(dice(ours, empty="one"), theirs, rtol=1e-6)
    theirs = monai.MeanIoU(ignore_empty=True)(y_pred, y)[:, 0]
    np.testing.assert_allclose(iou(ours, empty="skip"), theirs, rtol=1e-6)


# --- properties


@settings(deadline=None)
@given(pairs(), st.sampled_from(["zero", "one", "skip"]))
def test_bounds_symmetry_and_the_tie_between_dice_and_iou(pair, empty):
    counts, swapped = Counts.of(*pair), Counts.of(*pair[::-1])
    d, i = dice(counts, empty=empty), iou(counts, empty=empty)
    np.testing.assert_array_equal(d, dice(swapped, empty=empty))
    np.testing.assert_array_equal(i, iou(swapped, empty=empty))
    np.testing.assert_allclose(d, 2 * i / (1 + i))
    known = ~np.isnan(d)
    assert ((d[known] >= i[known]) & (d[known] <= 1) & (i[known] >= 0)).all()
    assert (counts.tp + counts.fp + counts.fn + counts.tn == pair[0][0].size).all()


@settings(deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_order_of_pixels_and_images_does_not_matter(pair, random):
    pred, truth = pair
    images = random.sample(range(len(pred)), len(pred))
    pixels = random.sample(range(pred[0].size), pred[0].size)

    def shuffled(masks):
        return masks[images].reshape(len(masks), -1)[:, pixels].reshape(masks.shape)

    ours = scores(Counts.of(pred, truth), empty="zero")
    assert scores(Counts.of(shuffled(pred), shuffled(truth)), empty="zero") == pytest.approx(ours)


@settings(deadline=None)
@given(pairs(), st.integers(0, 5))
def test_counts_may_be_gathered_in_batches(pair, cut):
    pred, truth = pair
    whole = Counts.of(pred, truth)
    parts = [Counts.of(pred[:cut], truth[:cut]), Counts.of(pred[cut:], truth[cut:])]
    assert len(parts[0] + parts[1]) == len(whole)
    assert scores(parts[0] + parts[1], empty="one") == scores(whole, empty="one")
    assert scores(Counts.joined(parts), empty="one") == scores(whole, empty="one")


def test_images_of_several_sizes():
    counts = Counts.of([PRED, np.ones((1, 1), bool)], [TRUTH, np.ones((1, 1), bool)])
    np.testing.assert_allclose(dice(counts, empty="zero"), [0.4, 1])


# --- refusals


def test_the_policy_has_no_default():
    counts = Counts.of([PRED], [TRUTH])
    for metric in (dice, iou, scores):
        with pytest.raises(TypeError, match="empty"):
            metric(counts)
        with pytest.raises(InputError, match="empty: got 'ignore', expected one of 'zero', 'one', 'skip'"):
            metric(counts, empty="ignore")


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        ([PRED], r"got 1 predictions, 2 truths and 2 names; expected one of each per image"),
        ([PRED, None], "b: no prediction; predict every image"),
        ([PRED.T, PRED], r"a: the prediction is \(3, 2\) and the truth \(2, 3\) \(rows, columns\)"),
        (
            [PRED, PRED * 255],
            r"b: prediction: got shape \(2, 3\) and type int64, expected an \(H, W\) bool array",
        ),
        ([PRED, 0.5], "b: prediction: got shape none and type float"),
    ],
)
def test_refuses(pred, message):
    with pytest.raises(InputError, match=message):
        Counts.of(pred, [TRUTH, TRUTH], names=["a", "b"])


def test_numbers_the_images_without_names():
    with pytest.raises(InputError, match="image 1: no prediction"):
        Counts.of([PRED, None], [TRUTH, TRUTH])


def test_nothing_to_average_is_an_error():
    with pytest.raises(InputError, match="got no images to score"):
        scores(Counts.of([], []), empty="zero")
    with pytest.raises(InputError, match="empty='skip' leaves out all 2 images"):
        scores(Counts.of([NOTHING] * 2, [NOTHING] * 2), empty="skip")
