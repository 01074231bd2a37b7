"""Scores of a captioner on the captioned pictures of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from segue.api.captioner import CANDIDATES, Captioner, Objects
from segue.data.formats import check_pictures, read_pictures
from segue.metrics.acceptance import Acceptance, fit_acceptance, judge_captions
from segue.metrics.captions import CaptionScores, score_captions
from segue.options import Decoding
from segue.types import InputError, Picture, PictureSet


def evaluate_captions(
    captioner: Captioner,
    data: Path,
    split: str,
    *,
    options: Decoding = Decoding(beams=3),
    retrieve: bool = False,
    on_bad: str = "stop",
    seen: Callable[[Sequence[Picture], Mapping[str, str], CaptionScores], None] | None = None,
) -> dict[str, Any]:
    """The scores of `segue score captions` for the best caption of each picture of a split, in any format.

    options: how captions are searched. retrieve: take the nearest captions of the support set. on_bad: as in
    `read_pictures`; a picture without captions counts as bad. seen: is called with the pictures, the caption of each
    by its name, and all scores.
    Raises InputError for data that can't be used.
    """
    pictures = captioned(check_pictures(read_pictures(data, split, on_bad), on_bad), on_bad)
    images = (picture.load() for picture in pictures.pictures)
    captions = captioner.caption_many(images, retrieve=retrieve, options=replace(options, num=1))
    names = [picture.name for picture in pictures.pictures]
    predictions = {name: one[0].text for name, one in zip(names, captions, strict=True)}
    scores = score_captions(predictions, {picture.name: picture.captions for picture in pictures.pictures})
    if seen is not None:
        seen(pictures.pictures, predictions, scores)
    return {"data": str(data), "split": split, "pictures": len(names), **scores.to_json()}


WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # of a caption's agreement with the nearest captions


def fit_consensus(
    captioner: Captioner, pictures: Sequence[Picture], v: Tensor, objects: Sequence[Objects] | None = None
) -> float:
    """The one of WEIGHTS by which the captioner's captions have the highest CIDEr-D, the smallest of equal ones.

    pictures: N with captions of people. v: (N, D), the dual encoder's features of them. objects: of each, see
    `Captioner.caption_features`.
    """
    chosen: dict[float, list[str]] = {weight: [] for weight in WEIGHTS}
    options = Decoding(num=CANDIDATES, beams=CANDIDATES)
    for part, shown in in_parts(v, objects):
        found = captioner.caption_features(part, objects=shown, rerank=False, options=options)
        agreement = captioner.agreement(part, [[one.text for one in some] for some in found])
        for some, each in zip(found, agreement, strict=True):
            likely = [math.log(one.likelihood or 1e-30) for one in some]
            for weight, texts in chosen.items():
                texts.append(some[int(np.argmax([a + weight * b for a, b in zip(likely, each, strict=True)]))].text)
    return max(WEIGHTS, key=lambda weight: _mean_cider(chosen[weight], pictures))


def fit_scores(
    captioner: Captioner, pictures: Sequence[Picture], v: Tensor, objects: Sequence[Objects] | None = None
) -> Acceptance:
    """The regression by which the captioner's scores are probabilities that people accept a caption.

    It is fitted to the best caption of each of the pictures. pictures, v, objects: as in `fit_consensus`. Raises
    InputError when all of them or none are accepted.
    """
    features, texts = [], []
    for part, shown in in_parts(v, objects):
        found = [
            [(one.text, math.log(one.likelihood or 1e-30)) for one in some[:1]]
            for some in captioner.caption_features(part, objects=shown, options=Decoding(beams=3))
        ]
        texts += [some[0][0] for some in found]
        features += [some[0] for some in captioner.features(part, found)]
    return fit_acceptance(np.array(features), judge_captions(texts, [picture.captions for picture in pictures]))


def score_features(captioner: Captioner, pictures: Sequence[Picture], v: Tensor) -> dict[str, float]:
    """CIDEr-D of one greedy caption of each picture, by the dual encoder's features v (N, D) of them."""
    found = (captioner.caption_features(part, rerank=False, options=Decoding()) for part, _ in in_parts(v))
    return {"cider": _mean_cider([one[0].text for part in found for one in part], pictures)}


def in_parts(v: Tensor, objects: Sequence[Objects] | None = None) -> Iterator[tuple[Tensor, Sequence[Objects] | None]]:
    """Features (N, D) and the objects of their pictures, as many at a time as the memory of a beam search allows."""
    for at in range(0, len(v), 128):
        yield v[at : at + 128], None if objects is None else objects[at : at + 128]


def _mean_cider(captions: Sequence[str], pictures: Sequence[Picture]) -> float:
    given = {picture.name: caption for picture, caption in zip(pictures, captions, strict=True)}
    scores = score_captions(given, {picture.name: picture.captions for picture in pictures}, with_java=False)
    return float(np.mean(list(scores.each["CIDEr-D"].values())))


def captioned(pictures: PictureSet, on_bad: str = "stop") -> PictureSet:
    """The pictures that have a caption. Raises InputError for others, unless on_bad is "skip"; and when none has."""
    good = [picture for picture in pictures.pictures if any(caption.strip() for caption in picture.captions)]
    without = len(pictures.pictures) - len(good)
    if not good or (without and on_bad != "skip"):
        raise InputError(
            f"{without} of {len(pictures.pictures)} pictures have no caption to compare with; "
            + ("name a data set with captions" if not good else "add them, or pass --on-bad skip")
        )
    if without:
        print(f"left out {without} of {len(pictures.pictures)} pictures, which have no caption")
    return replace(pictures, pictures=good)
