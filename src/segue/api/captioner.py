"""Captions of pictures: the predictor of the method `syntic`, which learned from text alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.hub import HubMixin
from segue.api.models import find
from segue.api.pictures import Picture, pixels_of
from segue.data.corpus import read_corpus
from segue.encoders.dual_encoder import DualEncoder
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import SupportSet, SynticCheckpoint, load_syntic
from segue.methods.syntic.consensus import NEAREST, Consensus
from segue.methods.syntic.tagging import find_objects, gather_objects, object_names
from segue.nn.devices import resolve_device
from segue.nn.folding import lay_out_columns
from segue.options import Decoding, Dtype
from segue.types import InputError, NotInstalled, Region
from segue.weights import beside

if TYPE_CHECKING:
    from segue.api.attribution import CaptionWord
    from segue.methods.detectors import Detector

Texts = Path | str | Sequence[str] | SupportSet  # a file of captions, captions, or a support set made of them
Objects = Sequence[str | Region]
CANDIDATES = 10  # captions of which the best are taken when they are ranked anew


class Caption(NamedTuple):
    """A caption of a picture. What is None is not measured, or does not apply.

    score: the probability, in (0, 1), that people accept it (`segue.metrics.acceptance`), where that was fitted.
    likelihood: the geometric mean of its tokens' probabilities, in (0, 1]. cosine: of picture and caption in the joint
    space, in [-1, 1], of a retrieved caption. distance: of the picture from those that the dual encoder learned from,
    above 1 where it is far.
    """

    text: str
    score: float | None = None
    likelihood: float | None = None
    cosine: float | None = None
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The text and the numbers that there are, rounded to four digits; not the distance, which is the picture's."""
        numbers = {"score": self.score, "likelihood": self.likelihood, "cosine": self.cosine}
        return {"text": self.text} | {name: round(x, 4) for name, x in numbers.items() if x is not None}


def load_captioner(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    encoder: str | Path | None = None,
    support: Texts | None = None,
    detector: str | None = None,
) -> Captioner:
    """A captioner from a bundled name or a checkpoint folder, with the dual encoder that its config names.

    dtype: what pictures are read in: bf16 or float32, which "auto" is (`load_dual_encoder`).
    encoder: where that dual encoder is now, if it has moved. support: captions instead of its own, the paper's -TT: a
    file in any format of `segue.data.corpus`, or a list. detector: what finds objects: a DETR by its id on the hub or
    from a local folder, or a YOLOX as an .onnx file; by default the one of training, if there was one.
    Raises InputError when the dual encoder or the detector can't be found, or the dual encoder isn't that of training.
    """
    device, folder = resolve_device(device), find(name)
    checkpoint = load_syntic(folder)
    source = checkpoint.encoder.get("name") if encoder is None else encoder
    if source is None:
        raise InputError(f"{folder}: names no dual encoder; say where it is: encoder=FOLDER (--encoder FOLDER)")
    source = str(source) if encoder is not None else beside(folder, str(source))
    try:
        dual_encoder = load_dual_encoder(source, device=device, dtype=dtype)
    except NotInstalled:
        raise
    except InputError as error:
        raise InputError(f"{folder}: {error}; if it has moved, say where: encoder=FOLDER (--encoder FOLDER)") from error
    checkpoint.model.to(device)
    lay_out_columns(checkpoint.model.decoder)
    captioner = Captioner(
        checkpoint, dual_encoder, detector=_detector(folder, checkpoint, detector, device), folder=folder
    )
    return captioner if support is None else captioner.with_support(support)


def _detector(folder: Path, checkpoint: SynticCheckpoint, detector: str | None, device: str) -> Detector | None:
    """The detector, or None where the model was trained without or reads no objects."""
    source = detector or checkpoint.detector
    if detector is not None and not checkpoint.model.config.af:
        raise InputError(f"{folder}: this captioner reads no objects (af is off); leave the detector out")
    if source is None or not checkpoint.model.config.af:
        return None
    from segue.methods.detectors import load_detector

    try:
        return load_detector(source, device)
    except InputError as error:
        raise InputError(f"{error}; {folder} finds objects by it: say where it is: --detector FOLDER") from error


class Captioner(HubMixin):
    """A trained captioner and the dual encoder whose features it reads.

    batch_size: pictures embedded at a time. detector: what finds objects in pictures; without, they are found by
    image-text similarity. folder: the checkpoint's, which `save_pretrained` copies.
    Raises InputError when the dual encoder is of another width or fingerprint than that of training.
    """

    def __init__(
        self,
        checkpoint: SynticCheckpoint,
        encoder: DualEncoder,
        *,
        batch_size: int = 32,
        detector: Detector | None = None,
        folder: Path | None = None,
    ) -> None:
        checkpoint.check_encoder(encoder.width, encoder.fingerprint)
        self.checkpoint, self.encoder, self.detector = checkpoint, encoder, detector
        self.batch_size, self.folder = batch_size, folder
        self._consensus: Consensus | None = None  # made when it is first asked for
        names = list(checkpoint.object_names)
        self.name_features = encoder.embed_texts(names) if names and checkpoint.model.config.af else None

    def to(self, device: str) -> Self:
        """Move the networks to a device and return the captioner. Raises InputError when the device is not there.

        A detector as ONNX stays on the CPU.
        """
        device = resolve_device(device)
        self.checkpoint.model.to(device)
        self.encoder.to(device)
        if self.detector is not None:
            from segue.methods.detectors import move_detector

            move_detector(self.detector, device)
        return self

    def with_support(self, texts: Texts) -> Captioner:
        """The same captioner with other captions as its support set: for projection, and to retrieve from.

        Raises InputError when there is no caption.
        """
        support = texts if isinstance(texts, SupportSet) else self._support(texts)
        other = copy(self)
        other.folder, other.checkpoint = None, replace(self.checkpoint, support=support)
        other._consensus = None
        return other

    def _support(self, texts: Path | str | Sequence[str]) -> SupportSet:
        captions = read_corpus(Path(texts)).captions if isinstance(texts, str | Path) else list(texts)
        captions = list(dict.fromkeys(captions))
        features = self.encoder.embed_texts(captions).numpy()
        return SupportSet(features, captions, tau=self.checkpoint.model.config.tau)

    def caption(
        self,
        image: Picture,
        *,
        objects: Objects | None = None,
        retrieve: bool = False,
        rerank: bool = True,
        options: Decoding = Decoding(beams=3),
    ) -> list[Caption]:
        """`options.num` distinct captions of a picture, the best first; fewer only when no more are found.

        image: a path or pixels (`pixels_of`). objects: what the picture shows, names or regions; by default found by
        the detector, or without one by image-text similarity; an empty list says that there is nothing.
        retrieve: take the nearest captions of the support set and generate none. rerank: of the ten best captions of a
        search take those that agree most with the nearest captions, where the training found that to help
        (`SynticCheckpoint.consensus`); sampled ones stay as they are. options: max_tokens is at most that of training.
        Raises InputError for a picture that can't be read, objects without a name or for a model that reads none, and
        retrieval without a support set.
        """
        given = None if objects is None else [objects]
        return next(self.caption_many([image], objects=given, retrieve=retrieve, rerank=rerank, options=options))

    __call__ = caption

    def caption_many(
        self,
        images: Iterable[Picture],
        *,
        objects: Iterable[Objects] | None = None,
        retrieve: bool = False,
        rerank: bool = True,
        options: Decoding = Decoding(beams=3),
    ) -> Iterator[list[Caption]]:
        """Like `caption`, for many pictures, a batch at a time. objects: of each picture."""
        remaining = iter(images)
        given = None if objects is None else iter(objects)
        while part := [pixels_of(image) for image in islice(remaining, self.batch_size)]:
            found = self._detected(part) if given is None else list(islice(given, len(part)))
            v = self.encoder.embed_images(part, batch_size=self.batch_size)
            captions = self.caption_features(v, objects=found, retrieve=retrieve, rerank=rerank, options=options)
            for one, distance in zip(captions, self.encoder.measure_distances(part), strict=True):
                yield [caption._replace(distance=distance) for caption in one]

    def caption_features(
        self,
        v: Tensor | NDArray[Any],
        *,
        objects: Sequence[Objects] | None = None,
        retrieve: bool = False,
        rerank: bool = True,
        options: Decoding = Decoding(beams=3),
    ) -> list[list[Caption]]:
        """Like `caption`, for the dual encoder's image features v (B, D), all at once.

        objects: of each picture; needed when there is a detector, which finds none in features.
        Raises InputError for objects of another number than v, or for a model that reads none, and when a detector
        needs pictures.
        """
        v = torch.as_tensor(v).float()
        if objects is not None and len(objects) != len(v):
            raise InputError(f"objects: got {len(objects)} lists for {len(v)} pictures, expected one for each")
        if objects is not None and not self.checkpoint.model.config.af:
            raise InputError("objects: this captioner reads none (af is off); leave them out")
        names = None if objects is None else [object_names(one) for one in objects]
        if retrieve:
            return self._retrieved(v, options.num)
        if objects is None and self.detector is not None:
            raise InputError("objects: a detector finds them in pictures, not in features; pass them, or use caption")
        features, real = self._object_features(v, names)
        rerank = rerank and self.checkpoint.consensus > 0 and not options.top_p
        found = self._generated(v, features, real, options, CANDIDATES if rerank else 0)
        if rerank:
            found = self._reranked(v, found)
        found = [some[: options.num] for some in found]
        if (acceptance := self.checkpoint.acceptance) is None:
            return [[Caption(text, None, math.exp(log_p)) for text, log_p in some] for some in found]
        scores = ([acceptance.probability(one) for one in each] for each in self.features(v, found))
        return [
            [Caption(text, score, math.exp(log_p)) for (text, log_p), score in zip(some, each, strict=True)]
            for some, each in zip(found, scores, strict=True)
        ]

    def attribute_words(self, image: Picture, captions: Sequence[str]) -> list[list[CaptionWord]]:
        """For each word of each caption, which parts of the picture it rests on.

        The picture is covered part by part and read again, 25 times for all captions together. captions: the model's
        own, or others. Words beyond the longest caption of training are left out.
        Raises InputError for a picture that can't be read, and a blank caption.
        """
        from segue.api.attribution import covered, shrink, words_of

        pixels = shrink(pixels_of(image))
        pictures = [pixels, *covered(pixels)]
        v = self.encoder.embed_images(pictures, batch_size=self.batch_size)
        objects = self._object_features(v, self._detected(pictures))
        read = (self.checkpoint.log_probabilities(v, caption, *objects) for caption in captions)
        return [words_of(caption, spans, logp.numpy()) for caption, (spans, logp) in zip(captions, read, strict=True)]

    def features(
        self, v: Tensor, captions: Sequence[Sequence[tuple[str, float]]]
    ) -> list[list[tuple[float, float, float]]]:
        """The numbers of `checkpoint.FEATURES` for captions (text, mean log-probability) of pictures.

        v: (B, D), the dual encoder's features of the B pictures. A caption without a word is like none of them: 0.
        """
        texts = list(dict.fromkeys(text for some in captions for text, _ in some if any(map(str.isalnum, text))))
        t = F.normalize(self.encoder.embed_texts(texts).float(), dim=1) if texts else torch.zeros(0, v.shape[1])
        similarity = [dict(zip(texts, row, strict=True)) for row in (F.normalize(v.float(), dim=1) @ t.T).tolist()]
        return [
            [(log_p, row.get(text, 0.0), float(len(text.split()))) for text, log_p in some]
            for row, some in zip(similarity, captions, strict=True)
        ]

    def _generated(
        self, v: Tensor, objects: Tensor | None, found: Tensor | None, options: Decoding, candidates: int
    ) -> list[list[tuple[str, float]]]:
        """Captions and scores, num or more. Different tokens may decode to one text, or to none: then a wider search
        follows.

        It follows for those pictures alone: an answer doesn't depend on the others of its batch.
        """
        num = options.num
        options = replace(options, max_tokens=min(options.max_tokens, self.checkpoint.model.config.max_tokens))
        captions: list[list[tuple[str, float]]] = [[] for _ in v]
        rows = list(range(len(v)))
        for width in (max(candidates, num + 2 * (num > 1)), max(candidates, 4 * num + 8)):
            given = [None if part is None else part[rows] for part in (objects, found)]
            scored = self.checkpoint.captions(v[rows], *given, options=replace(options, num=width))
            for row, one in zip(rows, scored, strict=True):
                captions[row] = [pair for pair in one if pair[0]] or one
            rows = [row for row in rows if len(captions[row]) < num or not captions[row][0][0]]
            if not rows:
                break
        return captions

    def agreement(self, v: Tensor, captions: Sequence[Sequence[str]]) -> list[list[float]]:
        """How much captions of pictures agree with the captions nearest to them, in [0, 10] (`Consensus`).

        v: (B, D), the dual encoder's features of the B pictures.
        Raises InputError for a captioner without a support set, and one that holds no captions.
        """
        support = self.checkpoint.support
        if support is None or support.captions is None:
            raise InputError("rerank: this captioner's support set holds no captions; pass rerank=False (--no-rerank)")
        self._consensus = self._consensus or Consensus(support.captions)
        return self._consensus.score(captions, support.nearest(v, NEAREST)[1].tolist())

    def _reranked(self, v: Tensor, captions: list[list[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
        """The captions of each of v (B, D), those first that are likely and agree with the nearest captions."""
        weight = self.checkpoint.consensus
        agreement = self.agreement(v, [[text for text, _ in some] for some in captions])
        worth = [
            [pair[1] + weight * x for pair, x in zip(*one, strict=True)]
            for one in zip(captions, agreement, strict=True)
        ]
        return [
            [some[i] for i in sorted(range(len(some)), key=lambda i: -each[i])]
            for some, each in zip(captions, worth, strict=True)
        ]

    def _retrieved(self, v: Tensor, num: int) -> list[list[Caption]]:
        support = self.checkpoint.support
        if support is None:
            raise InputError("retrieval: this captioner holds no support set; pass one: support=FILE (--support FILE)")
        return [[Caption(text, cosine=cosine) for text, cosine in found] for found in support.retrieve_scored(v, num)]

    def _detected(self, part: Sequence[NDArray[np.uint8]]) -> list[Objects] | None:
        return None if self.detector is None else [self.detector(image).labels for image in part]

    def _object_features(self, v: Tensor, given: Sequence[Objects] | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Objects (B, K, D) and found (B, K) of Eq. 4; None for a model that doesn't read them."""
        if not self.checkpoint.model.config.af:
            return None, None
        if given is not None:
            names = [object_names(one) for one in given]
            distinct = list(dict.fromkeys(name for one in names for name in one))
            features = self.encoder.embed_texts(distinct) if distinct else torch.zeros(1, self.encoder.width)
            return gather_objects(features, [[distinct.index(name) for name in one] for one in names])
        if self.name_features is None:
            return None, None
        index, found = find_objects(v, self.name_features, self.encoder.temperature)
        return self.name_features[index], found
