import numpy as np
import pytest
import torch

from segue.metrics.calibration import Reliability, choose_threshold, expected_calibration_error, fit_temperature
from segue.types import InputError


@pytest.fixture(scope="module")
def honest():
    """Logits whose sigmoid is exactly the chance that the truth, drawn from it, is foreground."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 60_000)
    return logits, random.random(60_000) < sigmoid(logits)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_error_by_hand():
    # Bin [0, 0.5): mean .2, foreground 1/2. Bin [0.5, 1]: mean .9, foreground 1.
    probability, truth = np.array([0.1, 0.3, 0.8, 1.0]), np.array([0, 1, 1, 1])
    assert expected_calibration_error(probability, truth, bins=2) == pytest.approx((0.3 * 2 + 0.1 * 2) / 4)


def test_error_of_perfect_and_of_honest_forecasters_is_nothing(honest):
    logits, truth = honest
    assert expected_calibration_error(truth.astype(float), truth) == 0
    assert expected_calibration_error(sigmoid(logits), truth) < 0.01
    assert expected_calibration_error(1.0 - truth, truth) == 1


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_scale(honest, scale):
    logits, truth = honest
    temperature = fit_temperature(logits * scale, truth)
    assert temperature == pytest.approx(scale, rel=0.03)
    assert expected_calibration_error(sigmoid(logits * scale / temperature), truth) < 0.01


def test_an_over_confident_set_is_mended(honest):
    logits, truth = honest
    before = expected_calibration_error(sigmoid(4 * logits), truth)
    after = expected_calibration_error(sigmoid(4 * logits / fit_temperature(4 * logits, truth)), truth)
    assert before > 0.1
    assert after < before / 10


def test_temperature_is_the_minimum_and_repeats(honest, monkeypatch):
    logits, truth = honest[0] * 2, honest[1]
    monkeypatch.setattr("segue.metrics.calibration._MAX_PIXELS", 10_000)
    sampled = fit_temperature(logits, truth)
    assert sampled == fit_temperature(logits, truth)
    assert sampled == pytest.approx(2, rel=0.1)
    whole = fit_temperature(logits[:10_000], truth[:10_000])
    assert whole != sampled
    monkeypatch.setattr("segue.metrics.calibration._MAX_PIXELS", 20_000)
    assert whole == fit_temperature(logits[:10_000], truth[:10_000])  # as many as allowed are all taken


def test_temperature_stays_in_its_bounds():
    logits = np.array([-1.0, 1.0])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=1e-3)


def test_torch_and_numpy_agree(honest):
    logits, truth = (part[:600].reshape(2, 1, 20, 15) for part in honest)
    tensors = torch.tensor(logits, requires_grad=True), torch.tensor(truth)
    assert fit_temperature(*tensors) == fit_temperature(logits, truth)
    assert expected_calibration_error(tensors[0].sigmoid(), tensors[1]) == pytest.approx(
        expected_calibration_error(sigmoid(logits), truth)
    )
    assert fit_temperature(tensors[0].bfloat16(), tensors[1]) > 0


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        ([0.5, 0.5], [1], r"got shapes \(2,\) and \(1,\), expected the same"),
        ([], [], "expected the same, not empty"),
        ([0.5, np.nan], [0, 1], "got NaN or infinite values"),
        ([0.5, 0.5], [0, 255], "truth: got values up to 255, expected bool or 0 and 1"),
    ],
)
def test_both_refuse(values, truth, message):
    with pytest.raises(InputError, match=message):
        expected_calibration_error(np.array(values), np.array(truth))
    with pytest.raises(InputError, match=message):
        fit_temperature(np.array(values), np.array(truth))


def test_error_refuses_logits_and_no_bins():
    with pytest.raises(InputError, match=r"got values from -3 to 2, expected \[0, 1\]; apply the sigmoid"):
        expected_calibration_error(np.array([-3.0, 2.0]), np.array([0, 1]))
    with pytest.raises(InputError, match="bins: got 0, expected at least 1"):
        expected_calibration_error(np.array([0.5]), np.array([1]), bins=0)


def test_reliability_adds_up_over_pictures():
    rng = np.random.default_rng(0)
    probability, truth = rng.random((2, 8, 8)), rng.random((2, 8, 8)) > 0.4
    parts = [Reliability.of(p, t, bins=10) for p, t in zip(probability, truth, strict=True)]
    whole = Reliability.of(probability, truth, bins=10)
    both = parts[0] + parts[1]
    assert both.pixels.tolist() == whole.pixels.tolist() == np.histogram(probability, 10, (0, 1))[0].tolist()
    assert both.true.tolist() == whole.true.tolist()
    assert both.true.sum() == truth.sum()
    assert both.error == pytest.approx(expected_calibration_error(probability, truth, bins=10))


@pytest.mark.parametrize(
    ("probability", "threshold"),
    [
        ([1.0] * 50 + [0.0] * 50, 0.5),  # sure: the expected Dice is 1
        ([0.4] * 50 + [0.0] * 50, 0.6 * 2 * 20 / (50 + 20)),  # 20 of the 50 are expected to be true
        ([0.1] * 50 + [0.0] * 50, 0.2),  # nothing is seen, and nothing is taken
        ([0.0] * 100, 0.2),
    ],
)
def test_the_threshold_falls_with_the_dice_that_is_expected(probability, threshold):
    found = choose_threshold(np.array(probability, np.float32).reshape(10, 10))
    assert found == pytest.approx(threshold, abs=1e-3)


def test_at_half_the_expected_dice_a_hesitant_mask_has_the_best_dice(honest):
    logits, truth = honest
    probability = sigmoid(logits - 3)
    truth = np.random.default_rng(1).random(len(truth)) < probability
    dice = {t: 2 * (truth & (probability >= t)).sum() / (truth.sum() + (probability >= t).sum()) for t in (0.2, 0.5)}
    found = choose_threshold(probability[None].astype(np.float32))
    assert (
        dice[0.5]
        < dice[0.2]
        < 2 * (truth & (probability >= found)).sum() / (truth.sum() + (probability >= found).sum())
    )
