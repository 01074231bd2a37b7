"""How likely people accept a caption or a name: a logistic regression on what a model knows of it, fitted on val.

A caption is accepted whose CIDEr-D against people's captions of the picture is ACCEPTED or more. So scores of different
models mean one thing, and can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segue.configs import from_json, keep_in_config
from segue.types import InputError

ACCEPTED = 1.0  # CIDEr-D
RIDGE = 1e-3


@dataclass(frozen=True)
class Acceptance:
    """A fitted regression: the probability that a caption is accepted is sigmoid(bias + weights . features)."""

    weights: tuple[float, ...]
    bias: float

    def logit(self, features: Sequence[float]) -> float:
        """The log-odds of a caption with these features, as many as there are weights."""
        return self.bias + sum(w * x for w, x in zip(self.weights, features, strict=True))

    def probability(self, features: Sequence[float]) -> float:
        """The probability, in (0, 1), that a caption with these features is accepted."""
        return 1 / (1 + math.exp(-min(max(self.logit(features), -500), 500)))


def judge_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Which of n captions, one for each picture, people accept by their own of the picture."""
    from segue.metrics.captions import score_captions  # not where a fitted model only answers

    given = {str(i): text for i, text in enumerate(captions)}
    scores = score_captions(given, {str(i): list(texts) for i, texts in enumerate(references)}, with_java=False)
    return np.array([scores.each["CIDEr-D"][name] >= ACCEPTED for name in given], np.bool_)


def read_acceptance(saved: Any, features: int, folder: Path) -> Acceptance | None:
    """What a checkpoint's config holds, None for None. Raises InputError unless it has a weight for each feature."""
    if saved is None:
        return None
    found = from_json(Acceptance, saved, folder)
    if len(found.weights) != features:
        raise InputError(f"{folder}: acceptance: got {len(found.weights)} weights, expected {features}")
    return found


def calibrate(folder: Path, fit: Callable[[], Acceptance], without: str) -> None:
    """Put what is fitted into a finished checkpoint. Where it can't be fitted that is printed, after `without`."""
    try:
        write_acceptance(fit(), folder)
    except InputError as error:
        print(f"{folder}: {without}: {error}")


def write_acceptance(acceptance: Acceptance, folder: Path) -> None:
    """Put it into the config of a finished checkpoint, whole or not at all; nothing else of the folder changes."""
    keep_in_config(folder, acceptance=asdict(acceptance))


def fit_acceptance(
    features: NDArray[np.float64], accepted: NDArray[np.bool_], at_most: Mapping[int, float] | None = None
) -> Acceptance:
    """The regression of largest likelihood, with a small ridge on standardised features.

    features: (n, f). accepted: (n,). at_most: feature -> its largest weight; what would have a larger one has that, and
    the others are fitted beside it. Raises InputError unless both answers occur.
    """
    if accepted.all() or not accepted.any():
        raise InputError(f"acceptance: got {int(accepted.sum())} accepted of {len(accepted)} captions, expected some")
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    x, held = (features - mean) / spread, dict[int, float]()
    while True:
        free = [i for i in range(x.shape[1]) if i not in held]
        known = sum((held[i] * spread[i] * x[:, i] for i in held), np.zeros(len(x)))
        bias, found = _fit_logistic(x[:, free], accepted, known)
        weights = held | dict(zip(free, found / spread[free], strict=True))
        more = {i: most for i, most in (at_most or {}).items() if weights[i] > most}
        if not more:
            break
        held |= more
    own = [float(weights[i]) for i in range(x.shape[1])]
    return Acceptance(tuple(own), float(bias - np.dot(own, mean)))


def _fit_logistic(
    x: NDArray[np.float64], accepted: NDArray[np.bool_], known: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The bias and the weights of features (n, f), where part of each logit (n,) is known."""
    inputs, offset = torch.from_numpy(x), torch.from_numpy(known)
    truth = torch.from_numpy(accepted.astype(np.float64))
    w = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = inputs @ w[1:] + w[0] + offset
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth) + RIDGE * w[1:].square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    bias, *weights = w.detach().tolist()
    return bias, np.array(weights)
