"""Ours, in the place of the paper's score: the probability that a picture shows a concept which its caption omits.

    p(c | picture) = 1 / (1 + exp(-(intercept + closeness z + votes log(support))))

with z how far t.v lies above its mean over all pictures, in standard deviations of the concept, and support the number
of nearest pictures whose captions name it. The paper's ranking has neither: a text that is near to every picture is
ranked high in each, and a concept that one neighbour names counts as one that all name.

The three numbers are fitted (`fit_probability`, Platt 1999) on pictures with several captions: a concept of the other
captions is right, and one that no caption names counts as wrong, so that the probabilities are lower bounds.
N pictures, V concepts, D channels, P candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.methods.cocu.curation.arrays import Embeddings, Indices, to_float64
from segue.types import InputError

NEWTON_STEPS = 25
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class ProbabilityWeights:
    """The numbers of the formula in this module's head.

    The defaults were fitted on a third of Flickr8k's train photographs with their first captions, by the bundled
    photos-encoder and 32 neighbours.
    """

    intercept: float = -3.86
    closeness: float = 0.41
    votes: float = 1.36


def closeness_statistics(embeddings: Embeddings, texts: Embeddings) -> NDArray[np.float64]:
    """(2, V): mean and standard deviation over the pictures of t.v for each concept; by the embeddings' covariance."""
    total = np.zeros(embeddings.shape[1])
    square = np.zeros((embeddings.shape[1],) * 2)
    for start in range(0, len(embeddings), ROWS_AT_ONCE):
        part = np.asarray(embeddings[start : start + ROWS_AT_ONCE], np.float64)
        total += part.sum(0)
        square += part.T @ part
    mean = total / len(embeddings)
    text = np.asarray(texts, np.float64)
    variance = np.einsum("vd,de,ve->v", text, square / len(embeddings) - np.outer(mean, mean), text, optimize=True)
    return np.stack([text @ mean, np.sqrt(np.maximum(variance, 1e-12))])


def candidate_closeness(
    embeddings: Embeddings, texts: Embeddings, statistics: NDArray[np.float64], rows: Indices, concepts: Indices
) -> NDArray[np.float64]:
    """(P,) z of each candidate. rows, concepts: (P,) picture and concept. statistics: of `closeness_statistics`."""
    similarity = np.einsum("pd,pd->p", to_float64(embeddings, rows).numpy(), to_float64(texts, concepts).numpy())
    found: NDArray[np.float64] = (similarity - statistics[0, concepts]) / statistics[1, concepts]
    return found


def probabilities(
    weights: ProbabilityWeights, closeness: NDArray[np.float64], support: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(P,) in (0, 1). closeness: (P,) z. support: (P,); 0 counts as 1."""
    votes = np.log(np.maximum(support, 1))
    logit = weights.intercept + weights.closeness * closeness + weights.votes * votes
    found: NDArray[np.float64] = 1 / (1 + np.exp(-logit))
    return found


def fit_probability(
    closeness: NDArray[np.float64], support: NDArray[np.integer], right: NDArray[np.bool_]
) -> ProbabilityWeights:
    """The weights that make the candidates likeliest: logistic regression by Newton's method.

    closeness, support, right: (P,). Raises InputError when all or none are right.
    """
    if not 0 < right.sum() < len(right):
        raise InputError(f"got {int(right.sum())} right ones of {len(right)} candidates, expected some of both")
    x = np.stack([np.ones(len(right)), closeness, np.log(np.maximum(support, 1))], 1)
    weights = np.zeros(3)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(3)
        weights += np.linalg.solve(hessian, x.T @ (right - p) - 1e-6 * weights)
    return ProbabilityWeights(*map(float, weights))
