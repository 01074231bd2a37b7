"""Calibration of probabilities: reliability in bins, the expected calibration error, and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segue.types import InputError

Values: TypeAlias = "NDArray[Any] | Tensor"

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_MAX_PIXELS = 1_000_000
_LEVELS = 1000  # of probability that a threshold is chosen from
_LEAST_THRESHOLD, _SHARE = 0.2, 0.6


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pixels in bins of equal width by their probability: what was predicted and what was true; `a + b` adds them.

    pixels: (B,) int64, how many. predicted: (B,) the sum of their probabilities. true: (B,) how many of them are true.
    """

    pixels: NDArray[np.int64]
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]

    @classmethod
    def of(cls, probability: Values, truth: Values, bins: int = 15) -> Reliability:
        """Sort pixels into bins. probability: in [0, 1]. truth: bool or 0/1, the same shape (any).

        Raises InputError otherwise, and for less than one bin.
        """
        p, y = _checked(probability, truth, "probability")
        if p.min() < 0 or p.max() > 1:
            raise InputError(
                f"probability: got values from {p.min():.3g} to {p.max():.3g}, expected [0, 1]; apply the sigmoid to "
                "logits"
            )
        if bins < 1:
            raise InputError(f"bins: got {bins}, expected at least 1")
        index = np.minimum((p * bins).astype(np.int64), bins - 1)
        sums = [np.bincount(index, weights=values, minlength=bins).astype(np.float64) for values in (p, y)]
        return cls(np.bincount(index, minlength=bins), *sums)

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.pixels + other.pixels, self.predicted + other.predicted, self.true + other.true)

    @property
    def error(self) -> float:
        """The expected calibration error over all pixels, in [0, 1]."""
        return float(np.abs(self.predicted - self.true).sum() / self.pixels.sum())


def expected_calibration_error(probability: Values, truth: Values, bins: int = 15) -> float:
    """Expected calibration error over pixels, in [0, 1]: the mean gap between predicted and observed foreground.

    The pixels are sorted into bins of equal width by the probability of the foreground; a bin's distance is
    between its mean probability and its share of foreground, and weighs as its number of pixels.

    probability: in [0, 1]. truth: bool or 0/1, the same shape (any). Raises InputError otherwise.
    """
    return Reliability.of(probability, truth, bins).error


def fit_temperature(logits: Values, truth: Values) -> float:
    """The T, from 0.05 to 20, for which sigmoid(logits / T) has the least negative log-likelihood.

    T > 1 softens an over-confident model; the mask at threshold 0.5 stays as it is. Beyond a million
    pixels a random million is used, the same at each call. Fit it on validation data, never on the data that
    is scored.

    logits: finite, before the sigmoid. truth: bool or 0/1, the same shape (any). Raises InputError otherwise.
    """
    from scipy.optimize import minimize_scalar

    x, y = _checked(logits, truth, "logits")
    if x.size > _MAX_PIXELS:
        chosen = np.random.default_rng(0).integers(0, x.size, _MAX_PIXELS)
        x, y = x[chosen], y[chosen]

    def loss(log_temperature: float) -> float:
        z = x / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, z) - y * z))

    # The loss is convex in 1 / T, so along log T it has one minimum, and a bounded search finds it.
    found = minimize_scalar(loss, bounds=(np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE)), method="bounded")
    return float(np.exp(found.x))


def choose_threshold(probability: NDArray[np.float32]) -> float:
    """The probability from which a pixel belongs to the mask, by the Dice that the picture lets expect: 0.2 to 0.5.

    If pixels were independent, the mask of the largest expected Dice d would hold those of at least d / 2 (Lipton et
    al., "Optimal thresholding of classifiers to maximize F1 measure", 2014). Neighbours aren't, and at d / 2 masks of
    sure pictures grow beyond their borders, so it is 0.6 d: 0.5 for a picture that the model is sure of, less where it
    hesitates, and would leave nearly everything out.

    probability: (H, W) in [0, 1], calibrated.
    """
    levels = np.bincount((probability * _LEVELS).astype(np.int32).ravel(), minlength=_LEVELS + 1)[::-1]
    sums = np.cumsum(levels * (np.arange(_LEVELS, -1, -1) / _LEVELS))  # of the probabilities from each level up
    dice = 2 * sums / np.maximum(np.cumsum(levels) + sums[-1], 1e-12)
    return float(np.clip(_SHARE * dice.max(), _LEAST_THRESHOLD, 0.5))


def _checked(values: Values, truth: Values, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _array(values), _array(truth)
    if x.shape != y.shape or not x.size:
        raise InputError(f"{name} and truth: got shapes {x.shape} and {y.shape}, expected the same, not empty")
    if not np.isfinite(x).all():
        raise InputError(f"{name}: got NaN or infinite values, expected finite ones; look for a diverged model")
    if not np.isin(y, (0, 1)).all():
        raise InputError(f"truth: got values up to {y.max():g}, expected bool or 0 and 1; threshold it, as mask > 127")
    return x.ravel(), y.ravel()


def _array(values: Values) -> NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
