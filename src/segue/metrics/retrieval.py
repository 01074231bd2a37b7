"""Retrieval between pictures and texts: recall at k, both ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segue.types import InputError

_BLOCK_ROWS = 1024  # pictures or texts compared at once


def recall_at_k(
    images: NDArray[np.floating],
    texts: NDArray[np.floating],
    image_of_text: NDArray[np.integer] | Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Recall at k: the share of pictures, and of texts, whose partner is among the k nearest, in [0, 1].

    images: (N, D), texts: (M, D), normalised: similarity is their product. image_of_text: (M,), the position of the
    picture of each text. i2t_rK: pictures with at least one of their own texts among the K nearest texts. t2i_rK: texts
    with their own picture among the K nearest pictures. A tie counts against the partner, so that equal embeddings
    score nothing.
    Raises InputError when the shapes do not fit or a picture has no text.
    """
    whose = np.asarray(image_of_text, dtype=np.int64)
    _check(images, texts, whose)
    image_ranks, text_ranks = _image_ranks(images, texts, whose), _text_ranks(images, texts, whose)
    i2t = {f"i2t_r{k}": float((image_ranks < k).mean()) for k in ks}
    return i2t | {f"t2i_r{k}": float((text_ranks < k).mean()) for k in ks}


def _image_ranks(
    images: NDArray[np.floating], texts: NDArray[np.floating], image_of_text: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(N,) how many texts of others are as near to the picture as the nearest of its own, or nearer."""
    ranks = []
    for start in range(0, len(images), _BLOCK_ROWS):
        similarity = images[start : start + _BLOCK_ROWS] @ texts.T
        own = image_of_text[None] == np.arange(start, start + len(similarity))[:, None]
        best = np.where(own, similarity, -np.inf).max(1, keepdims=True)
        ranks.append(((similarity >= best) & ~own).sum(1))
    return np.concatenate(ranks)


def _text_ranks(
    images: NDArray[np.floating], texts: NDArray[np.floating], image_of_text: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(M,) how many other pictures are as near to the text as its own, or nearer."""
    ranks = []
    for start in range(0, len(texts), _BLOCK_ROWS):
        similarity = texts[start : start + _BLOCK_ROWS] @ images.T
        own = similarity[np.arange(len(similarity)), image_of_text[start : start + _BLOCK_ROWS]]
        ranks.append((similarity >= own[:, None]).sum(1) - 1)
    return np.concatenate(ranks)


def _check(images: NDArray[np.floating], texts: NDArray[np.floating], image_of_text: NDArray[np.int64]) -> None:
    if (
        images.ndim != 2
        or texts.ndim != 2
        or images.shape[1] != texts.shape[1]
        or image_of_text.shape != texts.shape[:1]
    ):
        raise InputError(
            f"recall: got pictures {images.shape}, texts {texts.shape} and image_of_text {image_of_text.shape}, "
            "expected (N, D), (M, D) and (M,)"
        )
    if (
        len(images) == 0
        or len(np.unique(image_of_text)) != len(images)
        or image_of_text.min() != 0
        or image_of_text.max() != len(images) - 1
    ):
        raise InputError(
            f"recall: {len(images)} pictures, but the texts name {len(np.unique(image_of_text))} different ones; "
            "every picture needs at least one text, and image_of_text counts the pictures from 0"
        )
